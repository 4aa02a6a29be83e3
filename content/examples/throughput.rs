//! Measures rules over events: `throughput RULES EVENTS [ROUNDS]`, events as `watertight detect` reads them. Prints the time
//! per event, load time and memory. Parsing of events is not part of the measured time.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use watertight_content::sigma::{load_dir, JsonEvent, Slots};
use watertight_content::rule::LogSource;
use watertight_engine::{Image, Plan, Scratch};

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
    let library = load_dir(Path::new(rules));
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
    let events: Vec<(&Plan, JsonEvent)> = lines
        .lines()
        .zip(&sources)
        .filter_map(|(line, source)| Some((plans.get(source)?, JsonEvent::new(json(line).get("event")?, &slots))))
        .collect();
    let eligible: usize = events.iter().map(|(plan, _)| plan.len()).sum();
    println!("{} events, {} rules each", events.len(), eligible / events.len().max(1));
    let mut scratch = Scratch::new();
    for round in 0..rounds {
        let mut hits = 0_u64;
        let start = Instant::now();
        for (plan, event) in &events {
            plan.evaluate(event, &mut scratch, &mut |_| hits += 1);
        }
        report("indexed", round, start, events.len(), hits);
    }
}

fn report(what: &str, round: usize, start: Instant, events: usize, hits: u64) {
    let per_event = start.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(events.max(1)).unwrap_or(u32::MAX));
    println!("{what} round {round}: {per_event:.2} us/event, {hits} hits");
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
