//! What of the repository is old, held back, recalled or a thief's, and who says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use watertight_content_repo::key::SigningKey;
use watertight_content_repo::publish::{publish, OnlineKeys, Publication};
use watertight_content_repo::time::Moment;
use watertight_host::slots::ContentId;

use super::{words, Desk, BINARY, PAGE};

/// As long ago, in the form of the client's files.
fn ago(seconds: i64) -> Moment {
    Moment::now().plus_s(-seconds)
}

const HOUR_S: i64 = 3_600;
const NOBODY: &str = "fetch --from http://127.0.0.1:1 --state trusted --recall-in host -o json";

impl Desk {
    /// Exit code and answer of one that must have answered.
    fn answered(&self, arguments: &str) -> (Option<i32>, Value) {
        let output = self.run(arguments);
        assert!(!output.stdout.is_empty(), "{}", words(&output));
        let answer = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code(), answer)
    }

    fn status(&self) -> Value {
        let mut command = Command::new(BINARY);
        command.args(["status", "--state", "host", "-o", "json"]).current_dir(self.0.path());
        serde_json::from_slice(&command.output().expect("it starts").stdout).expect("JSON")
    }

    fn heard(&self, seconds_ago: i64) {
        fs::write(self.path("trusted/refreshed"), format!("{} {}\n", ago(seconds_ago), 24 * HOUR_S)).expect("a file");
    }

    /// A key of the page.
    fn key(&self, name: &str) -> SigningKey {
        let sealed = fs::read_to_string(self.path(name)).expect("a key");
        SigningKey::open(&sealed, "correct horse battery staple").expect("the page's passphrase")
    }

    /// What the director says from now on.
    fn publish_plan(&self, plan: &str) {
        fs::write(self.path("plan.json"), plan).expect("a file");
        for step in [
            "draft plan plan.json --out director.json --after repository",
            "sign director.json --key director.key --passphrase-file passphrase",
            "publish --to repository --director director.json --file plan.json --snapshot-key snapshot.key \
             --timestamp-key timestamp.key --passphrase-file passphrase",
        ] {
            let output = self.run(step);
            assert!(output.status.success(), "{step}: {}", words(&output));
        }
    }

    /// The director recalls the second pack.
    fn recall(&self) {
        let plan = fs::read_to_string(self.path("plan.json")).expect("a plan");
        let id = ContentId::of(&fs::read(self.path("linux-2.pack")).expect("a pack"));
        let plan =
            plan.replace("\"epoch\": 1", "\"epoch\": 2").replace("\"recall\": []", &format!("\"recall\": [\"{id}\"]"));
        self.publish_plan(&plan);
    }
}

#[test]
fn what_is_not_heard_goes_stale_long_before_it_expires_and_fetch_and_status_say_so() {
    let desk = Desk::new();
    assert_eq!(desk.status()["repository"], Value::Null, "nobody fetched for this run");
    desk.heard(11 * HOUR_S);
    let (code, answer) = desk.answered(NOBODY);
    assert_eq!((code, &answer["health"]["state"]), (Some(3), &"fresh".into()), "{answer}");
    desk.heard(13 * HOUR_S);
    let (code, answer) = desk.answered(NOBODY);
    assert_eq!((code, &answer["health"]["state"]), (Some(3), &"stale".into()), "{answer}");
    assert_eq!(answer["packs"].as_array().map(Vec::len), Some(1), "what was trusted is good still");
    let told = &desk.status()["repository"];
    assert_eq!((&told["health"]["state"], told["refresh_failed"].is_string()), (&"stale".into(), true), "{told}");
    let (code, answer) = desk.answered("fetch --from repository --state trusted --recall-in host -o json");
    assert_eq!((code, &answer["health"]["state"]), (Some(0), &"fresh".into()), "{answer}");
    assert_eq!(desk.status()["repository"]["health"]["state"], "fresh");
}

