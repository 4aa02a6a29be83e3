//! Which rules fire on which events, in each engine; every difference must be in `differences.csv`, with the reason.
//!
//! A line there: engine, rule, `ours` (only we fire), `theirs` (only they do) or `not-loaded`, and the reason's name, which
//! `README.md` explains against the specification. A difference that is not listed, and a line that nothing shows any more, is
//! an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context as _, Result};

use crate::engines::{compile, Engine, Event, NAMES};
use crate::events;

/// The explained differences.
const EXPLAINED: &str = include_str!("../differences.csv");
/// Events of each operating system.
const EVENTS: usize = 100_000;
/// sigma-rust tries every rule on every event.
const SLOW_EVENTS: usize = 10_000;

/// Who fires alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Ours,
    Theirs,
}

/// Compares over the regression cases and so many events of each system.
pub fn run(corpora: &Path) -> Result<ExitCode> {
    let rules = env::temp_dir().join(format!("watertight-rivals-rules-{}", std::process::id()));
    crate::bench::gather_all(corpora, &rules)?;
    let mut all = events::regression(corpora)?;
    let recorded = all.len();
    all.extend(events::linux(corpora, EVENTS)?);
    all.extend(events::windows(corpora, EVENTS)?);
    let image = rules.with_extension("image");
    compile(&rules, 1, &image)?;
    let (ours, count) = Engine::load(NAMES[0], &image)?;
    fs::remove_file(&image)?;
    println!("{} rules, {} events, {recorded} of them recorded", count, all.len());
    let explained = explained()?;
    let mut unexplained = 0;
    let mut seen = BTreeSet::new();
    for name in &NAMES[1..] {
        let (theirs, count) = Engine::load(name, &rules)?;
        let some: Vec<&[Event]> = if *name == "sigma-rust" {
            vec![&all[..recorded], &all[recorded..recorded + SLOW_EVENTS], &all[recorded + EVENTS..][..SLOW_EVENTS]]
        } else {
            vec![&all]
        };
        let (mut equal, mut differing, mut compared) = (0_u64, BTreeMap::new(), 0);
        for events in some.into_iter().flat_map(|events| events.chunks(2048)) {
            compared += events.len();
            let (left, right) = (hits(&ours, events), hits(&theirs, events));
            equal += left.intersection(&right).count() as u64;
            for (side, alone) in [(Side::Ours, left.difference(&right)), (Side::Theirs, right.difference(&left))] {
                for (at, rule) in alone {
                    let entry =
                        differing.entry((rule.clone(), side)).or_insert((0_u64, events[*at].fields.to_string()));
                    entry.0 += 1;
                }
            }
        }
        println!("{name}: {count} rules, {compared} events, {equal} hits equal");
        for ((rule, side), (times, example)) in differing {
            let key = ((*name).to_owned(), rule.clone(), side);
            match explained.get(&key) {
                Some(reason) => println!("  {side:?} alone, {times} times: {rule}: {reason}"),
                None => {
                    unexplained += 1;
                    println!("  {side:?} alone, {times} times: {rule}: UNEXPLAINED, for example on {example}");
                }
            }
            seen.insert(key);
        }
    }
    fs::remove_dir_all(&rules)?;
    let stale: Vec<_> = explained.keys().filter(|key| !seen.contains(*key)).collect();
    for (engine, rule, side) in &stale {
        println!("differences.csv explains {engine}, {rule}, {side:?}, which did not happen: take the line out");
    }
    println!("{unexplained} differences without an explanation, {} explanations without a difference", stale.len());
    Ok(if unexplained == 0 && stale.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn hits(engine: &Engine, events: &[Event]) -> BTreeSet<(usize, String)> {
    let mut hits = BTreeSet::new();
    engine.evaluate(&mut engine.ready(events), &mut |at, rule| {
        hits.insert((at, rule.to_owned()));
    });
    hits
}

fn explained() -> Result<BTreeMap<(String, String, Side), String>> {
    let lines = EXPLAINED.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(at, line)| {
            let wrong = || format!("differences.csv:{}: expected engine,rule,ours|theirs,reason", at + 1);
            let parts: Vec<&str> = line.split(',').collect();
            let [engine, rule, side, reason] = parts.as_slice() else { anyhow::bail!(wrong()) };
            let side = match *side {
                "ours" => Side::Ours,
                "theirs" => Side::Theirs,
                _ => anyhow::bail!(wrong()),
            };
            Ok((((*engine).to_owned(), (*rule).to_owned(), side), (*reason).to_owned()))
        })
        .collect::<Result<_>>()
        .context("reading the explained differences")
}
