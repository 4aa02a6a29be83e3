//! Measures correlations: `correlate [ROUNDS]`. Detections are made beforehand, so that what is measured is the correlator alone.
//! Prints nanoseconds an event and what the state took; `perf stat` around it counts instructions where the kernel lets it.

use std::time::Instant;

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
    let rounds: u32 = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    println!("| correlation | ns/event | events/s | hits | state KB resident |");
    println!("|---|---|---|---|---|");
    for case in &CASES {
        measure(case, rounds);
    }
}

fn measure(case: &Case, rounds: u32) {
    let text = format!("{RULES}title: c\nid: c0\ncorrelation: {}\n", case.correlation);
    let mut library = load_texts([Source { file: "bench.yml", text: &text }]);
    let bytes = match library.image() {
        Ok(bytes) if library.rejections.is_empty() => bytes,
        other => return eprintln!("{}: {:?} {:?}", case.name, library.rejections, other.err()),
    };
    let image = match Image::open(&bytes) {
        Ok(image) => image,
        Err(error) => return eprintln!("{error}"),
    };
    let (slots, mut scratch) = (Slots::of(&image), Scratch::new());
    let plan = image.plan(&LogSource { category: Some("c"), ..LogSource::default() });
    // The rules that fire on each event, found beforehand.
    let events: Vec<(JsonEvent, Vec<u32>)> = (0..case.events)
        .map(|number| {
            let event = JsonEvent::new(&(case.make)(number), &slots);
            let mut found = Vec::new();
            plan.evaluate(&event, &mut scratch, &mut |rule| found.push(rule));
            (event, found)
        })
        .collect();
    let mut best = f64::MAX;
    let (mut hits, mut resident) = (0_u64, 0);
    for _ in 0..rounds {
        let before = resident_kb();
        let mut correlator = image.correlator(HashKey([1, 2]));
        let start = Instant::now();
        hits = run(&mut correlator, &events, case.step_ns);
        let took = start.elapsed().as_secs_f64() * 1e9 / events.len() as f64;
        best = best.min(took);
        resident = resident.max(resident_kb().saturating_sub(before));
        let limits = correlator.limits();
        if limits != watertight_engine::CorrelationLimits::default() {
            eprintln!("{}: {limits:?}", case.name);
        }
    }
    println!("| {} | {best:.0} | {:.2} M | {hits} | {resident} |", case.name, 1e3 / best);
}

fn run(correlator: &mut Correlator<'_>, events: &[(JsonEvent, Vec<u32>)], step_ns: u64) -> u64 {
    let mut hits = 0;
    for (number, (event, found)) in (1_u64..).zip(events) {
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
