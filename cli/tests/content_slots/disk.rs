//! Slots on a disk that changes, is full, is shared, or whose writer is killed.

use super::*;

#[test]
fn a_pack_that_the_disk_has_changed_is_not_tried() {
    let host = Host::new();
    let pack = pack("good", 7, "Quiet");
    assert_eq!(host.install(&pack).0, Some(0));
    let slots = std::fs::read_dir(host.path("slots")).expect("it is there");
    let file =
        slots.map(|entry| entry.expect("a name").path()).find(|path| path.to_string_lossy().contains("candidate"));
    let changed = &pack[..pack.len() / 2];
    let found = id_of(changed);
    std::fs::write(file.expect("it is installed"), changed).expect("our own folder");
    let told = host.slots();
    assert_eq!((&told["next"], &told["slots"][0]["slot"]), (&"factory".into(), &"candidate".into()), "{told}");
    assert!(told["slots"][0]["unusable"].as_str().is_some_and(|why| why.contains("was changed")), "{told}");
    let run = host.run(&[]);
    assert_eq!(run.detector().1["slot"], "factory");
    let (_, code) = run.end();
    // The bytes that lay there are set aside: the pack that was meant has done nothing.
    assert_eq!((code, host.stands().1), (Some(3), vec![found]), "{}", host.words());
    assert!(host.words().contains("was changed"), "{}", host.words());
    assert_eq!(host.install(&pack).0, Some(0), "it is whole again");
    assert_eq!(host.stands().0, "candidate");
}

/// A pack that has lived on this host before.
fn hold_as_good(host: &Host, pack: &[u8], bytes: &[u8]) -> PathBuf {
    std::fs::create_dir_all(host.path("slots")).expect("our own folder");
    let file = host.path("slots").join(format!("good-1-v7-{}+2-0", id_of(pack)));
    std::fs::write(&file, bytes).expect("our own folder");
    file
}

#[test]
fn an_install_puts_the_bytes_back_where_a_slot_of_the_same_pack_holds_others() {
    let (host, pack) = (Host::new(), pack("good", 7, "Quiet"));
    let file = hold_as_good(&host, &pack, &pack[..pack.len() / 2]);
    assert_eq!(host.stands().0, "factory", "it is passed over");
    assert_eq!(host.install(&pack).0, Some(0));
    assert_eq!(
        (host.stands().0.as_str(), std::fs::read(&file).expect("it is there")),
        ("last-known-good", pack.clone())
    );
    // Of a candidate alike, and of one that is no file at all.
    assert_eq!(host.install(&correlating_pack(8)).0, Some(0));
    let slots = std::fs::read_dir(host.path("slots")).expect("it is there");
    let mut paths = slots.map(|entry| entry.expect("a name").path());
    let candidate = paths.find(|path| path.to_string_lossy().contains("candidate")).expect("it is installed");
    for is_link in [false, true] {
        std::fs::remove_file(&candidate).expect("our own folder");
        match is_link {
            true => std::os::unix::fs::symlink("/etc/hostname", &candidate).expect("our own folder"),
            false => std::fs::write(&candidate, b"other").expect("our own folder"),
        }
        assert_eq!(host.stands().0, "last-known-good");
        assert_eq!(host.install(&correlating_pack(8)).0, Some(0));
        assert_eq!((host.stands().0.as_str(), host.content(&["slots"]).status.code()), ("candidate", Some(0)));
    }
}

#[test]
fn where_the_slots_can_not_be_written_what_has_lived_is_in_force_as_is_told() {
    let (host, good) = (Host::new(), pack("good", 7, "Quiet"));
    hold_as_good(&host, &good, &good);
    // A folder in the place of the lock stops every change, as a full disk does.
    std::fs::create_dir(host.path("slots/lock")).expect("our own folder");
    assert_eq!(host.stands().0, "last-known-good");
    let run = host.run(&[]);
    let (_, content) = run.detector();
    assert_eq!((&content["slot"], &content["id"]), (&"last-known-good".into(), &id_of(&good).into()), "{content}");
    run.end();
    assert!(host.words().contains("used as they are"), "{}", host.words());
}

/// `sh` with a state folder on a disk of its own, which it fills; in a mount namespace that ends with it.
fn on_a_full_disk(host: &Host, before: &str, then: &str) -> Command {
    let state = host.state.path().display();
    let script = format!(
        "mount -t tmpfs -o size=128k none {state} && cd {state} && {before} && \
         {{ cat /dev/zero > filled 2>/dev/null; [ -s filled ]; }} && {then}"
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]);
    command
}

