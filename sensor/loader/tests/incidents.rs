//! The loader's part in the incident museum (`docs/incidents.md`): a policy that came past everybody else is judged once more, on the
//! machine itself. `guard check` only looks; nothing here changes this machine.

#![allow(clippy::panic)] // a test's panic is its verdict

use std::io::Write as _;
use std::process::{Command, Stdio};

/// What the loader says of a policy with this one rule; `None` where it takes it.
fn refusal(rule: &str) -> Option<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watertight-loader"));
    command.args(["--pins", "/sys/fs/bpf/watertight-museum", "guard", "check"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("our own executable starts");
    let policy = format!("{{\"version\":1,\"rules\":[{rule}]}}");
    child.stdin.take().expect("a pipe").write_all(policy.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn rule(on: &str, target: &str) -> String {
    format!("{{\"id\":\"too-much\",\"action\":\"deny\",\"on\":[\"{on}\"],\"match\":{target},\"mode\":\"enforce\"}}")
}

#[test]
fn the_loader_alone_refuses_what_would_stop_the_shell_or_itself_by_whatever_name() {
    let folder = std::env::temp_dir().join(format!("watertight-museum-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let link = folder.join("harmless");
    std::os::unix::fs::symlink("/bin/sh", &link).expect("a link");
    let own_name = refusal(&rule("exec", "{\"file\":\"/bin/sh\"}")).expect("refused");
    let by_link = refusal(&rule("exec", &format!("{{\"file\":\"{}\"}}", link.display()))).expect("refused");
    let own = refusal(&rule("exec", &format!("{{\"file\":\"{}\"}}", env!("CARGO_BIN_EXE_watertight-loader"))));
    let all = refusal(&rule("write", "{\"under\":\"/etc\"}"));
    let other = refusal(&rule("exec", &format!("{{\"file\":\"{}\"}}", folder.join("none").display())));
    std::fs::remove_dir_all(&folder).expect("our own folder");
    for words in [own_name, by_link, own.expect("refused"), all.expect("refused")] {
        assert!(words.contains("rule too-much would stop"), "{words}");
    }
    assert!(other.is_none_or(|words| !words.contains("would stop")));
}

#[test]
fn the_loader_alone_takes_no_row_without_its_fields() {
    let good = rule("exec", "{\"file\":\"/opt/tools/xmrig\"}");
    let words = refusal(&good).unwrap_or_default();
    assert!(!words.contains("reading the policy") && !words.contains("checking the policy"), "{words}");
    for (filled, blank) in [("too-much", ""), ("/opt/tools/xmrig", ""), ("[\"exec\"]", "[]")] {
        let words = refusal(&good.replace(filled, blank)).unwrap_or_else(|| panic!("a blank {filled} was taken"));
        assert!(words.contains("checking the policy"), "{words}");
    }
    for part in [
        "\"action\":\"deny\",",
        "\"on\":[\"exec\"],",
        "\"mode\":\"enforce\"",
        "\"match\":{\"file\":\"/opt/tools/xmrig\"},",
    ] {
        let without = good.replace(part, "").replace(",}", "}");
        let words = refusal(&without).unwrap_or_else(|| panic!("{without} was taken"));
        assert!(words.contains("reading the policy"), "{words}");
    }
}