#[test]
fn what_has_expired_or_was_never_heard_is_answered_too_and_is_an_error() {
    let desk = Desk::new();
    let keys = (vec![desk.key("snapshot.key")], vec![desk.key("timestamp.key")]);
    let keys = OnlineKeys { snapshot: &keys.0, timestamp: &keys.1 };
    let publication =
        Publication { snapshot_lifetime_s: 99 * HOUR_S, timestamp_lifetime_s: HOUR_S, ..Publication::default() };
    publish(&desk.path("repository"), &publication, keys, ago(2 * HOUR_S)).expect("it was good then");
    // As a client has it that took it when it was good.
    fs::copy(desk.path("repository/metadata/timestamp.json"), desk.path("trusted/timestamp.json"))
        .expect("our own folders");
    for from in ["repository", "http://127.0.0.1:1", "/nonexistent"] {
        let (code, answer) = desk.answered(&format!("fetch --from {from} --state trusted --recall-in host -o json"));
        assert_eq!((code, &answer["kind"]), (Some(1), &"content_fetched".into()), "{from}: {answer}");
        assert_eq!(
            (&answer["health"]["state"], &answer["packs"]),
            (&"expired".into(), &serde_json::json!([])),
            "{from}"
        );
        assert!(answer["refresh_failed"].is_string(), "{answer}");
    }
    assert_eq!(desk.status()["repository"]["health"]["state"], "expired");
    for (state, options) in [("new", "--root roles/root.json"), ("other", "")] {
        let never = format!("fetch --from /nonexistent --state {state} --recall-in host -o json {options}");
        let (code, answer) = desk.answered(&never);
        assert_eq!((code, &answer["health"]["state"]), (Some(1), &"never".into()), "{answer}");
        assert_eq!(desk.status()["repository"]["health"]["state"], "never");
    }
}

