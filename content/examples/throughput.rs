//! Measures rules over events: `throughput RULES EVENTS [ROUNDS]`, events as `watertight detect` reads them. Prints the time
//! per event, load time and memory. Parsing of events is not part of the measured time.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use watertight_content::rule::LogSource;
use watertight_content::sigma::{load_dir, JsonEvent, Slots};
use watertight_engine::{Image, Plan, Scratch};

/// How many events are prepared together.
const EVENTS_AT_ONCE: usize = 512;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [rules, events, rounds @ ..] = args.as_slice() else {
        eprintln!("usage: throughput RULES EVENTS [ROUNDS]");
        return;
    };
    let rounds: usize = rounds.first().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let lines = std::fs::read_to_string(events).unwrap_or_default();
    let resident_before = resident_kb();
    let start = Instant::now();
    let mut library = load_dir(Path::new(rules));
    let parsed = start.elapsed();
    let bytes = match library.image() {
        Ok(bytes) => bytes,
        Err(error) => return eprintln!("{error}"),
    };
    let built = start.elapsed();
    drop(library);
    let opening = Instant::now();
    let image = match Image::open(&bytes) {
        Ok(image) => image,
        Err(error) => return eprintln!("{error}"),
    };
    println!("image: {} KB, opened in {:?}", image.size_bytes() >> 10, opening.elapsed());
    let slots = Slots::of(&image);
    let mut plans: HashMap<LogSource, Plan> = HashMap::new();
    let sources: Vec<LogSource> = lines.lines().map(|line| source(&json(line))).collect();
    for source in &sources {
        plans.entry(source.clone()).or_insert_with(|| image.plan(&source.lend()));
    }
    println!(
        "load: parse {parsed:?}, build {:?}, plans {:?}; resident {} KB",
        built - parsed,
        start.elapsed() - built,
        resident_kb().saturating_sub(resident_before)
    );
    // Some at a time, as they come from a sensor: what was just made is in the processor's cache.
    let lines: Vec<(&str, &LogSource)> = lines.lines().zip(&sources).collect();
    let mut scratch = Scratch::new();
    let mut took = vec![(Duration::ZERO, 0_u64); rounds];
    for some in lines.chunks(EVENTS_AT_ONCE) {
        let prepared = |(line, source): &(&str, &LogSource)| {
            Some((plans.get(*source)?, JsonEvent::new(json(line).get("event")?, &slots)))
        };
        let events: Vec<(&Plan, JsonEvent)> = some.iter().filter_map(prepared).collect();
        for (took, hits) in &mut took {
            let start = Instant::now();
            for (plan, event) in &events {
                plan.evaluate(event, &mut scratch, &mut |_| *hits += 1);
            }
            *took += start.elapsed();
        }
    }
    for (round, (took, hits)) in took.into_iter().enumerate() {
        report(round, took, lines.len(), hits);
    }
}

fn report(round: usize, took: Duration, events: usize, hits: u64) {
    let per_event = took.as_secs_f64() * 1e6 / f64::from(u32::try_from(events.max(1)).unwrap_or(u32::MAX));
    println!("round {round}: {per_event:.2} us/event, {hits} hits");
}

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_default()
}

fn source(line: &serde_json::Value) -> LogSource {
    let part =
        |name: &str| line.pointer(&format!("/logsource/{name}")).and_then(|part| part.as_str()).map(str::to_owned);
    LogSource { category: part("category"), product: part("product"), service: part("service") }
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
