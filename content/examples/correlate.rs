//! Measures correlations: `correlate [--json] [ROUNDS] [NAME]`, those whose name has this in it. What rules find is made beforehand, so
//! that what is measured is the correlator alone. Prints nanoseconds an event and what the state took; `valgrind --tool=callgrind
//! --toggle-collect='correlate::run*'` around it counts instructions.

use std::time::{Duration, Instant};

use serde_json::{json, Value as Json};
use watertight_content::sigma::{load_texts, JsonEvent, Slots, Source};
use watertight_engine::{Correlator, HashKey, Image, LogSource, Moment, Scratch};

const RULES: &str = "
title: a
name: a
id: a0
logsource: {category: c}
detection: {s: {kind: a}, condition: s}
---
title: b
name: b
id: b0
logsource: {category: c}
detection: {s: {kind: b}, condition: s}
---
";

/// Events made ready together: as they come from a sensor, what was just made is in the processor's cache.
const EVENTS_AT_ONCE: u64 = 512;

/// What is measured: a name, a correlation, how many events come before a new round of keys, and how an event looks.
struct Case {
    name: &'static str,
    correlation: &'static str,
    events: u64,
    make: fn(u64) -> Json,
    /// How much time lies between two events.
    step_ns: u64,
}

const CASES: [Case; 6] = [
    Case {
        name: "event_count, 1,000 groups",
        correlation: "{type: event_count, rules: a, group-by: [key], timespan: 1m, condition: {gte: 10}}",
        events: 200_000,
        make: |number| json!({"kind": "a", "key": format!("group-{}", number % 1_000)}),
        step_ns: 1_000_000,
    },
    Case {
        name: "event_count, 100,000 groups alive in 16 MB",
        correlation: "{type: event_count, rules: a, group-by: [key], timespan: 1d, condition: {gte: 10}, state: 16MB}",
        events: 200_000,
        make: |number| json!({"kind": "a", "key": format!("group-{}", number % 100_000)}),
        step_ns: 1_000_000,
    },
    Case {
        name: "value_count, 2,000 distinct values in the window",
        correlation:
            "{type: value_count, rules: a, group-by: [key], timespan: 1d, condition: {gte: 3000, field: value}}",
        events: 200_000,
        make: |number| json!({"kind": "a", "key": "one", "value": format!("value-{}", number % 2_000)}),
        step_ns: 1_000_000,
    },
    Case {
        name: "temporal, two rules, 1,000 groups",
        correlation: "{type: temporal, rules: [a, b], group-by: [key], timespan: 1m}",
        events: 200_000,
        make: |number| {
            let kind = if number % 2_000 < 1_000 { "a" } else { "b" };
            json!({"kind": kind, "key": format!("group-{}", number % 1_000)})
        },
        step_ns: 1_000_000,
    },
    Case {
        name: "sequence, two stages joined by process, 1,000 processes",
        correlation: "{type: temporal_ordered, join: process, timespan: 1m, stages: [
            {name: x, logsource: {category: c}, detection: {s: {kind: a}, condition: s}},
            {name: y, logsource: {category: c}, detection: {s: {kind: b}, condition: s}}]}",
        events: 200_000,
        make: |number| {
            let kind = if number % 2_000 < 1_000 { "a" } else { "b" };
            json!({"kind": kind, "ProcessGuid": format!("4c1f-1234567890-{}", number % 1_000)})
        },
        step_ns: 1_000_000,
    },
    Case {
        name: "sequence, process and a field of the stage before",
        correlation: "{type: temporal_ordered, join: process, timespan: 1m, stages: [
            {name: x, logsource: {category: c}, detection: {s: {kind: a}, condition: s}},
            {name: y, logsource: {category: c}, detection: {s: {kind: b}, condition: s},
             where: {Image|fieldref|cased: x.File}}]}",
        events: 200_000,
        make: |number| {
            let kind = if number % 2_000 < 1_000 { "a" } else { "b" };
            let file = format!("/tmp/file-{}", number % 1_000);
            json!({"kind": kind, "ProcessGuid": format!("4c1f-1234567890-{}", number % 1_000), "File": file, "Image": file})
        },
        step_ns: 1_000_000,
    },
];

