//! The page of benchmarks: findings as tables, each figure beside its bar.

mod content;
mod detection;
mod fleet;
mod rollout;
mod triage;

use super::bars;
use super::engine;
use super::guest;
use super::machine;
use super::mutants;
use super::rivals;
use crate::kernel::Series;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use watertight_lab_guest::{Finding, Measurement, ReaderCost, Round, Sensor, Workload};

/// Everything that was measured.
pub struct Page {
    text: String,
    met: u32,
    missed: u32,
}

/// One kernel's guests, by sensor.
struct KernelFindings {
    package: String,
    by_sensor: Vec<guest::Found>,
}

const HEAD: &str = "# Benchmarks

Written by `make bench`; do not edit. A figure with `ok` meets its bar, `MISSED` does not; a bar is in brackets. The run ends
with an error when a bar is missed.

";

const METHOD: &str = "## How guests are measured

A stock Debian kernel runs in emulation with one virtual processor and `-icount shift=0,sleep=off`: virtual time is the count of
instructions, a nanosecond each, and idle time passes at once. Processor time by process is then repeatable to about 0.4 %, which
is allowed on every bar, and does not depend on the machine. `-cpu max,-erms,-fsrm`, because else each byte of a `rep` string
counts as an instruction and everything looks cheaper than it is. What runs in interrupts, such as the receiving half of a
connection over loopback, is nobody's processor time and not in the figures.

- The work is done by `lab/bench/driver.c`, a static process without libc that has nothing to do with BPF. Each figure is its own
  processor time and that of the children it waited for: what a hook does in the caller's place is in it, what the sensor's
  processes do is not. That is told apart, in a table of its own, and counted until they have been at rest for half a second; what
  they use in such a half second without work before it is taken off, and told as a row.
- In each guest every workload runs without the sensor, with it, and without it again. A ratio is to the mean of the two; the
  column `spread` is how far these two were apart at most. auditd is compared with the run before it alone, because what it turns
  on in the kernel stays on for the rest of the boot.
- Control groups are in use, as on every machine with systemd, and the work is done in `user.slice`. On a machine without any, the
  first group makes each fork some 2 % dearer, whoever makes it; ours are made for our workers.
- Beside the work 200 processes sleep. In a guest just booted the kernel's reserve of per-processor memory still has room for the
  counters of each new process, which is cheap; any BPF program takes some of it, and a machine in use has none left anyway.
- With any BPF sensor at work, ours or bpftrace, /bin/true takes 6 % less in this emulation. That is a property of the trial, not
  a gain: read its row as no cost.
- Instructions are not time: a cache miss and a lock cost what any instruction does. Ratios of kernel work are close to real
  ones, absolute times are not.
- `observing` is `watertight run -o json` with every hook and every shipped rule, its output written to a file. `enforcing` is the
  same with a policy of three dozen rules. auditd has an exec rule and six file watches, one on the folder that the
  write row opens in; execsnoop is bpftrace's own script, which watches exec only.

";

impl Page {
    /// Makes the page from the files that the measurements left.
    pub fn from_results(folder: &Path) -> Result<Self> {
        let mut page = Self { text: HEAD.to_owned(), met: 0, missed: 0 };
        page.text.push_str(METHOD);
        for series in Series::ALL {
            let mut kernel = KernelFindings { package: String::new(), by_sensor: Vec::new() };
            for sensor in Sensor::ALL {
                let file = folder.join(format!("{}-{}.json", series.name(), sensor.name()));
                let Some(found) = read::<guest::Found>(&file)? else { continue };
                kernel.package.clone_from(&found.kernel);
                kernel.by_sensor.push(found);
            }
            if !kernel.by_sensor.is_empty() {
                page.kernel(series, &kernel);
            }
        }
        if let Some(found) = read::<machine::Found>(&folder.join("machine.json"))? {
            page.machine(&found);
        }
        if let Some(found) = read::<super::content::Found>(&folder.join("content.json"))? {
            page.content(&found);
        }
        if let Some(found) = read::<super::rollout::Found>(&folder.join("rollout.json"))? {
            page.rollout(&found);
        }
        if let Some(found) = read::<super::fleet::Found>(&folder.join("fleet.json"))? {
            page.fleet(&found);
        }
        if let Some(scenes) = read::<Vec<rivals::Scene>>(&folder.join("rivals.json"))? {
            page.rivals(&scenes);
        }
        if let Some(found) = read::<mutants::Found>(&folder.join("mutants.json"))? {
            page.mutants(&found);
        }
        if let Some(found) = read::<engine::Found>(&folder.join("engine.json"))? {
            page.engine(&found);
        }
        if let Some(found) = read::<super::triage::Found>(&folder.join("triage.json"))? {
            page.triage(&found);
        }
        Ok(page)
    }

