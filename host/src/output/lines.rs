//! Events and alerts as lines for people. Everything in them is another's text: nothing of it reaches a terminal raw or without end.

use watertight_event::{Event, Field, Kind, Outcome, Value};

use crate::alert::Alert;
use crate::live::{Line, Part};
use crate::printable::printable_start;

/// Longest value in a line for people, in characters.
const SHOWN_CHARS_MAX: usize = 160;
/// Deepest indentation in a line for people.
const INDENT_MAX: u64 = 12;

/// An alert for people: what, by which event, why, and where the process comes from, the eldest ancestor first.
pub fn alert_lines(alert: &Alert<'_>, level: &str) -> Vec<Line> {
    let Alert { event, rule, matches, ancestry, answer } = alert;
    let mut lines = vec![Line { part: Part::Alert, text: format!("ALERT [{level}] {}", clean(rule.title())) }];
    let mut why = |text: String| lines.push(Line { part: Part::Why, text });
    why(format!("    event     {} {} {}", event.kind.native(), who(event), what(event)));
    for (field, value, pattern) in *matches {
        why(format!("    because   {} = {}   matches {}", clean(field), clean(value), clean(pattern)));
    }
    if let Some(answer) = answer {
        why(format!("    response  {}", answer.words(rule.response().action)));
    }
    for (depth, name) in ancestry.iter().rev().enumerate() {
        let begin = if depth == 0 { "    ancestry  " } else { "              " };
        let branch = if depth == 0 { "" } else { "└ " };
        let indent = depth.saturating_sub(1).min(usize::try_from(INDENT_MAX).unwrap_or(0)).saturating_mul(2);
        why(format!("{begin}{:indent$}{branch}{}", "", clean(name)));
    }
    lines
}

/// One readable line: kind, process indented by its depth, what it acts on.
pub fn line(event: &Event) -> String {
    let depth = event.number(Field::Depth).unwrap_or(0).min(INDENT_MAX);
    let indent = usize::try_from(depth).unwrap_or(0);
    let outcome = match event.outcome {
        Outcome::Denied => " DENIED",
        _ => "",
    };
    format!("{:<18} {:indent$}{} {}{outcome}", event.kind.native(), "", who(event), what(event))
}

fn who(event: &Event) -> String {
    match (event.text(Field::Executable), event.text(Field::Comm), event.number(Field::Pid)) {
        (Some(path), _, Some(pid)) => format!("{}[{pid}]", clean(path.rsplit('/').next().unwrap_or_default())),
        (None, Some(name), Some(pid)) => format!("{}[{pid}]", clean(&name)),
        (_, _, Some(pid)) => format!("[{pid}]"),
        _ => "-".to_owned(),
    }
}

fn what(event: &Event) -> String {
    match event.kind {
        Kind::ProcessExec => event.text(Field::CommandLine).map_or_else(String::new, |line| clean(&line)),
        Kind::ProcessFork => event.number(Field::ChildPid).map_or_else(String::new, |pid| format!("-> [{pid}]")),
        Kind::ProcessExit => match event.number(Field::ExitSignal) {
            Some(signal) if signal != 0 => format!("signal {signal}"),
            _ => format!("code {}", event.number(Field::ExitCode).unwrap_or(0)),
        },
        _ => object(event),
    }
}

fn object(event: &Event) -> String {
    let mut parts = Vec::new();
    if let Some(Value::List(operations)) = event.get(Field::Operations) {
        if operations.len() > 1 {
            parts.push(operations.iter().map(|name| name.lossy().into_owned()).collect::<Vec<_>>().join("+"));
        }
    }
    if let Some(old) = event.text(Field::OldPath) {
        parts.push(format!("{} ->", clean(&old)));
    }
    for field in [Field::Path, Field::LinkTarget, Field::TargetExecutable, Field::ModuleName, Field::Message] {
        if let Some(text) = event.text(field) {
            parts.push(clean(&text));
        }
    }
    if let (Some(Value::Address(local)), Some(port)) = (event.get(Field::LocalAddress), event.number(Field::LocalPort))
    {
        parts.push(format!("{local}:{port}"));
    }
    if let (Some(Value::Address(remote)), Some(port)) =
        (event.get(Field::RemoteAddress), event.number(Field::RemotePort))
    {
        parts.push(format!("-> {remote}:{port}"));
    }
    parts.join(" ")
}

/// A value of others for a line for people: cut where it is too long.
#[must_use]
pub fn clean(text: &str) -> String {
    printable_start(text, SHOWN_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use watertight_event::Source;

    use super::*;

    #[test]
    fn a_path_with_escapes_never_reaches_the_terminal_raw() {
        let event = Event::new(Kind::FileUnlink, Outcome::Done, Source::Fanotify, 1)
            .with(Field::Path, "/tmp/\u{1b}[31mred\nline\u{202e}");
        let line = line(&event);
        assert!(line.chars().all(|letter| !letter.is_control()), "{line:?}");
        assert!(line.contains("\\u{1b}[31mred\\nline\\u{202e}"), "{line}");
    }
}
