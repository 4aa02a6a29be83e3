//! Keys and the passphrases that seal them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, ExitStatus, Stdio};

use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};

use super::{words, Desk, BINARY};

#[test]
fn key_files_are_their_owners_and_hold_no_key_in_the_clear() {
    let desk = Desk::new();
    let mode = fs::metadata(desk.path("alice.key")).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(desk.code("keys new --out alice.key --passphrase-file passphrase"), Some(1), "never overwritten");
    let shown = desk.json("keys show alice.key alice.key.pub -o json");
    assert_eq!(shown["keys"][0]["id"], shown["keys"][1]["id"]);
    assert!(words(&desk.run("keys new --out short.key --passphrase-file /dev/null")).contains("empty"));
}

#[test]
fn a_wrong_passphrase_signs_nothing() {
    let desk = Desk::new();
    let before = fs::read(desk.path("content.json")).expect("a document");
    fs::write(desk.path("wrong"), "wrong horse battery staple\n").expect("a file");
    assert_eq!(desk.code("sign content.json --key release-a.key --passphrase-file wrong"), Some(5));
    assert_eq!(fs::read(desk.path("content.json")).expect("a document"), before);
}

#[test]
fn a_key_file_that_others_may_read_or_that_is_none_signs_nothing() {
    let desk = Desk::new();
    let sign = "sign content.json --key release-a.key --passphrase-file passphrase";
    let mode = |mode| fs::set_permissions(desk.path("release-a.key"), fs::Permissions::from_mode(mode)).expect("ours");
    mode(0o640);
    let output = desk.run(sign);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        words(&output).contains("(mode 0640)") && words(&output).contains("`chmod 600 release-a.key`"),
        "{}",
        words(&output)
    );
    mode(0o600);
    assert_eq!(desk.code(sign), Some(0));
    fs::remove_file(desk.path("release-a.key")).expect("our own folder");
    assert!(Command::new("mkfifo").arg(desk.path("release-a.key")).status().expect("it is there").success());
    let output = desk.run(sign);
    assert_eq!(output.status.code(), Some(1), "it does not wait");
    assert!(
        words(&output).contains("no regular file") || words(&output).contains("read by others"),
        "{}",
        words(&output)
    );
}

#[test]
fn a_key_that_may_not_sign_a_document_is_refused_where_that_is_known_and_else_told() {
    let desk = Desk::new();
    let by = |key: &str, file: &str, more: &str| {
        let output = desk.run(&format!("sign {file} --key {key}.key --passphrase-file passphrase {more}"));
        (output.status.code(), words(&output))
    };
    let refused = |(code, words): (Option<i32>, String), role: &str| {
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains(&format!("none of those that may sign this {role}: sign with one of them")), "{words}");
    };
    refused(by("snapshot", "roles/root.json", ""), "root");
    refused(by("snapshot", "roles/targets.json", ""), "targets");
    assert_eq!(by("alice", "roles/targets.json", ""), (Some(0), String::new()), "the root beside it says so");
    refused(by("alice", "content.json", "--after repository"), "content");
    refused(by("release-a", "director.json", "--after repository"), "director");
    assert_eq!(by("release-a", "content.json", "--after repository"), (Some(0), String::new()));
    let (code, told) = by("release-a", "content.json", "");
    assert!(code == Some(0) && told.contains("not known here: name the published repository by --after"), "{told}");
}

#[test]
fn one_key_is_not_both_with_people_and_on_a_server() {
    let desk = Desk::new();
    let draft = |content: &str, director: &str| {
        desk.run(&format!(
            "draft roles --out apart --key root=alice.key --key targets=alice.key --key content={content}.key \
             --key director={director}.key --key snapshot=snapshot.key --key timestamp=snapshot.key"
        ))
    };
    let output = draft("snapshot", "director");
    assert_eq!(output.status.code(), Some(1));
    for told in ["role content", "role snapshot", "make another one with"] {
        assert!(words(&output).contains(told), "{told}: {}", words(&output));
    }
    assert_eq!(draft("release-a", "alice").status.code(), Some(1));
    assert!(!desk.path("apart").exists(), "nothing is drafted");
    assert_eq!(draft("alice", "snapshot").status.code(), Some(0), "among people, and among servers, it may be one");
}

#[test]
fn without_a_terminal_a_passphrase_must_be_named_and_there_is_no_option_for_the_secret_itself() {
    let desk = Desk::new();
    // A session of its own has no terminal to ask.
    let mut command = Command::new("setsid");
    command.args(["--wait", BINARY, "content", "sign", "content.json", "--key", "release-a.key"]);
    let output = command.current_dir(desk.0.path()).stdin(Stdio::null()).output().expect("setsid starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("--passphrase-file"), "{}", words(&output));
    let help = desk.run("sign --help");
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(help.contains("--passphrase-fd") && !help.contains("--passphrase "), "{help}");
}

/// Runs the command on a terminal of its own, answers each question, and gives what the terminal showed and the exit.
fn on_a_terminal(desk: &Desk, arguments: &str, answers: &[&str]) -> (String, ExitStatus) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("it is ours");
    let name = ptsname(&master, Vec::new()).expect("it has a name");
    let terminal =
        || File::options().read(true).write(true).open(OsStr::from_bytes(name.to_bytes())).expect("a terminal");
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", BINARY, "content"]).args(arguments.split_whitespace());
    command.stdin(terminal()).stdout(terminal()).stderr(terminal()).current_dir(desk.0.path());
    let mut child = command.spawn().expect("setsid starts");
    drop(command); // and with it our own ends of the terminal
    let mut master = File::from(master);
    let (mut shown, mut part) = (Vec::new(), [0; 4096]);
    let mut answers = answers.iter();
    // A terminal that nobody has any more ends with an error.
    while let Ok(count @ 1..) = master.read(&mut part) {
        shown.extend_from_slice(&part[..count]);
        if shown.ends_with(b": ") {
            let Some(answer) = answers.next() else { break };
            master.write_all(answer.as_bytes()).expect("it reads");
        }
    }
    (String::from_utf8_lossy(&shown).into_owned(), child.wait().expect("it ends"))
}

#[test]
fn a_terminal_is_asked_without_echo() {
    let desk = Desk::new();
    let sign = "sign content.json --key release-a.key";
    let (shown, exit) =
        on_a_terminal(&desk, sign, &["correct hourse\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}orse battery staple\n"]);
    assert!(exit.success(), "{shown}");
    assert!(shown.contains("passphrase of release-a.key: ") && !shown.contains("staple"), "{shown}");
    let (shown, exit) = on_a_terminal(&desk, "keys new --out new.key", &["one long enough\n", "another long one\n"]);
    assert_eq!(exit.code(), Some(1), "{shown}");
    assert!(shown.contains("differ") && !desk.path("new.key").exists(), "{shown}");
    // The interrupt key ends the question as it ends any command.
    let (shown, exit) = on_a_terminal(&desk, sign, &["corr\u{3}"]);
    assert!(!exit.success() && !shown.contains("corr"), "{shown}");
}

#[test]
fn a_passphrase_comes_from_a_descriptor() {
    let desk = Desk::new();
    let mut command = Command::new(BINARY);
    command.args(["content", "sign", "content.json", "--key", "release-a.key", "--passphrase-fd", "0"]);
    let mut child =
        command.current_dir(desk.0.path()).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(b"correct horse battery staple\n").expect("it reads");
    assert!(child.wait().expect("it ends").success());
}
