//! Answers as people read them.

use std::fmt::Write as _;

use serde_json::Value;
use watertight_content_repo::time::Moment;
use watertight_fleet::plan::ring::RingPolicy;
use watertight_host::printable::printable;

/// Of a plan and of a rollout.
const TOO_FEW: &str = "too few hosts for statistics: the breaker on each host decides\n";

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
        "too_few_hosts" => words.push_str(TOO_FEW),
        "no_holdback" => {
            words.push_str("too few hosts to hold any back: after the last stage there is nobody to compare with\n")
        }
        _ => {}
    }
    for left in list(plan, "left_out") {
        let _ = writeln!(words, "not for ring {}: {}", text(left, "ring"), text(left, "why"));
    }
    for hosts in list(plan, "hosts_left_out").filter_map(Value::as_str) {
        let _ = writeln!(words, "not for {}", printable(hosts));
    }
    let stages = list(plan, "stages").count();
    for (place, stage) in (1..).zip(list(plan, "stages")) {
        let named: Vec<String> = list(stage, "named").filter_map(Value::as_str).map(printable).collect();
        let named = match named.as_slice() {
            [] if place == stages => "all that are not held back".to_owned(),
            [] => "by chance".to_owned(),
            named => named.join(" "),
        };
        let _ = writeln!(
            words,
            "  stage {}: {} hosts have it; {named}{}",
            number(stage, "number"),
            number(stage, "hosts_so_far"),
            match number(stage, "not_before_ms") {
                0 => String::new(),
                from_ms => format!("; not before {}, by the signed schedule", moment(from_ms)),
            }
        );
    }
    words
}

/// What was said of the rings.
pub(super) fn rings(rings: &Value) -> String {
    match rings.as_array().map(Vec::as_slice) {
        None | Some([]) => "nothing was said of any ring: each begins what the signed schedule lets it\n".to_owned(),
        Some(all) => all.iter().map(ring).collect(),
    }
}

/// What was said of one.
pub(super) fn ring(told: &Value) -> String {
    let mut words = vec![format!("ring {}", text(told, "ring"))];
    if number(told, "hosts") == 0 {
        words.push("no host is in it: is that its name?".to_owned());
    }
    let policy = told.get("policy").unwrap_or(&Value::Null);
    match serde_json::from_value::<RingPolicy>(policy.clone()) {
        Ok(policy) => words.extend(policy.says(now_ms(), moment).iter().map(|said| printable(said))),
        Err(_) => words.push(format!("its policy is of a newer server: {}", printable(&policy.to_string()))),
    }
    let closed = text(told, "closed");
    if !closed.is_empty() {
        words.push(format!("begins nothing now, {closed}"));
    }
    if words.len() == 1 {
        words.push("begins what the signed schedule lets it".to_owned());
    }
    format!("{}\n", words.join("; "))
}

/// The clock of whoever asks, milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    u64::try_from(Moment::now().unix_s()).unwrap_or(0).saturating_mul(1_000)
}

fn moment(at_ms: u64) -> String {
    Moment::from_unix_s(i64::try_from(at_ms / 1_000).unwrap_or(i64::MAX)).to_string()
}

/// How a rollout stands, in a line.
pub(super) fn line(status: &Value) -> String {
    let trouble = match text(status, "trouble") {
        none if none.is_empty() => none,
        trouble => format!("; {trouble}"),
    };
    format!(
        "{} of {} version {}: {}, stage {} of {}; {} of {} hosts were given it, {} healthy, {} failed; {}{trouble}\n",
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
    if text(status, "statistics") == "too_few_hosts" {
        let _ = write!(words, "  {TOO_FEW}");
    }
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
