//! What `watertight policy` says to people: tables, with everything that came from files made harmless for a terminal.

use std::fmt::Write as _;

use watertight_host::deny::store::Status;
use watertight_host::guard::{RefusedRule, Shown, State};
use watertight_host::output::clean;
use watertight_host::printable::printable;
use watertight_policy::Operation;

use super::Answer;

/// What `check` and `apply` say.
pub(super) fn answer(answer: &Answer<'_>) -> String {
    let mut text = String::new();
    let file = clean(&answer.file.to_string_lossy());
    let count = rules(answer.applied.rules.len());
    let state = match (answer.command, answer.enforced_by) {
        ("check", "kernel") => format!("{count} would be in force, enforced by the kernel"),
        ("check", "nothing") => "a good policy file, but this machine would deny nothing".to_owned(),
        ("check", by) => format!("{count} would be in force, by {by}"),
        (_, "kernel") => {
            format!("{count} in force: generation {}, {}", answer.applied.generation, state_name(answer.applied.state))
        }
        (_, by) => format!("{count} in force by {by}: only as long as `watertight run` runs"),
    };
    let _ = writeln!(text, "{file}: {state}");
    for rule in &answer.applied.rules {
        let entries = if rule.entries == 1 { "1 entry".to_owned() } else { format!("{} entries", rule.entries) };
        let _ = writeln!(text, "  {:<24} {entries}", clean(&rule.id));
        for warning in &rule.warnings {
            let _ = writeln!(text, "  {:<24}   warning: {}", "", printable(warning));
        }
    }
    left_out(&mut text, "not in force:", &answer.applied.refused);
    if let Some(why) = &answer.kernel_refused {
        let _ = writeln!(text, "why not by the kernel: {}", printable(why));
    }
    if let Some(mend) = &answer.mend {
        let _ = writeln!(text, "  mend: {}", printable(mend));
        if answer.enforced_by == "nothing" {
            let _ = writeln!(
                text,
                "  or: `fallback_deny: true` in the policy denies exec by fanotify while `watertight run` runs"
            );
        }
    }
    passes(&mut text, answer.passes.iter().copied());
    text
}

/// What `show` says.
pub(super) fn show(shown: &Shown, deny: Option<&Status>) -> String {
    let mut text = String::new();
    if shown.state == State::None {
        let _ = writeln!(text, "kernel: no policy (apply one with `watertight policy apply FILE`)");
    } else {
        let _ = writeln!(
            text,
            "kernel: {}, generation {}, {} hooks attached",
            state_name(shown.state),
            shown.generation,
            shown.attached.len()
        );
    }
    if !shown.rules.is_empty() {
        let rows = shown.rules.iter().map(|rule| {
            let on = names(&rule.on);
            let (denied, audited) = (rule.denied.to_string(), rule.audited.to_string());
            [clean(&rule.id), on, rule.mode.to_string(), clean(&rule.target.to_string()), denied, audited]
        });
        table(&mut text, ["rule", "on", "mode", "match", "denied", "audited"], rows.collect());
    }
    for missing in &shown.missing {
        let _ = writeln!(text, "  hook {} is missing: {}", clean(&missing.hook), printable(&missing.why));
    }
    if let Some(deny) = deny {
        fallback(&mut text, deny);
    }
    text
}

/// What is denied by fanotify, for `show` and `status`.
pub(crate) fn fallback(text: &mut String, deny: &Status) {
    let _ = match deny.why.as_str() {
        "" => writeln!(text, "deny: {} (fanotify permission, exec only)", deny.deny),
        why => writeln!(text, "deny: {}: {}", deny.deny, printable(why)),
    };
    if !deny.marks.is_empty() {
        let rows = deny.marks.iter().map(|mark| {
            let place = if mark.mark.is_folder { "under " } else { "" };
            let path = clean(&mark.mark.path.to_string_lossy());
            [clean(&mark.mark.rule), mark.mark.mode.to_string(), format!("{place}{path}"), mark.hits.to_string()]
        });
        table(text, ["rule", "mode", "match", "met"], rows.collect());
    }
    left_out(text, "not in force:", &deny.left_out);
    passes(text, deny.passes.iter().map(String::as_str));
}

fn passes<'a>(text: &mut String, bypasses: impl Iterator<Item = &'a str>) {
    let bypasses: Vec<&str> = bypasses.collect();
    if !bypasses.is_empty() {
        let _ = writeln!(text, "what passes:\n  {}", bypasses.join("\n  "));
    }
}

fn left_out(text: &mut String, head: &str, refused: &[RefusedRule]) {
    if !refused.is_empty() {
        let _ = writeln!(text, "{head}");
    }
    for rule in refused {
        let _ = writeln!(text, "  {:<24} {}", clean(&rule.id), printable(&rule.why));
    }
}

fn names(on: &[Operation]) -> String {
    on.iter().map(|operation| operation.name()).collect::<Vec<_>>().join(",")
}

fn rules(count: usize) -> String {
    if count == 1 {
        "1 rule".to_owned()
    } else {
        format!("{count} rules")
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::None => "no guard",
        State::Empty => "no policy",
        State::Trial => "on trial: the kernel goes back by itself unless it is confirmed",
        State::Confirmed => "confirmed",
        State::Returned => "returned to the policy before, because the newer one was not confirmed in time",
    }
}

/// Columns as wide as their widest cell; a last column of numbers needs no padding.
fn table<const N: usize>(text: &mut String, head: [&str; N], rows: Vec<[String; N]>) {
    let head = head.map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&head]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in [&head].into_iter().chain(&rows) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut text = String::new();
        table(&mut text, ["a", "longer"], vec![["1234".into(), "5".into()], ["6".into(), "7".into()]]);
        assert_eq!(text, "  a     longer\n  1234  5\n  6     7\n");
    }

    #[test]
    fn a_path_with_escapes_is_shown_harmlessly() {
        let line = r#"{"state":"confirmed","generation":1,"rules":[{"id":"a","on":["exec"],"mode":"enforce",
            "match":{"file":"/tmp/\u001b[31m"},"denied":2,"audited":0}]}"#;
        let shown: Shown = serde_json::from_str(line).expect("the loader's form");
        let text = show(&shown, None);
        assert!(text.contains("\\u{1b}[31m") && !text.contains('\u{1b}'), "{text:?}");
    }
}
