//! `watertight triage` and `watertight crash` as a user runs them.

use std::path::Path;
use std::process::{Command, Output};

const OOPS: &str = "[    1.000000] WARNING: CPU: 0 PID: 77 at fs/frob.c:12 frob_open+0x10/0x20 [frob]
[    1.000000] CPU: 0 PID: 77 Comm: frobd Not tainted 6.1.0 #1
[    1.000000] RIP: 0010:frob_open+0x10/0x20 [frob]
[    1.000000] Call Trace:
[    1.000000]  frob_attach+0x10/0x20 [frob]
";

fn watertight(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_watertight")).current_dir(folder).args(args).output().expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_line_for_each_report_in_the_order_of_the_files_and_the_path_as_it_was_given() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("two.log"), format!("{OOPS}{}", OOPS.replace("frob_open", "frob_close")))
        .expect("written");
    std::fs::write(folder.path().join("quiet.log"), "[    1.000000] frob0: link up\n").expect("written");
    let done = watertight(folder.path(), &["triage", "-o", "json", "./two.log", "quiet.log", "gone.log"]);
    let lines: Vec<serde_json::Value> =
        text(&done.stdout).lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let field =
        |name: &str| lines.iter().map(|line| line[name].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    assert_eq!(field("file"), ["./two.log", "./two.log", "quiet.log", "gone.log"]);
    assert_eq!(field("kind"), ["linux-oops", "linux-oops", "none", "none"]);
    assert_eq!(field("title"), ["WARNING in frob_open", "WARNING in frob_close", "", ""]);
    assert!(field("error")[3].starts_with("opening: "), "{:?}", field("error"));
    assert_eq!(done.status.code(), Some(3), "some failed");
    assert_eq!(watertight(folder.path(), &["triage", "gone.log"]).status.code(), Some(1), "all failed");
    assert_eq!(watertight(folder.path(), &["triage", "quiet.log"]).status.code(), Some(0));
    assert_eq!(watertight(folder.path(), &["triage"]).status.code(), Some(2));
}

#[test]
fn the_text_form_names_the_fault_the_stack_and_the_bucket() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("oops.log"), OOPS).expect("written");
    let shown = text(&watertight(folder.path(), &["triage", "oops.log"]).stdout);
    for expected in [
        "TITLE:            WARNING in frob_open\n",
        "PROCESS_NAME:     frobd (pid 77)\n",
        "STACK_TEXT:\n",
        "frob!frob_open+0x10\n",
        "BUCKET_ID:        b1 ",
    ] {
        assert!(shown.contains(expected), "no {expected:?} in\n{shown}");
    }
}

#[test]
fn crashes_of_several_hosts_are_counted_listed_shown_and_charted() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |args: &[&str]| {
        let done = watertight(folder.path(), args);
        assert_eq!(done.status.code(), Some(0), "{args:?}: {}", text(&done.stderr));
        text(&done.stdout)
    };
    std::fs::write(folder.path().join("oops.log"), OOPS).expect("written");
    for (host, at) in [("one", "2026-11-22T08:10:00Z"), ("two", "2026-11-22T10:20:00Z")] {
        let said = run(&["crash", "add", "--store", "c.db", "--host", host, "--at", at, "--content", "c7", "oops.log"]);
        assert!(said.starts_with("1 crashes counted, 0 were known"), "{said}");
    }
    let said = run(&["crash", "add", "--store", "c.db", "--host", "one", "oops.log"]);
    assert!(said.starts_with("0 crashes counted, 1 were known"), "{said}");
    let line: serde_json::Value =
        serde_json::from_str(&run(&["crash", "list", "--store", "c.db", "-o", "json"])).expect("one line");
    assert_eq!((line["hosts"].as_u64(), line["crashes"].as_u64()), (Some(2), Some(2)));
    let bucket = line["bucket"].as_str().expect("an id");
    let shown = run(&["crash", "show", "--store", "c.db", "--reporting", "1/4", bucket]);
    assert!(
        shown.contains("COUNTED:   2 crashes of 2 hosts") && shown.contains("ESTIMATE:  8 hosts affected"),
        "{shown}"
    );
    assert_eq!(run(&["crash", "chart", "--store", "c.db"]).lines().count(), 3, "an hour without a crash lies between");
    run(&["crash", "chart", "--store", "c.db", "--svg", "chart.svg", bucket]);
    assert!(std::fs::read_to_string(folder.path().join("chart.svg")).expect("a picture").starts_with("<svg"));
    assert_eq!(watertight(folder.path(), &["crash", "show", "--store", "c.db", "ffff"]).status.code(), Some(4));
    assert_eq!(watertight(folder.path(), &["crash", "list", "--store", "gone.db"]).status.code(), Some(1));
    assert!(!folder.path().join("gone.db").exists(), "a store that was misspelt is not made");
}

