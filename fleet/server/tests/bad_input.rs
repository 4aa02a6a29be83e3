//! What must not get in, each told by a code that programs can rely on, with the mend for people.

mod support;

use std::io::Write as _;

use rcgen::KeyPair;
use serde_json::{json, Value};
use support::{check_in, csr, enrolment, server, Client, Fleet};
use watertight_fleet_wire::limits::{BATCH_BYTES_MAX, ENROL_BYTES_MAX, OPERATOR_BYTES_MAX};
use watertight_fleet_wire::records::{pack, Alert, Batch, Body, Crash, Record, Stream};

fn refused(fleet: &Fleet, token: &str) -> (u16, String) {
    let key = KeyPair::generate().expect("a key");
    let answer = fleet.client().post("/v1/agent/enrol", &enrolment(token, &key));
    (answer.status, answer.json()["code"].as_str().expect("a code").to_owned())
}

#[test]
fn a_wrong_a_reused_and_an_expired_token_enrol_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    assert_eq!(refused(&fleet, "wt-enrol-00"), (401, "token".to_owned()));
    let token = fleet.token(&[]);
    let key = KeyPair::generate().expect("a key");
    assert_eq!(fleet.client().post("/v1/agent/enrol", &enrolment(&token, &key)).status, 200);
    assert_eq!(refused(&fleet, &token), (401, "token".to_owned()), "one token, one host");
    let short = fleet.token(&["--valid-for-s", "1", "--uses", "5"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(refused(&fleet, &short), (401, "token".to_owned()));
    let hosts = fleet.admin().get("/v1/hosts").json();
    assert_eq!(hosts.as_array().map(Vec::len), Some(1), "{hosts}");
    let stored = std::fs::read(dir.path().join("state.db")).expect("the database");
    let log = std::fs::read(dir.path().join("state.db-wal")).unwrap_or_default();
    let secret = token.as_bytes();
    assert!(
        ![stored, log].iter().any(|bytes| bytes.windows(secret.len()).any(|part| part == secret)),
        "only its digest is kept"
    );
}

#[test]
fn a_certificate_of_another_authority_makes_no_connection() {
    let (dir, other_dir) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (fleet, other) = (Fleet::start(dir.path()), Fleet::start(other_dir.path()));
    let stranger = other.enrol();
    let mut client = Client::new(fleet.address, &fleet.anchors(), Some((&stranger.chain_pem, &stranger.key)));
    assert!(client.ask("POST", "/v1/agent/checkin", check_in("i", 1).to_string().as_bytes()).is_err());
    let mut without = fleet.client();
    let answer = without.post("/v1/agent/checkin", &check_in("i", 1));
    assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("unauthenticated")));
    let agent = fleet.enrol();
    let mut fooled = Client::new(fleet.address, &other.anchors(), Some((&agent.chain_pem, &agent.key)));
    assert!(fooled.ask("GET", "/v1/agent/wait?generation=0", b"").is_err(), "nor does an agent believe another server");
}

#[test]
fn unknown_fields_large_bodies_and_other_protocols_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let agent = fleet.enrol();
    let mut client = fleet.agent(&agent);
    let mut grown = check_in("i", 1);
    grown["colour"] = json!("red");
    let answer = client.post("/v1/agent/checkin", &grown);
    assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("form")));
    assert!(answer.text().contains("unknown field `colour`"), "{}", answer.text());

    let mut client = fleet.agent(&agent);
    let answer = client.post_bytes("/v1/agent/checkin", &vec![b' '; 20 * 1024]);
    assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("too_large")));

    let mut client = fleet.agent(&agent);
    for (number, status) in [("", 400), ("0", 400), ("2", 400), ("x", 400), ("1", 200)] {
        client.protocol = number.to_owned();
        let answer = client.post("/v1/agent/checkin", &check_in("i", 1));
        assert_eq!(answer.status, status, "{number:?}: {}", answer.text());
        assert_eq!(answer.header("watertight-protocol").as_deref(), Some("1"), "a newer agent learns what to speak");
        assert!(status == 200 || answer.json()["code"] == "protocol");
    }
    for query in ["", "?generation=x", "?generation=1&colour=red"] {
        assert_eq!(client.get(&format!("/v1/agent/wait{query}")).status, 400, "{query}");
    }
    assert_eq!(client.get("/v1/none").status, 404);
    assert_eq!(client.post("/v1/agent/checkin", &check_in("i", 2)).status, 200, "and the connection goes on");
}