    /// The page in Markdown.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Figures that meet their bar.
    pub fn met(&self) -> u32 {
        self.met
    }

    /// Figures that do not.
    pub fn missed(&self) -> u32 {
        self.missed
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn kernel(&mut self, series: Series, kernel: &KernelFindings) {
        self.line(&format!("## Linux {} (`{}`)\n", series.name(), kernel.package));
        for found in &kernel.by_sensor {
            if let Some(package) = &found.package {
                self.line(&format!("- {}: Debian's {package}", found.sensor.name()));
            }
            for finding in &found.findings {
                if let Finding::Absent(sensor, why) = finding {
                    self.line(&format!("- {}: not measured, {why}", sensor.name()));
                }
            }
        }
        self.line(&format!(
            "\nWhat the work costs, by `watertight-lab bench --kernel {} --guests-only`:\n",
            series.name()
        ));
        self.ratios(kernel);
        self.line("\nWhat the sensor's own processes use beside it, instructions for one piece of work:\n");
        self.own(kernel);
        self.line("\nEvents of ours for one piece of work, and what an event costs our processes:\n");
        self.events(kernel);
    }

    fn ratios(&mut self, kernel: &KernelFindings) {
        let names: Vec<&str> = kernel.measured().map(|found| found.sensor.name()).collect();
        self.line(&format!("| work | no sensor, instructions | spread | {} |", names.join(" | ")));
        self.line(&format!("|---|--:|--:|{}", "--:|".repeat(names.len())));
        for workload in Workload::ALL {
            let mut row = format!("| {} ", workload.name());
            let bases: Vec<f64> = kernel.measured().filter_map(|found| base(found, workload)).collect();
            let mean = bases.iter().sum::<f64>() / bases.len().max(1) as f64;
            let spreads = kernel.measured().filter(|found| found.sensor != Sensor::Auditd);
            let spread = spreads.filter_map(|found| spread(found, workload)).fold(0.0, f64::max);
            let _ = write!(row, "| {mean:.0} | {:.1} % ", spread * 100.0);
            let auditd = kernel.of(Sensor::Auditd).and_then(|found| ratio(found, workload));
            for found in kernel.measured() {
                let Some(ratio) = ratio(found, workload) else {
                    row.push_str("| - ");
                    continue;
                };
                let _ = write!(row, "| {}", self.judged_ratio(found.sensor, workload, ratio, auditd));
            }
            self.line(&format!("{row}|"));
        }
    }

    /// A ratio with its bars: the fixed one, and auditd's cost where that is one.
    fn judged_ratio(&mut self, sensor: Sensor, workload: Workload, ratio: f64, auditd: Option<f64>) -> String {
        let ours = matches!(sensor, Sensor::Observe | Sensor::Enforce);
        let mut text = format!("{ratio:.3}");
        if let Some(most) = bars::ratio_max(sensor, workload) {
            let _ = write!(text, " {} [{most:.2}]", self.verdict(bars::is_within(ratio, most)));
        }
        if let Some(auditd) = auditd.filter(|auditd| ours && *auditd > 1.0 + bars::NOISE) {
            let _ = write!(text, " {} [auditd]", self.verdict(bars::is_within(ratio, auditd)));
        }
        text.push(' ');
        text
    }

    fn own(&mut self, kernel: &KernelFindings) {
        let names: Vec<&str> = kernel.measured().map(|found| found.sensor.name()).collect();
        self.line(&format!("| work | {} |", names.join(" | ")));
        self.line(&format!("|---|{}", "--:|".repeat(names.len())));
        for workload in Workload::ALL {
            let mut row = format!("| {} ", workload.name());
            for found in kernel.measured() {
                match with(found, workload) {
                    Some(with) => {
                        let _ = write!(row, "| {:.0} ", each(with.sensor_ns, with.operations));
                    }
                    None => row.push_str("| - "),
                }
            }
            self.line(&format!("{row}|"));
        }
        let mut row = "| nothing, for half a second ".to_owned();
        for found in kernel.measured() {
            let rests: Vec<u64> = Workload::ALL.iter().filter_map(|work| Some(with(found, *work)?.rest_ns)).collect();
            let _ = write!(row, "| {:.0} ", each(rests.iter().sum(), rests.len() as u64));
        }
        self.line(&format!("{row}|"));
    }

    fn events(&mut self, kernel: &KernelFindings) {
        self.line("| work | | events | lost | reader, tree, rules, JSON: instructions for an event |");
        self.line("|---|---|--:|--:|--:|");
        let ours = kernel.measured().filter(|found| matches!(found.sensor, Sensor::Observe | Sensor::Enforce));
        for found in ours {
            for workload in Workload::ALL {
                let Some(with) = with(found, workload) else { continue };
                let (Some(events), Some(lost)) = (with.events, with.lost) else { continue };
                let cost = each(with.sensor_ns, events);
                // Where there are next to no events, what the processes use is the passing of time.
                let cost = if each(events, with.operations) < 0.5 {
                    "-".to_owned()
                } else {
                    let most = bars::DETECTOR_INSTRUCTIONS_MAX;
                    format!("{cost:.0} {} [{most:.0}]", self.verdict(cost <= most))
                };
                let lost = format!("{lost} {}", self.verdict(lost == 0));
                let each = each(events, with.operations);
                self.line(&format!("| {} | {} | {each:.2} | {lost} | {cost} |", workload.name(), found.sensor.name()));
            }
        }
        let readers: Vec<ReaderCost> = kernel.readers().collect();
        if readers.is_empty() {
            return;
        }
        self.line("\nThe reader alone, on rings that were filled with nobody reading:\n");
        self.line("| filled by | records | instructions for a record |");
        self.line("|---|--:|--:|");
        for reader in readers {
            let cost = each(reader.cpu_ns, reader.records);
            let most = bars::READER_INSTRUCTIONS_MAX;
            let verdict = self.verdict(cost <= most && reader.records > 0);
            self.line(&format!(
                "| {} | {} | {cost:.0} {verdict} [{most:.0}] |",
                reader.workload.name(),
                reader.records
            ));
        }
    }

    fn machine(&mut self, found: &machine::Found) {
        self.line("\n## On a real machine\n");
        self.line(&format!(
            "{}. Process events come from {} there. By `watertight-lab bench --machine-only`, as root:\n",
            found.machine, found.source
        ));
        self.line("| figure | | bar |");
        self.line("|---|--:|---|");
        let idle: f64 = found.idle_mib.iter().map(|(_, mib)| mib).sum();
        let parts: Vec<String> = found.idle_mib.iter().map(|(name, mib)| format!("{name} {mib:.1}")).collect();
        let verdict = self.verdict(idle <= bars::IDLE_MIB_MAX);
        self.line(&format!(
            "| resident memory of all processes, idle ({}) | {idle:.1} MiB | {verdict} [{:.0} MiB] |",
            parts.join(", "),
            bars::IDLE_MIB_MAX
        ));
        for (count, mib) in found.memory.iter().skip(1) {
            let verdict = self.verdict(*mib <= bars::BUSY_MIB_MAX);
            self.line(&format!(
                "| the same after {count} short processes | {mib:.1} MiB | {verdict} [{:.0} MiB] |",
                bars::BUSY_MIB_MAX
            ));
        }
        if let (Some(middle), Some(last)) = (found.memory.get(found.memory.len() / 2), found.memory.last()) {
            let growth = last.1 - middle.1;
            let verdict = self.verdict(growth <= bars::GROWTH_MIB_MAX);
            self.line(&format!(
                "| growth over the second half of them | {growth:.1} MiB | {verdict} [flat: {:.0} MiB] |",
                bars::GROWTH_MIB_MAX
            ));
        }
        let verdict = self.verdict(found.lost == 0);
        self.line(&format!("| events lost meanwhile, of {} | {} | {verdict} [0] |", found.events, found.lost));
        let rate = |events: u64, seconds: f64| if seconds > 0.0 { events as f64 / seconds } else { 0.0 };
        self.line(&format!(
            "| events to JSON with {} rules, a second of one processor | {:.0} | |",
            found.rules,
            rate(found.events, found.detector_s)
        ));
        let (events, seconds) = found.detect;
        self.line(&format!(
            "| `watertight detect`, events a second of one processor | {:.0} | |",
            rate(events, seconds)
        ));
    }

    fn mutants(&mut self, found: &mutants::Found) {
        self.line("\n## Hostile packs\n");
        self.line(&format!(
            "{} mutants of seed {:#x} in {} s, by `watertight-lab bench --mutants-only`: each is opened, its canaries run, and what is taken \
             evaluates events as on a host.\n",
            found.mutants, found.seed, found.seconds
        ));
        self.line("| refused by name | fail their canaries | taken | taken, then fail | panics |");
        self.line("|--:|--:|--:|--:|--:|");
        let (failed, panics) = (found.accepted_then_failed, found.panics);
        let is_tried = found.refused > 0 && found.fail_canaries > 0 && found.accepted > 0;
        let (of_failed, of_panics) = (self.verdict(is_tried && failed == 0), self.verdict(is_tried && panics == 0));
        self.line(&format!(
            "| {} | {} | {} | {failed} {of_failed} [0] | {panics} {of_panics} [0] |",
            found.refused, found.fail_canaries, found.accepted
        ));
    }

    fn verdict(&mut self, is_met: bool) -> &'static str {
        if is_met {
            self.met = self.met.saturating_add(1);
            "ok"
        } else {
            self.missed = self.missed.saturating_add(1);
            "**MISSED**"
        }
    }
}