#[test]
fn the_report_in_the_how_to_is_what_the_command_prints() {
    const LOG: &str = "[  301.400000][   T77] BUG: KASAN: slab-use-after-free in memcpy+0x3c/0x50
[  301.400000][   T77] Read of size 8 at addr ffff888012345678 by task frobd/77
[  301.400000][   T77] \n[  301.400000][   T77] CPU: 1 PID: 77 Comm: frobd Tainted: G    B   W  O       6.1.0-56-cloud-amd64 #1
[  301.400000][   T77] Call Trace:
[  301.400000][   T77]  <TASK>
[  301.400000][   T77]  dump_stack_lvl+0x45/0x59
[  301.400000][   T77]  kasan_report+0xad/0xe0
[  301.400000][   T77]  memcpy+0x3c/0x50
[  301.400000][   T77]  frob_fill+0x12/0x90 [frob]
[  301.400000][   T77]  frob_read+0x40/0x100 [frob]
[  301.400000][   T77]  vfs_read+0x100/0x300
[  301.400000][   T77]  </TASK>
";
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/triage.md")).expect("the page");
    let shown =
        page.split_once("```\nTITLE:").and_then(|(_, rest)| rest.split_once("```")).expect("a report in the page").0;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("oops.log"), LOG).expect("written");
    let printed = text(&watertight(folder.path(), &["triage", "oops.log"]).stdout);
    let printed: Vec<&str> = printed.lines().collect();
    for line in format!("TITLE:{shown}").lines() {
        assert!(printed.contains(&line), "the page has {line:?}, printed was\n{}", printed.join("\n"));
    }
}