#[test]
fn a_parameter_or_a_method_that_a_path_does_not_take_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let mut admin = fleet.admin();
    let description = admin.get("/v1/openapi.json").json();
    let paths = description["paths"].as_object().expect("paths").clone();
    for (path, methods) in paths.iter().filter(|(path, _)| !path.starts_with("/v1/agent/")) {
        let asked = path.replace(['{', '}'], "");
        if methods.get("get").is_some() {
            let answer = admin.get(&format!("{asked}?bogus=1"));
            assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("form")), "{path}");
            assert!(answer.text().contains("`bogus`"), "{path}: {}", answer.text());
        }
        let answer = admin.ask("DELETE", &asked, b"").expect("an answer");
        assert_eq!((answer.status, answer.json()["code"].as_str()), (405, Some("form")), "{path}");
        let allowed = answer.header("allow").expect("the methods").replace(',', ", ");
        for method in methods.as_object().expect("methods").keys() {
            assert!(allowed.contains(&method.to_uppercase()), "{path}: {allowed}");
        }
        let said = answer.json()["message"].as_str().map(str::to_owned);
        assert_eq!(said, Some(format!("this path takes {allowed}")), "{path}");
    }
    assert!(paths.len() > 15, "{paths:?}");
    let revoked = admin.post("/v1/operator-tokens/admin/revoke?dry_run=1", &json!({ "reason": "r" }));
    assert_eq!((revoked.status, admin.get("/v1/status").status), (400, 200), "nor is it done as if nothing was said");
    let answer = fleet.client().get("/v1/agent/checkin");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (405, Some("form")));
}

#[test]
fn the_audit_log_is_read_in_parts() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let mut admin = fleet.admin();
    for ring in ["a", "b", "c"] {
        assert_eq!(admin.post("/v1/enrol-tokens", &json!({ "ring": ring, "reason": "r" })).status, 200);
    }
    let mut subjects = |query: &str| -> Vec<(u64, String)> {
        let log = admin.get(&format!("/v1/audit{query}")).json();
        let of = |entry: &Value| (entry["number"].as_u64(), entry["subject"].as_str().map(str::to_owned));
        log.as_array().expect("a log").iter().filter_map(|entry| of(entry).0.zip(of(entry).1)).collect()
    };
    let whole = subjects("");
    assert_eq!([&whole[0].1, &whole[1].1, &whole[2].1], ["c", "b", "a"]);
    assert_eq!(subjects("?limit=2"), whole[..2]);
    assert_eq!(subjects(&format!("?limit=1&before={}", whole[1].0)), whole[2..3]);
    assert_eq!(subjects("?before=0"), []);
    for bad in ["limit=-1", "limit=0", "limit=1001", "before=x", "after=1", "limit=1&limit=2"] {
        let answer = fleet.admin().get(&format!("/v1/audit?{bad}"));
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("form")), "{bad}: {}", answer.text());
    }
}