#[test]
fn a_pack_that_can_not_be_had_takes_nothing_from_what_went_through() {
    let desk = Desk::new();
    let id = ContentId::of(&fs::read(desk.path("linux-2.pack")).expect("a pack")).to_string();
    let mut flipped = 0;
    for path in files_below(&desk.path("repository/targets")) {
        let mut bytes = fs::read(&path).expect("a file");
        if ContentId::of(&bytes).to_string() == id {
            bytes[100] ^= 1;
            fs::write(&path, bytes).expect("a file");
            flipped += 1;
        }
    }
    assert!(flipped > 0, "the pack is in the repository");
    let (code, answer) = desk.answered("fetch --from repository --state trusted --to elsewhere -o json");
    assert_eq!((code, &answer["health"]["state"]), (Some(3), &"fresh".into()), "{answer}");
    let pack = &answer["packs"][0];
    assert!(pack["failed"].is_string() && pack["file"].is_null(), "{answer}");
    assert!(!desk.path("elsewhere/linux-2.pack").exists());
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn what_is_recalled_is_neither_handed_out_nor_installed_where_it_never_was() {
    let desk = Desk::new();
    desk.recall();
    // Whoever asks for no host hears of it too, and gets nothing.
    let (code, answer) =
        desk.answered("fetch --from repository --state other --root roles/root.json --to handed -o json");
    assert_eq!((code, answer["recalled"].as_array().map(Vec::len)), (Some(0), Some(1)), "{answer}");
    assert!(answer["packs"][0]["file"].is_null() && !desk.path("handed/linux-2.pack").exists(), "{answer}");
    let named = "fetch --from repository --state other --name linux --to handed -o json";
    assert_eq!(desk.answered(named).0, Some(4), "no pack of this name may run");
    let fresh = "fetch --from repository --state trusted --host web-7 --ring broad --stratum debian-12 --engine 2 \
                 --to handed --recall-in host -o json";
    let (code, answer) = desk.answered(fresh);
    assert_eq!((code, &answer["taken_out"]), (Some(0), &serde_json::json!([])), "{answer}");
    assert_eq!(desk.code("install linux-2.pack --state host"), Some(6), "it is in quarantine before it came");
    assert_eq!(desk.code("slots --state host"), Some(0), "which needs nobody's attention");
    assert!(!desk.path("handed/linux-2.pack").exists());
}

#[test]
fn a_recall_is_heard_where_nothing_that_is_signed_can_be_run() {
    let desk = Desk::new();
    desk.recall();
    let metadata = std::fs::read_dir(desk.path("repository/metadata")).expect("published");
    for file in
        metadata.filter_map(Result::ok).filter(|file| file.file_name().to_string_lossy().ends_with(".content.json"))
    {
        std::fs::remove_file(file.path()).expect("our own");
    }
    let withheld =
        "fetch --from repository --state other --root roles/root.json --host web-7 --ring broad --stratum debian-12 \
                    --to handed --recall-in host -o json";
    let (code, answer) = desk.answered(withheld);
    assert_eq!((code, answer["recalled"].as_array().map(Vec::len)), (Some(1), Some(1)), "{answer}");
    assert_eq!(desk.code("install linux-2.pack --state host"), Some(6), "it is in quarantine before it came");
}

#[test]
fn a_recall_is_in_force_on_a_full_disk_and_status_says_that_it_was_not_told_what_the_fetch_heard() {
    let desk = Desk::new();
    desk.recall();
    fs::create_dir(desk.path("host")).expect("our own folder");
    let content = format!("{BINARY} content");
    let fetch = format!(
        "{content} fetch --from repository --state trusted --host web-7 --ring broad --stratum debian-12 --recall-in host -o json"
    );
    let status = format!("{BINARY} status --state host -o json");
    let script = format!(
        "mount -t tmpfs -o size=256k none host || exit 77\n\
         {content} install linux-2.pack --state host > /dev/null || exit 1\n\
         cat /dev/zero > host/filled 2>/dev/null\n\
         {fetch}; echo $?; {status}; {content} slots --state host -o json\n\
         rm host/filled\n\
         {fetch}; echo $?; {status}; {content} slots --state host -o json\n"
    );
    let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).current_dir(desk.0.path()).output();
    let Some(output) =
        output.ok().filter(|output| !matches!(output.status.code(), Some(77)) && !output.stdout.is_empty())
    else {
        println!("skipped: needs a mount namespace");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [full, full_code, status, slots, then, then_code, status_then, slots_then] = lines.as_slice() else {
        panic!("{said} {}", words(&output))
    };
    assert_eq!((full_code, full["taken_out"].as_array().map(Vec::len)), (&0.into(), Some(1)), "{full}");
    assert_eq!((&slots["next"], &slots["quarantine"][0]["cause"]), (&"factory".into(), &"it was recalled".into()));
    let told = status["repository"]["refresh_failed"].to_string();
    assert!(told.contains("a recall perhaps, could not be written: make room"), "{status}");
    assert_eq!((then_code, &then["taken_out"]), (&0.into(), &serde_json::json!([])), "{then}");
    assert_eq!((&slots_then["next"], &status_then["repository"]["refresh_failed"]), (&"factory".into(), &Value::Null));
}

#[test]
fn a_mirror_that_holds_a_role_back_is_no_fresh_repository() {
    for role in ["content", "director"] {
        let desk = Desk::new();
        desk.recall();
        let host = "--host web-7 --ring broad --stratum debian-12 --recall-in host -o json";
        let fetch = format!("fetch --from repository --state other --root roles/root.json {host}");
        let (_, answer) = desk.answered(&fetch);
        assert_eq!(answer["health"]["state"], "fresh", "{answer}");
        let of_role = |file: &std::fs::DirEntry| file.file_name().to_string_lossy().ends_with(&format!(".{role}.json"));
        let metadata = std::fs::read_dir(desk.path("repository/metadata")).expect("published");
        for file in metadata.filter_map(Result::ok).filter(of_role) {
            std::fs::remove_file(file.path()).expect("our own");
        }
        let withheld = format!("fetch --from repository --state fresh --root roles/root.json {host}");
        let (code, answer) = desk.answered(&withheld);
        assert_ne!(code, Some(0), "{answer}");
        assert_eq!(answer["health"]["state"], "never", "{answer}");
        assert!(answer["refresh_failed"].as_str().is_some_and(|why| why.contains(role)), "{answer}");
        let status = desk.status();
        assert_eq!(status["repository"]["health"]["state"], "never", "{status}");
    }
}

/// The page's last commands, which only who lost a key needs.
fn way_back() -> String {
    let (_, lost) = PAGE.split_once("## When a key is lost or stolen").expect("the page tells it");
    lost.split("```").nth(1).expect("its commands").to_owned()
}

#[test]
fn a_thief_who_ran_the_epoch_up_to_the_last_is_over_with_another_directors_key() {
    let desk = Desk::new();
    let fetch = "fetch --from repository --state trusted --to packs --host web-7 --ring broad --stratum debian-12";
    assert_eq!(desk.code(fetch), Some(0));
    let plan = fs::read_to_string(desk.path("plan.json")).expect("the page's plan");
    desk.publish_plan(&plan.replace("\"epoch\": 1,", "\"epoch\": 18446744073709551615,"));
    assert_eq!(desk.code(fetch), Some(0), "it is signed");
    desk.publish_plan(&plan);
    let refused = desk.run(&format!("{fetch} -o json"));
    let told: Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(told["director_refused"].as_str().is_some_and(|why| why.contains("epoch 1 is older")), "{told}");

    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", Path::new(BINARY).parent().expect("a folder").display());
    let mut shell = Command::new("sh");
    shell.args(["-eu", "-c", &way_back()]).env("PATH", path).current_dir(desk.0.path()).stdin(Stdio::null());
    let done = shell.output().expect("every Linux has a shell");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(desk.code(fetch), Some(0), "the new director's first word");
}
