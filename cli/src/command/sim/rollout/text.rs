//! The figures for people.

use std::io::{self, Write};

use watertight_fleet::sim::{Case, Kind, Summary, Way, ASSUMPTIONS};

use super::compare::{Blind, Compared};

/// 04:09 UTC, in seconds of the day.
pub(super) const OUTAGE_BEGINS_S: u64 = (4 * 60 + 9) * 60;

/// One way: the statistic alone, and beside it with the rule of new buckets.
pub(super) fn write_one(
    case: &Case,
    way: Way,
    [alone, with_rule]: [&Summary; 2],
    blind: &[Blind],
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "{} rollouts to {} hosts, {}: {}", alone.runs, case.hosts, way.name(), content(case))?;
    writeln!(out, "{:<34}{:>18}{:>18}", "", "statistic alone", "with bucket rule")?;
    let mut row =
        |name: &str, of: &dyn Fn(&Summary) -> String| writeln!(out, "{name:<34}{:>18}{:>18}", of(alone), of(with_rule));
    row("hosts failed, p50", &|summary| count(summary.failed.p50))?;
    row("hosts failed, p95", &|summary| count(summary.failed.p95))?;
    row("hosts failed, most", &|summary| count(summary.failed.max))?;
    row("hosts that had it, p95", &|summary| count(summary.exposed.p95))?;
    row("rollouts halted", &|summary| summary.halted.to_string())?;
    row("of these, of good content", &|summary| summary.false_halts.to_string())?;
    row("halted after, p95", &|summary| time(summary.halt_s.p95))?;
    row("rollouts held", &|summary| summary.held.to_string())?;
    row("99 % of the hosts after, p95", &|summary| time(summary.full_s.p95))?;
    write_blind(blind, out)?;
    out.flush()
}

pub(super) fn write_compared(compared: &Compared, out: &mut dyn Write) -> io::Result<()> {
    let runs = compared.ways.first().map_or(0, |row| row.summary.runs);
    writeln!(out, "{runs} rollouts each to {} hosts: {}", compared.case.hosts, content(&compared.case))?;
    writeln!(
        out,
        "{:<44}{:>12}{:>12}{:>14}{:>12}{:>12}{:>14}",
        "", "failed p95", "with rule", "had it p95", "halted", "after p95", "good to 99 %"
    )?;
    for row in &compared.ways {
        writeln!(
            out,
            "{:<44}{:>12}{:>12}{:>14}{:>12}{:>12}{:>14}",
            row.name,
            count(row.summary.failed.p95),
            row.with_bucket_rule.as_ref().map_or_else(|| "-".to_owned(), |summary| count(summary.failed.p95)),
            count(row.summary.exposed.p95),
            row.summary.halted,
            time(row.summary.halt_s.p95),
            time(row.good.full_s.p95),
        )?;
    }
    writeln!(out, "with rule: a crash of ours that no host had before halts on two hosts; what a dead host can't report, it does not help")?;
    if let Some(begins_s) = compared.begins_s {
        writeln!(
            out,
            "\nThe outage as it was began at {} and was stopped by hand at {}. The first of these rollouts:",
            clock(begins_s),
            clock(begins_s + 78 * 60)
        )?;
        for decision in &compared.decisions {
            writeln!(out, "  {}  {}", clock(begins_s + decision.at_ms / 1_000), decision.why)?;
        }
    }
    write_blind(&compared.blind_spots, out)?;
    out.flush()
}

fn write_blind(blind: &[Blind], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nBlind spots of the gate (statistic alone, standard lane):")?;
    for Blind { name, summary } in blind {
        let Summary { runs, halted, .. } = summary;
        writeln!(
            out,
            "  {name}: {halted} of {runs} halted within a day, {} hosts failed, p50",
            count(summary.failed.p50)
        )?;
    }
    writeln!(out, "Taken for granted: {ASSUMPTIONS}.")
}

fn content(case: &Case) -> String {
    let percent = case.fail_share * 100.0;
    match case.kind {
        Kind::Good => "good content".to_owned(),
        Kind::Loud if case.latency_s == 0.0 => format!("content that kills {percent} % of hosts at once"),
        Kind::Silent if case.latency_s == 0.0 => {
            format!("content that kills {percent} % of hosts at once, without a word")
        }
        Kind::Loud => format!("content that kills {percent} % of hosts, after {} s on average", case.latency_s),
        Kind::Silent => {
            format!("content that kills {percent} % of hosts, after {} s on average, without a word", case.latency_s)
        }
    }
}

pub(super) fn count(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"))
}

fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 120.0 => format!("{seconds:.0} s"),
        Some(seconds) if seconds < 7_200.0 => format!("{:.1} min", seconds / 60.0),
        Some(seconds) => format!("{:.0} h", seconds / 3_600.0),
    }
}

fn clock(second: u64) -> String {
    format!("{:02}:{:02}:{:02} UTC", second / 3_600 % 24, second / 60 % 60, second % 60)
}