#[test]
fn every_body_has_its_limit_and_every_form_its_fields() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let agent = fleet.enrol();
    let reason = json!({ "reason": "r", "colour": "red" });
    let key = KeyPair::generate().expect("a key");
    let mut enrol = enrolment(&fleet.token(&[]), &key);
    enrol["colour"] = json!("red");
    let of_agents = [
        ("/v1/agent/enrol", enrol),
        ("/v1/agent/renew", json!({ "csr_pem": csr(&key), "colour": "red" })),
        ("/v1/agent/checkin", {
            let mut told = check_in("i", 1);
            told["colour"] = json!("red");
            told
        }),
    ];
    let of_operators = [
        ("/v1/enrol-tokens".to_owned(), json!({ "ring": "early", "reason": "r", "colour": "red" })),
        ("/v1/operator-tokens".to_owned(), json!({ "name": "n", "role": "viewer", "reason": "r", "colour": "red" })),
        ("/v1/operator-tokens/admin/revoke".to_owned(), reason.clone()),
        ("/v1/rollouts".to_owned(), json!({ "content": "c", "reason": "r", "colour": "red" })),
        (format!("/v1/hosts/{}/revoke", agent.host), reason),
    ];
    let (host, admin) = (|| fleet.agent(&agent), || fleet.admin());
    let agents = of_agents.iter().map(|(path, body)| (host(), (*path).to_owned(), body));
    let operators = of_operators.iter().map(|(path, body)| (admin(), path.clone(), body));
    for (mut client, path, body) in agents.chain(operators) {
        let answer = client.post(&path, body);
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("form")), "{path}: {}", answer.text());
        assert!(answer.text().contains("unknown field `colour`"), "{path}: {}", answer.text());
        let limit = if path.starts_with("/v1/agent/") { ENROL_BYTES_MAX } else { OPERATOR_BYTES_MAX };
        let answer = client.post_bytes(&path, &vec![b' '; limit + 1]);
        assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("too_large")), "{path}");
    }
    let answer = host().post_bytes("/v1/agent/records", &vec![0; BATCH_BYTES_MAX + 1]);
    assert_eq!(answer.status, 413, "a batch: {}", answer.text());
    assert_eq!(fleet.admin().get("/v1/hosts").json().as_array().map(Vec::len), Some(1), "nothing came of it");
    assert_eq!(host().post("/v1/agent/checkin", &check_in("i", 1)).status, 200, "nor was the host put out");
}

#[test]
fn a_ring_has_one_rule_for_its_name_in_the_command_and_in_the_api() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let mut admin = fleet.admin();
    for (ring, is_good) in [("early@eu", false), (&*"x".repeat(65), false), ("Early-2_b.c", true)] {
        let rule = format!("{ring:?}: 1 to 64 letters, digits and -_.");
        let made = server(&["token", "--ring", ring, "--state"], dir.path(), &[]);
        assert_eq!(made.status.success(), is_good, "{ring}");
        assert_eq!(String::from_utf8_lossy(&made.stderr).contains(&rule), !is_good, "{made:?}");
        let token = admin.post("/v1/enrol-tokens", &json!({ "ring": ring, "reason": "r" }));
        let policy = admin.post(&format!("/v1/rings/{ring}"), &json!({ "policy": {}, "reason": "r" }));
        for answer in [token, policy] {
            let said = answer.json()["message"].as_str().is_some_and(|why| why.contains(&rule));
            assert_eq!((answer.status == 200, said), (is_good, !is_good), "{ring}: {}", answer.text());
        }
    }
    let named = admin.post("/v1/operator-tokens", &json!({ "name": "ada@example", "role": "viewer", "reason": "r" }));
    assert_eq!(named.status, 200, "people have addresses: {}", named.text());
}

#[test]
fn a_signing_request_gets_the_name_that_the_server_gives() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let key = KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.distinguished_name.push(rcgen::DnType::CommonName, "h-of-somebody-else");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let request = params.serialize_request(&key).and_then(|request| request.pem()).expect("a request");
    let mut told = enrolment(&fleet.token(&[]), &key);
    told["csr_pem"] = Value::String(request);
    let identity = fleet.client().post("/v1/agent/enrol", &told).json();
    use rustls::pki_types::{pem::PemObject as _, CertificateDer};
    let chain = identity["certificates_pem"].as_str().expect("a chain");
    let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).expect("a certificate");
    let shown = watertight_server::tls::Shown::read(&leaf).expect("a host's");
    assert_eq!(Some(shown.host.as_str()), identity["host"].as_str());
    assert!(!leaf.windows(9).any(|part| part == b"localhost"), "it can't be shown as a server's");

    let mut told = enrolment(&fleet.token(&[]), &key);
    let mut broken = csr(&KeyPair::generate().expect("a key"));
    broken = broken.replacen(char::is_lowercase, "A", 1);
    told["csr_pem"] = Value::String(broken);
    assert_eq!(fleet.client().post("/v1/agent/enrol", &told).status, 400, "a request that its key has not signed");
}

