//! A disk that is really full: the server's folder lies on a small tmpfs, in a mount namespace of its own.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{check_in, now_ms, Fleet};
use watertight_fleet_wire::records::{pack, Alert, Batch, Body, Record, Stream};

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than the server keeps free, by enough for what the test delivers.
const DISK_MIB: u64 = 96;
/// Bytes of a record: some hundred of them are more than is left over.
const RECORD_BYTES: usize = 30_000;

/// Keeps a mount namespace with a tmpfs.
struct Disk {
    holder: Child,
    dir: tempfile::TempDir,
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl Disk {
    /// `None` without root.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root, for a small disk of its own");
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let mount = format!("mount -t tmpfs -o size={DISK_MIB}m tmpfs \"$1\" && echo mounted && exec sleep 600");
        let mut holder = Command::new("unshare")
            .args(["-m", "sh", "-c", &mount, "sh"])
            .arg(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut word = [0; 7];
        let read = std::io::Read::read_exact(holder.stdout.as_mut().expect("its output"), &mut word);
        assert!(read.is_ok() && &word == b"mounted", "no mount namespace");
        Some(Self { holder, dir })
    }

    /// A path on it, as this process sees it.
    fn path(&self, name: &str) -> PathBuf {
        let inside = self.dir.path().strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(inside).join(name)
    }

    /// A server with its state on it.
    fn serve(&self) -> Fleet {
        let within = ["nsenter".to_owned(), "-m".to_owned(), "-t".to_owned(), self.holder.id().to_string()];
        Fleet::start_by(&within, &self.dir.path().join("fleet"), &self.path("fleet"), &["--check-in-ms", "200"])
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.path("filler")).expect("a file");
        let piece = vec![1; 64 << 10];
        while std::io::Write::write_all(&mut file, &piece).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.path("filler")).expect("it is there");
    }
}

fn batch(sequence: u64, records: u64) -> Vec<u8> {
    let alert = |at: u64| {
        // Nothing that zstd makes small.
        let noise: String = (0..RECORD_BYTES as u64 / 16).map(|i| format!("{:016x}", mixed(at << 32 | i))).collect();
        Alert { rule: "r".into(), event_json: format!("\"{noise}\""), ..Alert::default() }
    };
    let record = |sequence| Record { sequence, at_ms: now_ms(), body: Some(Body::Alert(alert(sequence))) };
    let records = (sequence..sequence + records).map(record).collect();
    pack(&Batch { boot: "boot".into(), stream: Stream::Alert as i32, records, dropped: 0 }).expect("a batch")
}

/// A number that looks like no other (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^ (word >> 27)
}

#[test]
fn a_full_disk_stops_what_must_be_durable_loses_nothing_and_ends_by_itself() {
    let Some(disk) = Disk::new() else { return };
    let fleet = disk.serve();
    let agent = fleet.enrol();
    let mut client = fleet.agent(&agent);
    let mut deliver = |sequence: u64, records: u64| {
        let answer = client.post_bytes("/v1/agent/records", &batch(sequence, records));
        (answer.status, answer.json())
    };
    let (status, answer) = deliver(1, 10);
    assert_eq!((status, &answer["new"]), (200, &Value::from(10)), "{answer}");

    // Not a byte is left, and the server has not looked yet: the database itself is refused.
    disk.fill();
    let mut next = 11;
    let refused = loop {
        match deliver(next, 10) {
            (200, answer) => next = answer["acknowledged"].as_u64().expect("a number") + 1, // from what it had left over
            refused => break refused,
        }
        assert!(next < 100_000, "the disk is never full");
    };
    assert_eq!((refused.0, refused.1["code"].as_str()), (503, Some("not_durable")), "{}", refused.1);
    assert!(refused.1["retry_after_ms"].is_u64() && refused.1.get("acknowledged").is_none(), "{}", refused.1);
    assert_eq!(fleet.agent(&agent).post("/v1/agent/checkin", &check_in("i", 1)).status, 200, "check-ins go on");
    let status = fleet.admin().get("/v1/status").json();
    assert_eq!(status["is_safe_to_leave"], false, "{status}");
    let page = fleet.admin().get("/").text();
    assert!(page.contains("disk") || page.contains("full"), "{page}");

    // Killed while it is full: what was acknowledged is there.
    fleet.kill();
    disk.make_room();
    let fleet = disk.serve();
    let mut client = fleet.agent(&agent);
    let again = client.post_bytes("/v1/agent/records", &batch(1, next - 1)).json();
    assert_eq!(again["new"], 0, "all that was acknowledged is stored: {again}");
    let more = client.post_bytes("/v1/agent/records", &batch(next, 10)).json();
    assert_eq!(more["new"], 10, "{more}");

    // Full again, and room again, without a new start: it goes on by itself.
    disk.fill();
    let begun = Instant::now();
    while client.post_bytes("/v1/agent/records", &batch(next + 10, 1)).status != 503 {
        assert!(begun.elapsed() < PATIENCE, "it never noticed");
        std::thread::sleep(Duration::from_millis(100)); // no more than one host may
    }
    disk.make_room();
    loop {
        let answer = client.post_bytes("/v1/agent/records", &batch(next + 10, 1));
        if answer.status == 200 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it never went on: {}", answer.text());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(fleet.end(), Some(0));
}
