//! A mend that brought everything back at once, and what all of it needed down again: no jitter, no back-off.

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use tempfile::TempDir;
use watertight_content_repo::client::{spread, Client, Limits};
use watertight_content_repo::director::{decide, Host as Member, Seen, SignedPlan, BUCKETS};
use watertight_content_repo::release::{signed_packs, SignedPack};
use watertight_content_repo::source::FolderSource;
use watertight_content_repo::store::{MemoryDisk, Store};
use watertight_content_repo::time::Moment;

use super::live::sees;
use super::place::Host;
use super::raw::{good_pack, pack_on_file};

/// Hosts that are started in the same second.
const HOSTS: u32 = 20_000;

/// A repository with one pack that the ring gets as `$1` says.
const PUBLISH: &str = r#"
echo "correct horse battery staple" > passphrase
for key in root content director online; do watertight content keys new --out $key.key --passphrase-file passphrase > log; done
watertight content draft roles --out roles --key root=root.key.pub --key targets=root.key.pub --key content=content.key.pub \
  --key director=director.key.pub --key snapshot=online.key.pub --key timestamp=online.key.pub > log
for role in root targets; do watertight content sign roles/$role.json --key root.key --passphrase-file passphrase > log; done
for pace in paced at-once; do
  [ $pace = paced ] && steps=0h:1000,4h:1000000 || steps=0h:1000000
  watertight content draft release museum.pack --ring broad=2026-01-01T00:00:00Z,$steps --out $pace.json > log
  watertight content sign $pace.json --key content.key --passphrase-file passphrase > log
  watertight content publish --to $pace --root roles/root.json --targets roles/targets.json --content $pace.json --file museum.pack \
    --snapshot-key online.key --timestamp-key online.key --passphrase-file passphrase > log
done
"#;

/// When the ring's time begins.
fn begins() -> Moment {
    "2026-01-01T00:00:00Z".parse().expect("a moment")
}

fn published() -> &'static Path {
    static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
        let folder = TempDir::new().expect("a folder");
        std::fs::write(folder.path().join("museum.pack"), good_pack(None)).expect("our own folder");
        let binary = Path::new(env!("CARGO_BIN_EXE_watertight")).parent().expect("a folder");
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        shell.args(["-eu", "-c", PUBLISH]).env("PATH", path).current_dir(folder.path());
        let output = shell.output().expect("every Linux has a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        folder
    });
    FOLDER.path()
}

fn packs(pace: &str) -> Vec<SignedPack> {
    let root = std::fs::read(published().join("roles/root.json")).expect("a root");
    let source = FolderSource::new(&published().join(pace)).expect("a folder");
    let store = Store::new(MemoryDisk::default());
    let mut client = Client::open(store, source, Some(&root), Limits::default()).expect("a good root");
    client.refresh(Moment::now()).expect("a good repository");
    signed_packs(&mut client, Moment::now()).expect("good packs")
}

/// How many hosts of the herd a director starts who wants all of them now.
fn started(packs: &[SignedPack], now: Moment) -> usize {
    let content = packs[0].id;
    let plan = serde_json::json!({
        "format": 1, "epoch": 1, "issued": now, "lease_until": now.plus_s(3600), "paused": false, "recall": [],
        "entries": [{
            "content": content, "not_before": now, "not_after": now.plus_s(3600),
            "cohort": { "ranges": [{ "stratum": "debian-12", "from": 0, "to": BUCKETS }] },
        }],
    });
    let plan = SignedPlan::parse(plan.to_string().as_bytes(), "director").expect("a plan");
    let runs = (0..HOSTS).filter(|host| {
        let member = Member {
            id: format!("web-{host}"),
            stratum: "debian-12".into(),
            ring: "broad".into(),
            engine: 2,
            engine_oldest: 1,
        };
        let verdict = decide(&plan, packs, &member, &mut Seen::default(), now).expect("a good plan");
        !verdict.to_run().is_empty()
    });
    runs.count()
}

#[test]
fn the_signed_pace_alone_starts_a_thousandth_though_the_director_wants_all_at_once() {
    let paced = packs("paced");
    let first = started(&paced, begins());
    assert!(first > 0 && first < HOSTS as usize / 1000 * 3, "{first} of {HOSTS} in the first second");
    assert_eq!(started(&paced, begins().plus_s(4 * 3600)), HOSTS as usize, "all of them in their time");
    assert_eq!(started(&packs("at-once"), begins()), HOSTS as usize, "nothing else holds them");
}

#[test]
fn each_hosts_own_time_alone_spreads_what_nobody_paces() {
    let (now, most_s) = (begins(), 600_u32);
    let most = Duration::from_secs(most_s.into());
    let mut asks = vec![0_u32; usize::try_from(most_s).expect("small")];
    for host in 0..HOSTS {
        let second = spread::wait(&format!("web-{host}"), now, most).as_secs();
        asks[usize::try_from(second).expect("within the time")] += 1;
    }
    let mean = HOSTS / most_s;
    let busiest = asks.iter().max().copied().unwrap_or_default();
    assert!(busiest < 3 * mean, "{busiest} hosts in one second, {mean} on average");
    // The hosts of that second are not the hosts of one second an hour later.
    let at = asks.iter().position(|count| *count == busiest).expect("it is there") as u64;
    let again = (0..HOSTS).filter(|host| {
        let wait = |now| spread::wait(&format!("web-{host}"), now, most).as_secs();
        wait(now) == at && wait(now.plus_s(3600)) == at
    });
    assert!(again.count() < 5);
}

#[test]
fn a_fetch_alone_waits_its_own_time_before_it_asks() {
    let fetch = |spread: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watertight"));
        command.args(["content", "fetch", "--from", "paced", "--state", "trusted", "--root", "roles/root.json"]);
        command.args(spread).current_dir(published()).output().expect("our own executable starts")
    };
    let spread = fetch(&["--spread", "2s"]);
    let words = String::from_utf8_lossy(&spread.stderr).into_owned();
    assert!(spread.status.success() && words.contains("at its own time of 2 s"), "{words}");
    assert!(!String::from_utf8_lossy(&fetch(&[]).stderr).contains("own time"));
}

#[test]
fn a_host_alone_comes_back_from_bad_content_and_asks_nobody() {
    if !sees() || !cfg!(debug_assertions) {
        return;
    }
    const FILE: &str = "wt-museum-herd";
    let (host, bad) = (Host::new(), pack_on_file("museum", "fault-abort", FILE));
    assert_eq!(host.install(&bad).code, Some(0));
    // In a network of its own, in which there is nobody at all.
    let run = host.run_without_network(&["--trial", "1h"]);
    assert_eq!(run.detector().1["slot"], "candidate");
    host.touch_until(FILE, || host.is_in_quarantine(&bad));
    run.until(|line| line["kind"] == "content" && line["slot"] == "factory");
    run.end();
}