#[test]
fn each_role_may_what_the_table_says_and_a_token_ends_when_it_is_revoked() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let token = |name: &str, role: &str| {
        let answer =
            fleet.admin().post("/v1/operator-tokens", &json!({ "name": name, "role": role, "reason": "test" }));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["token"].as_str().expect("a token").to_owned()
    };
    let (viewer, operator) = (token("vera", "viewer"), token("otto", "operator"));
    let enrol = json!({ "ring": "early", "reason": "test" });
    let give = json!({ "name": "eve", "role": "admin", "reason": "test" });
    for (who, look, make, admin) in
        [(&viewer, 200, 403, 403), (&operator, 200, 200, 403), (&"wt-none".to_owned(), 401, 401, 401)]
    {
        let mut client = fleet.operator(who);
        assert_eq!(client.get("/v1/status").status, look);
        assert_eq!(client.post("/v1/enrol-tokens", &enrol).status, make);
        assert_eq!(client.post("/v1/operator-tokens", &give).status, admin);
    }
    assert_eq!(
        fleet.admin().post("/v1/operator-tokens", &json!({ "name": "vera", "role": "admin", "reason": "x" })).status,
        400
    );
    assert_eq!(fleet.admin().post("/v1/operator-tokens/vera/revoke", &json!({ "reason": "left" })).status, 200);
    assert_eq!(fleet.operator(&viewer).get("/v1/status").status, 401);
    let log = fleet.admin().get("/v1/audit").json();
    let count = log.as_array().expect("a log").iter().filter(|entry| entry["actor"] == "otto").count();
    assert_eq!(count, 1, "a refusal changes nothing and an act is logged: {log}");
}

#[test]
fn the_last_admin_stays_and_the_servers_machine_makes_another_that_is_good_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let reason = json!({ "reason": "left" });
    let refused = fleet.admin().post("/v1/operator-tokens/admin/revoke", &reason);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("conflict")), "{}", refused.text());
    assert!(refused.text().contains("watertight server operator"), "{}", refused.text());
    assert_eq!(fleet.admin().get("/v1/status").status, 200, "nothing was taken away");

    let make = |name: &str, role: &str, reason: &str| {
        let options = ["--name", name, "--role", role, "--reason", reason];
        server(&["operator", "--state"], dir.path(), &options)
    };
    let token = |name: &str, role: &str| {
        let made = make(name, role, "admin.token was lost");
        assert!(made.status.success(), "{made:?}");
        String::from_utf8(made.stdout).expect("text").trim().to_owned()
    };
    let ada = token("ada@example", "admin");
    assert_eq!(fleet.operator(&ada).post("/v1/operator-tokens/admin/revoke", &reason).status, 200);
    assert_eq!(fleet.admin().get("/v1/status").status, 401, "the lost one is good for nothing");
    assert!(!make("ada@example", "viewer", "again").status.success(), "a name in use stays whose it is");
    let again = token("admin", "viewer");
    assert_eq!(fleet.operator(&again).get("/v1/status").status, 200, "a name that was revoked is free");
    assert_eq!(fleet.operator(&again).post("/v1/enrol-tokens", &json!({ "ring": "r", "reason": "r" })).status, 403);
    assert_eq!(fleet.operator(&ada).post("/v1/operator-tokens/ada@example/revoke", &reason).status, 409);
    for (name, role, reason) in
        [("a b", "viewer", "r"), ("", "viewer", "r"), ("eve", "viewer", " "), ("eve", "root", "r")]
    {
        let refused = make(name, role, reason);
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{name} {role} {reason}: {refused:?}");
    }
    let log = fleet.operator(&ada).get("/v1/audit").json();
    let entries = log.as_array().expect("a log").iter();
    let by_hand: Vec<_> = entries.filter(|entry| entry["actor"] == "server's machine").collect();
    let said: Vec<_> = by_hand.iter().map(|entry| (&entry["action"], &entry["subject"], &entry["reason"])).collect();
    let (give, why) = (json!("give_access"), json!("admin.token was lost"));
    assert_eq!(said, [(&give, &json!("admin"), &why), (&give, &json!("ada@example"), &why)]);

    // Also where no server runs, and after a restart.
    assert_eq!(fleet.end(), Some(0));
    let bob = token("bob", "admin");
    let fleet = Fleet::start(dir.path());
    assert_eq!([&bob, &ada].map(|token| fleet.operator(token).get("/v1/status").status), [200, 200]);
}

