//! The policy of the enforcing column: a few dozen rules of every kind, none of which the workloads run into.

/// Files that are denied to be run.
const EXEC_RULES: u32 = 12;
/// Files that are denied to be written.
const WRITE_RULES: u32 = 12;
/// Peers that are denied.
const CONNECT_RULES: u32 = 12;

/// The policy file. Its targets are made by the guest.
pub fn text() -> String {
    let mut text = String::from("version: 1\nrules:\n");
    let mut rule = |id: String, on: &str, target: String| {
        text.push_str(&format!(
            "  - id: {id}\n    action: deny\n    on: {on}\n    mode: enforce\n    match: {{ {target} }}\n"
        ));
    };
    for at in 0..EXEC_RULES {
        rule(format!("exec-{at}"), "exec", format!("file: {}", target("exec", at)));
    }
    for at in 0..WRITE_RULES {
        rule(format!("write-{at}"), "write", format!("file: {}", target("write", at)));
    }
    for at in 0..CONNECT_RULES {
        rule(format!("connect-{at}"), "connect", format!("address: 192.0.2.{}, port: {}", at.saturating_add(1), 4444));
    }
    text
}

/// Every file that the policy names.
pub fn targets() -> impl Iterator<Item = String> {
    let exec = (0..EXEC_RULES).map(|at| target("exec", at));
    exec.chain((0..WRITE_RULES).map(|at| target("write", at)))
}

fn target(kind: &str, at: u32) -> String {
    format!("/denied/{kind}-{at}")
}