fn main() {
    let (options, args): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg == "--json");
    let rounds: u32 = args.first().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let is_asked = |case: &&Case| args.get(1).is_none_or(|part| case.name.contains(part.as_str()));
    if options.is_empty() {
        println!("| correlation | ns/event | events/s | hits | state KB resident |");
        println!("|---|---|---|---|---|");
    }
    for case in CASES.iter().filter(is_asked) {
        let Some(Measured { ns, hits, state_kb }) = measure(case, rounds) else { continue };
        match options.is_empty() {
            true => println!("| {} | {ns:.0} | {:.2} M | {hits} | {state_kb} |", case.name, 1e3 / ns),
            false => println!(
                "{}",
                json!({"name": case.name, "ns_per_event": ns, "events": case.events, "hits": hits, "state_kib": state_kb})
            ),
        }
    }
}

/// What a case came to.
struct Measured {
    /// Of the best round, for an event.
    ns: f64,
    hits: u64,
    state_kb: u64,
}

/// An event and the rules that fire on it.
type Found = (JsonEvent, Vec<u32>);

fn measure(case: &Case, rounds: u32) -> Option<Measured> {
    let text = format!("{RULES}title: c\nid: c0\ncorrelation: {}\n", case.correlation);
    let mut library = load_texts([Source { file: "bench.yml", text: &text }]);
    let bytes = match library.image() {
        Ok(bytes) if library.rejections.is_empty() => bytes,
        other => {
            eprintln!("{}: {:?} {:?}", case.name, library.rejections, other.err());
            return None;
        }
    };
    let image = Image::open(&bytes).map_err(|error| eprintln!("{}: {error}", case.name)).ok()?;
    let mut measured = Measured { ns: f64::MAX, hits: 0, state_kb: 0 };
    for _ in 0..rounds {
        let one = round(case, &image);
        measured.ns = measured.ns.min(one.ns);
        measured.hits = one.hits;
        // Memory that a round before it gave back is not taken from the machine again.
        measured.state_kb = measured.state_kb.max(one.state_kb);
    }
    Some(measured)
}

fn round(case: &Case, image: &Image<'_>) -> Measured {
    let (slots, mut scratch) = (Slots::of(image), Scratch::new());
    let plan = image.plan(&LogSource { category: Some("c"), ..LogSource::default() });
    let mut ready = |number: u64| -> Found {
        let event = JsonEvent::new(&(case.make)(number), &slots);
        let mut found = Vec::new();
        plan.evaluate(&event, &mut scratch, &mut |rule| found.push(rule));
        (event, found)
    };
    // Once before memory is looked at, so that what the events take is not counted.
    drop((0..EVENTS_AT_ONCE).map(&mut ready).collect::<Vec<_>>());
    let before = resident_kb();
    let mut correlator = image.correlator(HashKey([1, 2]));
    let (mut took, mut hits, mut first) = (Duration::ZERO, 0, 0);
    while first < case.events {
        let end = first.saturating_add(EVENTS_AT_ONCE).min(case.events);
        let events: Vec<Found> = (first..end).map(&mut ready).collect();
        let start = Instant::now();
        hits += run(&mut correlator, &events, first, case.step_ns);
        took += start.elapsed();
        first = end;
    }
    let limits = correlator.limits();
    if limits != watertight_engine::CorrelationLimits::default() {
        eprintln!("{}: {limits:?}", case.name);
    }
    let ns = took.as_secs_f64() * 1e9 / case.events as f64;
    Measured { ns, hits, state_kb: resident_kb().saturating_sub(before) }
}

#[inline(never)]
fn run(correlator: &mut Correlator<'_>, events: &[Found], before: u64, step_ns: u64) -> u64 {
    let mut hits = 0;
    for (number, (event, found)) in (before.saturating_add(1)..).zip(events) {
        let moment = Moment { time_ns: number.saturating_mul(step_ns), number };
        for rule in found {
            correlator.on_hit(*rule, event, moment, &mut |_| hits += 1);
        }
        correlator.advance(moment.time_ns, &mut |_| hits += 1);
    }
    hits
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