#[test]
fn whoever_guesses_tokens_is_told_to_come_again_and_costs_those_who_have_one_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let mut admin = fleet.admin();
    let guess = |number: u32| format!("wt-operator-{number:064x}");
    let mut guesser = fleet.operator("");
    let mut statuses = std::collections::BTreeSet::new();
    for number in 0..100 {
        guesser.authorization = Some(format!("Bearer {}", guess(number)));
        let answer = guesser.get("/v1/status");
        assert_eq!(answer.header("retry-after").is_some(), answer.status == 429, "{}", answer.text());
        statuses.insert(answer.status);
        assert_eq!(admin.get("/v1/status").status, 200);
    }
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [401, 429]);
}

fn crashes(sequences: std::ops::RangeInclusive<u64>) -> Batch {
    let crash =
        Crash { bucket: "<b>".into(), title: "null read in <engine>".into(), is_ours: true, ..Crash::default() };
    let record = |sequence| Record { sequence, at_ms: 1, body: Some(Body::Crash(crash.clone())) };
    Batch { boot: "boot".into(), stream: Stream::Crash as i32, records: sequences.map(record).collect(), dropped: 0 }
}

#[test]
fn records_are_taken_once_outlive_the_servers_death_and_are_on_the_page() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let agent = fleet.enrol();
    let mut client = fleet.agent(&agent);
    let mut send = |batch: &Batch| client.post_bytes("/v1/agent/records", &pack(batch).expect("a batch")).json();
    assert_eq!(send(&crashes(1..=3)), json!({ "acknowledged": 3, "new": 3 }));
    assert_eq!(send(&crashes(1..=5)), json!({ "acknowledged": 5, "new": 2 }));
    let answer = client.post_bytes("/v1/agent/records", b"no zstd");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("form")));
    fleet.kill();
    let fleet = Fleet::start(dir.path());
    let buckets = fleet.admin().get("/v1/buckets").json();
    assert_eq!((buckets[0]["crashes"].as_u64(), buckets[0]["hosts"].as_u64()), (Some(5), Some(1)), "{buckets}");

    let mut browser = fleet.client();
    let asked = browser.get("/");
    assert_eq!(asked.status, 401);
    assert!(asked.header("www-authenticate").is_some_and(|how| how.starts_with("Basic ")));
    let page = fleet.admin().get("/");
    let text = page.text();
    assert!(
        text.contains("&lt;b&gt;") && !text.contains("<b>") && text.contains("<svg") && text.contains(&agent.host),
        "{text}"
    );
    assert!(!text.contains("<script") && text.contains("needs a look"), "{text}");
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
}