#[test]
fn parts_of_a_crash_in_pstore_are_one_crash_in_any_order() {
    const FIRST: &str = "Panic#2 Part2
<1>[   12.345678] BUG: kernel NULL pointer dereference, address: 0000000000000018
<4>[   12.345678] Oops: 0000 [#1] PREEMPT SMP NOPTI
<4>[   12.345678] RIP: 0010:frob_show+0x1a/0x60 [frob]
<4>[   12.345678] Call Trace:
<4>[   12.345678]  <TASK>
";
    const LAST: &str = "Panic#2 Part1
<4>[   12.345678]  frob_read+0x19/0x40 [frob]
<4>[   12.345678]  vfs_read+0x201/0x2e0
<4>[   12.345678]  </TASK>
<4>[   12.345678] Modules linked in: frob
<0>[   12.345678] Kernel panic - not syncing: Fatal exception
";
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [("dmesg-efi-1", LAST), ("dmesg-efi-2", FIRST), ("oops.log", OOPS)] {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    for files in [["dmesg-efi-1", "dmesg-efi-2", "oops.log"], ["dmesg-efi-2", "oops.log", "dmesg-efi-1"]] {
        let done = watertight(folder.path(), &[["triage", "-o", "json"].as_slice(), &files].concat());
        let lines: Vec<serde_json::Value> =
            text(&done.stdout).lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        let crash = &lines[0];
        assert_eq!(crash["title"], "BUG: unable to handle kernel NULL pointer dereference in frob_show");
        assert_eq!((crash["file"].as_str(), crash["corrupted"].as_bool()), (Some("dmesg-efi-2"), Some(false)));
        assert_eq!(crash["frames"].as_array().map(Vec::len), Some(3));
        assert_eq!(crash["modules"][0]["name"], "frob");
        // Where the headline begins in the second part's file, up to that file's end.
        assert_eq!(crash["span"], serde_json::json!({"start": 14, "end": FIRST.len()}));
        assert_eq!(crash["warnings"][0], "the crash goes on in dmesg-efi-1");
        assert_eq!(lines[1]["title"], "WARNING in frob_open");
    }
    // The same part of another boot: nothing tells which belongs to which.
    std::fs::write(folder.path().join("dmesg-efi-3"), LAST).expect("written");
    let done = watertight(folder.path(), &["triage", "-o", "json", "dmesg-efi-1", "dmesg-efi-2", "dmesg-efi-3"]);
    assert_eq!(text(&done.stdout).lines().count(), 3);
    // Counted they are one crash too, whichever is named first.
    for files in [["dmesg-efi-1", "dmesg-efi-2"], ["dmesg-efi-2", "dmesg-efi-1"]] {
        let add = ["crash", "add", "--store", "c.db", "--host", "one", "--boot", "1"].as_slice();
        assert_eq!(watertight(folder.path(), &[add, &files].concat()).status.code(), Some(0));
    }
    let listed = text(&watertight(folder.path(), &["crash", "list", "--store", "c.db", "-o", "json"]).stdout);
    let lines: Vec<serde_json::Value> =
        listed.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let [line] = lines.as_slice() else { panic!("one bucket: {listed}") };
    assert_eq!(line["crashes"], 1);
    assert_eq!(line["title"], "BUG: unable to handle kernel NULL pointer dereference in frob_show");
}

#[test]
fn a_chart_of_a_long_time_shows_its_beginning_and_says_that_its_bars_are_longer() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("oops.log"), OOPS).expect("written");
    for (host, at) in
        [("one", "2026-11-22T00:10:00Z"), ("two", "2026-11-22T12:00:00Z"), ("six", "2026-11-22T23:40:00Z")]
    {
        let add = ["crash", "add", "--store", "c.db", "--host", host, "--at", at, "oops.log"];
        assert_eq!(watertight(folder.path(), &add).status.code(), Some(0));
    }
    let done = watertight(folder.path(), &["crash", "chart", "--store", "c.db", "--by", "minute"]);
    let (shown, said) = (text(&done.stdout), text(&done.stderr));
    assert!(shown.starts_with("2026-11-22T00:00:00Z        1 crashes"), "{shown}");
    assert_eq!(shown.lines().filter(|line| line.contains(" 1 crashes ")).count(), 3, "{shown}");
    assert!(said.contains("a bar is an hour"), "{said}");
    let quiet = watertight(folder.path(), &["crash", "chart", "--store", "c.db", "--by", "hour"]);
    assert_eq!((text(&quiet.stdout), text(&quiet.stderr)), (shown, String::new()));
}

#[test]
fn a_path_that_is_no_text_is_told_exactly_and_a_crash_without_a_host_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    let names = [b"bad\xff.log".as_slice(), b"bad\xfe.log"].map(std::ffi::OsStr::from_bytes);
    for name in names {
        std::fs::write(folder.path().join(name), OOPS).expect("written");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_watertight"));
    let done = command.current_dir(folder.path()).args(["triage", "-o", "json"]).args(names).output().expect("it runs");
    let lines: Vec<serde_json::Value> =
        text(&done.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let exact: Vec<_> = lines.iter().map(|line| line["file_bytes"].as_str().unwrap_or_default()).collect();
    assert_eq!(exact, ["626164ff2e6c6f67", "626164fe2e6c6f67"]);
    let refused = watertight(folder.path(), &["crash", "add", "--store", "s.db", "--host", "", "x.log"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("--host"), "{}", text(&refused.stderr));
}
