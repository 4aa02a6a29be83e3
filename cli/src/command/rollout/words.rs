//! Answers as people read them.

use std::fmt::Write as _;

use serde_json::Value;
use watertight_host::printable::printable;

fn text(value: &Value, name: &str) -> String {
    printable(value.get(name).and_then(Value::as_str).unwrap_or_default())
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// A plan.
pub(super) fn plan(plan: &Value) -> String {
    let mut words = format!(
        "{} version {} for {} hosts, about {} of them held back; {} s from the start to the end of the last stage\n",
        text(plan, "name"),
        number(plan, "version"),
        number(plan, "hosts"),
        number(plan, "held_back"),
        number(plan, "seconds")
    );
    match text(plan, "statistics").as_str() {
        "too_few_hosts" => words.push_str("too few hosts for statistics: the breaker on each host decides\n"),
        "no_holdback" => {
            words.push_str("too few hosts to hold any back: after the last stage there is nobody to compare with\n")
        }
        _ => {}
    }
    for stage in list(plan, "stages") {
        let named: Vec<String> = list(stage, "named").filter_map(Value::as_str).map(printable).collect();
        let named = if named.is_empty() { "by chance".to_owned() } else { named.join(" ") };
        let _ = writeln!(
            words,
            "  stage {}: {} hosts have it; {named}",
            number(stage, "number"),
            number(stage, "hosts_so_far")
        );
    }
    words
}

/// How a rollout stands, in a line.
pub(super) fn line(status: &Value) -> String {
    format!(
        "{} of {} version {}: {}, stage {} of {}; {} of {} hosts were given it, {} healthy, {} failed; {}\n",
        text(status, "id"),
        text(status, "name"),
        number(status, "version"),
        text(status, "state"),
        number(status, "stage"),
        number(status, "stages"),
        number(status, "exposed"),
        number(status, "hosts"),
        number(status, "healthy"),
        number(status, "failed"),
        text(status, "why")
    )
}

/// The same with what was decided.
pub(super) fn status(status: &Value) -> String {
    let mut words = line(status);
    for row in list(status, "decisions") {
        let Some(decision) = row.get("decision") else { continue };
        let _ = writeln!(
            words,
            "  stage {}, {}: {}",
            number(decision, "stage"),
            text(decision, "verdict"),
            text(decision, "why")
        );
    }
    let unreached: Vec<String> = list(status, "unreached").filter_map(Value::as_str).map(printable).collect();
    if !unreached.is_empty() {
        let _ = writeln!(words, "the recall has not reached: {}", unreached.join(" "));
    }
    words
}

/// Why a host is on its version.
pub(super) fn why(why: &Value) -> String {
    let runs = match text(why, "content").as_str() {
        "" => "it has not said what it runs".to_owned(),
        content => format!("it runs version {} ({content}) from slot {}", number(why, "version"), text(why, "slot")),
    };
    let mut words = format!("{}: {runs}\n", text(why, "host"));
    for line in list(why, "why").filter_map(Value::as_str) {
        let _ = writeln!(words, "  {}", printable(line));
    }
    words
}