#[test]
fn what_a_host_lost_is_told_once_of_the_host_of_the_fleet_and_on_the_page() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let (agent, other) = (fleet.enrol(), fleet.enrol());
    let mut client = fleet.agent(&agent);
    for who in [&agent, &other] {
        assert_eq!(fleet.agent(who).post("/v1/agent/checkin", &check_in("i", 1)).status, 200);
    }
    let told = |fleet: &Fleet, host: &str| {
        let mut admin = fleet.admin();
        let (host, status) = (admin.get(&format!("/v1/hosts/{host}")).json(), admin.get("/v1/status").json());
        assert_eq!(host["dropped"], host["dropped_last_day"], "all of it was told just now");
        let is_said = status["because"].to_string().contains("lost in the last 24 hours");
        (host["dropped"].clone(), status["dropped_records"].as_u64(), status["dropping_hosts"].as_u64(), is_said)
    };
    let lost = |health: u64, crash: u64, alert: u64| json!({ "health": health, "crash": crash, "alert": alert });
    assert_eq!(told(&fleet, &agent.host), (lost(0, 0, 0), Some(0), Some(0), false));
    let (mut sequence, mut alerts) = (0, 0);
    for (stream, boot, dropped, all) in [
        (Stream::Alert, "b1", 5, lost(0, 0, 5)),
        (Stream::Alert, "b1", 5, lost(0, 0, 5)),
        (Stream::Alert, "b1", 9, lost(0, 0, 9)),
        (Stream::Alert, "b1", 2, lost(0, 0, 9)),
        (Stream::Crash, "b1", 1, lost(0, 1, 9)),
        (Stream::Alert, "b2", 3, lost(0, 1, 12)),
    ] {
        sequence += 1;
        let body = match stream {
            Stream::Crash => Body::Crash(Crash { bucket: "b".into(), ..Crash::default() }),
            _ => Body::Alert(Alert::default()),
        };
        let records = vec![Record { sequence, at_ms: 1, body: Some(body) }];
        let batch = Batch { boot: boot.into(), stream: stream as i32, records, dropped };
        for _ in 0..2 {
            let answer = client.post_bytes("/v1/agent/records", &pack(&batch).expect("a batch"));
            assert_eq!(answer.status, 200, "{}", answer.text());
            alerts = all["alert"].as_u64().expect("a count") + all["crash"].as_u64().expect("a count");
            assert_eq!(told(&fleet, &agent.host), (all.clone(), Some(alerts), Some(1), true), "{batch:?}");
        }
    }
    assert_eq!(told(&fleet, &other.host).0, lost(0, 0, 0), "it is the other's");
    fleet.kill();
    let fleet = Fleet::start(dir.path());
    assert_eq!(told(&fleet, &agent.host), (lost(0, 1, 12), Some(alerts), Some(1), true), "a restart forgets none");
    for who in [&agent, &other] {
        assert_eq!(fleet.agent(who).post("/v1/agent/checkin", &check_in("i", 2)).status, 200);
    }
    let named = format!("lost in the last 24 hours: 1 crash record and 12 alerts at host {}:", agent.host);
    let (status, page) = (fleet.admin().get("/v1/status").json(), fleet.admin().get("/").text());
    assert!(status["because"].to_string().contains(&named) && page.contains(&named), "{status}\n{page}");
    assert_eq!(status["is_safe_to_leave"], false);
    let row = page.lines().find(|line| line.contains(&format!("<td>{}</td>", agent.host))).expect("its line");
    assert!(row.contains("<td>lost records</td>") && row.contains("<td>1 crash record and 12 alerts</td>"), "{row}");
    let place = |host: &str| page.find(&format!("<td>{host}</td>")).expect("its line");
    assert!(place(&agent.host) < place(&other.host), "those that need a look come first");
}

#[test]
fn a_host_whose_name_can_not_be_seen_is_enrolled_and_told_by_what_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    for name in ["\u{3164}", "a\u{301}\u{301}"] {
        let mut told = enrolment(&fleet.token(&[]), &KeyPair::generate().expect("a key"));
        told["host"]["name"] = name.into();
        let answer = fleet.client().post("/v1/agent/enrol", &told);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let page = fleet.admin().get("/").text();
    assert!(page.contains("<td>\\u{3164}</td>") && page.contains("<td>a\\u{301}\\u{301}</td>"), "{page}");
}