/// Whether a test may have a mount namespace; says so where it may not.
fn may_mount() -> bool {
    let may = Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|output| output.status.success());
    if !may {
        println!("skipped: needs a mount namespace");
    }
    may
}

#[test]
fn a_run_on_a_full_disk_uses_what_can_be_read_of_it_and_says_so() {
    if !may_mount() {
        return;
    }
    let (host, good, beside) = (Host::new(), pack("good", 7, "Quiet"), tempfile::tempdir().expect("a folder"));
    let name = format!("good-1-v7-{}+2-0", id_of(&good));
    std::fs::write(beside.path().join(&name), &good).expect("our own folder");
    let before = format!("mkdir -m700 slots && cp {}/{name} slots/", beside.path().display());
    let then = format!("exec {BINARY} {} {}", live::RUN.join(" "), host.state.path().display());
    let run = Run::of(on_a_full_disk(&host, &before, &then), host.state.path());
    let (_, content) = run.detector();
    assert_eq!((&content["slot"], &content["id"]), (&"last-known-good".into(), &id_of(&good).into()), "{content}");
    run.end();
    let words = host.words();
    for told in ["can't be written: No space left", "what can be read of it is used", "make room there"] {
        assert!(words.contains(told), "{told}: {words}");
    }
}

#[test]
fn a_link_in_the_place_of_a_pack_is_followed_nowhere_and_what_a_start_does_is_told() {
    let host = Host::new();
    assert_eq!(host.install(&pack("good", 7, "Quiet")).0, Some(0));
    let slots = std::fs::read_dir(host.path("slots")).expect("it is there");
    let mut paths = slots.map(|entry| entry.expect("a name").path());
    let file = paths.find(|path| path.to_string_lossy().contains("candidate")).expect("it is installed");
    std::fs::rename(&file, host.path("elsewhere")).expect("our own folder");
    std::os::unix::fs::symlink(host.path("elsewhere"), &file).expect("our own folder");
    let told = host.content(&["slots"]);
    let words = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told.status.code(), Some(3), "{words}");
    assert!(words.contains("the next start takes factory") && words.contains("a start passes it over"), "{words}");
    let run = host.run(&[]);
    assert_eq!(run.detector().1["slot"], "factory", "{}", host.words());
    run.end();
}

#[test]
fn a_folder_of_slots_that_others_may_write_is_not_used_and_the_mend_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let host = Host::new();
    assert_eq!(host.install(&pack("good", 7, "Quiet")).0, Some(0));
    let open = |mode| {
        std::fs::set_permissions(host.path("slots"), std::fs::Permissions::from_mode(mode)).expect("our own folder");
    };
    open(0o777);
    let (code, words) = host.install(&pack("good", 8, "Quiet"));
    assert!(code == Some(1) && words.contains("chmod go-w"), "{code:?} {words}");
    assert_eq!(host.slots()["next"], "unknown", "{}", host.slots());
    assert_eq!(host.content(&["slots"]).status.code(), Some(3));
    let run = host.run(&[]);
    assert_eq!(run.detector().1["slot"], "factory");
    run.end();
    assert!(host.words().contains("the factory content alone is used"), "{}", host.words());
    open(0o700);
    assert_eq!(host.stands().0, "candidate");
}

#[test]
fn an_install_that_is_killed_at_any_time_leaves_slots_that_can_be_used() {
    let host = Host::new();
    let packs: Vec<Vec<u8>> = (1..=12).map(|version| pack("good", version, "Quiet")).collect();
    for (at, pack) in packs.iter().enumerate() {
        let file = host.path("pack");
        std::fs::write(&file, pack).expect("our own folder");
        let mut command = Command::new(BINARY);
        command.args(["content", "install"]).arg(&file).arg("--state").arg(host.state.path());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(at as u64 * 7));
        let _ = child.kill(); // it may have ended
        child.wait().expect("it ends");
    }
    let (next, quarantine) = host.stands();
    assert!(quarantine.is_empty() && (next == "candidate" || next == "factory"), "{next}");
    assert_eq!(host.install(&pack("good", 99, "Quiet")).0, Some(0));
    let run = host.run(&["--trial", "1h"]);
    let (_, content) = run.detector();
    assert_eq!((&content["slot"], &content["version"]), (&"candidate".into(), &99.into()), "{content}");
    run.end();
    let left = std::fs::read_dir(host.path("slots")).expect("it is there").count();
    assert_eq!(left, 2, "the candidate and the lock");
}