impl KernelFindings {
    /// The sensors that could be measured.
    fn measured(&self) -> impl Iterator<Item = &guest::Found> {
        self.by_sensor.iter().filter(|found| measurements(found).next().is_some())
    }

    fn of(&self, sensor: Sensor) -> Option<&guest::Found> {
        self.measured().find(|found| found.sensor == sensor)
    }

    fn readers(&self) -> impl Iterator<Item = ReaderCost> + '_ {
        self.by_sensor.iter().flat_map(|found| &found.findings).filter_map(|finding| match finding {
            Finding::Reader(cost) => Some(cost.clone()),
            _ => None,
        })
    }
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> Result<Option<T>> {
    if !file.exists() {
        return Ok(None);
    }
    let text = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_slice(&text)
        .map(Some)
        .with_context(|| format!("{} is of another version: remove it", file.display()))
}

fn measurements(found: &guest::Found) -> impl Iterator<Item = &Measurement> {
    found.findings.iter().filter_map(|finding| match finding {
        Finding::Measured(measurement) => Some(measurement),
        _ => None,
    })
}

fn of_round(found: &guest::Found, round: Round, workload: Workload) -> Option<&Measurement> {
    measurements(found).find(|one| one.round == round && one.workload == workload)
}

fn with(found: &guest::Found, workload: Workload) -> Option<&Measurement> {
    of_round(found, Round::With, workload)
}

fn each(total: u64, count: u64) -> f64 {
    total as f64 / count.max(1) as f64
}

fn cost(found: &guest::Found, round: Round, workload: Workload) -> Option<f64> {
    of_round(found, round, workload).map(|one| each(one.cpu_ns, one.operations))
}

/// What the work costs without the sensor.
fn base(found: &guest::Found, workload: Workload) -> Option<f64> {
    let before = cost(found, Round::Before, workload)?;
    if found.sensor == Sensor::Auditd {
        return Some(before);
    }
    Some((before + cost(found, Round::After, workload)?) / 2.0)
}

/// How far the two runs without the sensor are apart.
fn spread(found: &guest::Found, workload: Workload) -> Option<f64> {
    let (before, after) = (cost(found, Round::Before, workload)?, cost(found, Round::After, workload)?);
    Some((before - after).abs() / before.min(after))
}

fn ratio(found: &guest::Found, workload: Workload) -> Option<f64> {
    Some(cost(found, Round::With, workload)? / base(found, workload)?)
}