#[test]
fn the_repository_is_served_with_the_headers_that_let_it_be_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    let content = dir.path().join("content");
    std::fs::create_dir_all(content.join("metadata")).expect("a folder");
    std::fs::write(content.join("metadata/timestamp.json"), "{}").expect("a file");
    std::fs::write(content.join("metadata/1.root.json"), "{\"r\":1}").expect("a file");
    let mut client = fleet.client();
    let answer = client.get("/content/metadata/timestamp.json");
    assert_eq!((answer.status, answer.header("cache-control").as_deref()), (200, Some("public, max-age=30")));
    let answer = client.get("/content/metadata/1.root.json");
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"{\"r\":1}".as_slice()));
    assert!(answer.header("cache-control").is_some_and(|word| word.contains("immutable")));
    for path in [
        "/content/../admin.token",
        "/content/metadata/..%2f..%2fadmin.token",
        "/content/%2e%2e/ca/root.key",
        "/content/none",
    ] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
}

#[test]
fn a_young_fleet_whose_log_is_gone_after_a_kill_and_a_folder_in_the_databases_place_are_told_with_the_mend() {
    let dir = tempfile::tempdir().expect("a folder");
    let (database, log) = (dir.path().join("state.db"), dir.path().join("state.db-wal"));
    let refusal = |command: &[&str]| {
        let done = server(command, dir.path(), &[]);
        assert!(!done.status.success() && done.stdout.is_empty(), "{done:?}");
        let words = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(words.contains(&*database.to_string_lossy()) && words.contains("folder `backups`"), "{words}");
        words
    };
    let (run, token) = (["run", "--listen", "127.0.0.1:0", "--state"], ["token", "--ring", "early", "--state"]);
    let fleet = Fleet::start(dir.path());
    fleet.enrol();
    fleet.kill();
    let away = dir.path().join("away");
    std::fs::rename(&log, &away).expect("gone");
    for command in [&run[..], &token] {
        assert!(refusal(command).contains("state.db-wal` beside it, which is gone or damaged"));
    }
    std::fs::rename(&away, &log).expect("put back");
    let fleet = Fleet::start(dir.path());
    assert_eq!(fleet.admin().get("/v1/hosts").json().as_array().map(Vec::len), Some(1), "mended, all is there");
    assert_eq!(fleet.end(), Some(0));
    std::fs::rename(&database, &away).expect("gone");
    std::fs::create_dir(&database).expect("a folder");
    for command in [&run[..], &token] {
        assert!(refusal(command).contains("a folder in the place of the database: move it away"));
    }
}

#[test]
fn a_state_folder_that_is_damaged_or_in_use_starts_no_server() {
    let dir = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::start(dir.path());
    fleet.enrol();
    let run = |expected: &str| {
        let done = server(&["run", "--listen", "127.0.0.1:0", "--state"], dir.path(), &[]);
        let words = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && done.stdout.is_empty() && words.contains(expected), "{words}");
    };
    run("another server");
    assert_eq!(fleet.end(), Some(0));
    let database = dir.path().join("state.db");
    let whole = std::fs::read(&database).expect("the database");
    let damage = |bytes: &[u8]| {
        let mut file = std::fs::File::create(&database).expect("the file");
        file.write_all(bytes).expect("written");
    };
    let mut torn = whole.clone();
    torn[..64].fill(0x5a);
    damage(&torn);
    run("backups");
    // Whole at its head, and cut or overwritten behind it: it is looked through before anything is served from it.
    damage(&whole[..whole.len() / 2]);
    run("backups");
    let mut torn = whole.clone();
    let middle = torn.len() / 2 / 4096 * 4096;
    torn[middle..middle + 4096].fill(0x5a);
    damage(&torn);
    run("backups");
    damage(b"");
    run("put it back");
    std::fs::remove_file(&database).expect("gone");
    run("put it back");
    damage(&whole);
    let (ca, away) = (dir.path().join("ca"), dir.path().join("away"));
    std::fs::rename(&ca, &away).expect("gone");
    run("authority's keys are gone");
    std::fs::rename(&away, &ca).expect("back");
    let fleet = Fleet::start(dir.path());
    assert_eq!(fleet.admin().get("/v1/hosts").json().as_array().map(Vec::len), Some(1), "mended, all is there");
    assert_eq!(
        std::fs::metadata(ca.join("root.key"))
            .map(|file| std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777)
            .ok(),
        Some(0o600)
    );
}
