//! The detection engine's part of the page: beside others, and by itself.

use super::super::{bars, engine, rivals};
use super::Page;
use std::fmt::Write as _;

const RIVALS: &str = "
## The detection engine beside others

By `WATERTIGHT_CORPORA=DIR make bench ARGS=--rivals-only`: the public Sigma rules over the same events in each engine, on the machine
above. The engines take turns, each in a process of its own; the median of five counts. Parsing of events is in nobody's time. What
ours loads is the compiled image, read from its file and checked whole. The Windows events of `all rules` are attacks, every one, and fire
more than one rule each; of the Linux events one in three is what an attack runs. `content/rivals` has the rest of the method, and `compare` there
holds the hits of all three equal.
";

const ENGINE: &str = "
## The detection engine by itself

In the same run. Hostile events have a command line of 1 MB and 10,000 variables of environment; the median of twenty counts, and `cut`
says of how many values only a part was read, which every run counts and tells. Correlations are given what rules found.
";

impl Page {
    pub(super) fn rivals(&mut self, scenes: &[rivals::Scene]) {
        self.line(RIVALS);
        self.line("| rules | engine | rules | us an event | of ours | hits | of events | ms to load | resident, MiB |");
        self.line("|---|---|--:|--:|--:|--:|--:|--:|--:|");
        let mut before = None;
        for rivals::Scene { scene, engines } in scenes {
            let bar = bars::DETECTION.iter().find(|(name, ..)| name == scene);
            let Some((ours, others)) = engines.split_first() else { continue };
            for one in engines {
                let times = one.us_per_event / ours.us_per_event.max(f64::MIN_POSITIVE);
                let (mut us, mut load) = (format!("{:.2}", one.us_per_event), format!("{:.1}", one.load_ms));
                let (mut ratio, mut mib) = (format!("{times:.1}x"), format!("{:.1}", one.rules_kib as f64 / 1024.0));
                if let Some((_, us_max, times_min, kib_max, load_ms_max)) = bar {
                    if one.engine == ours.engine {
                        let _ = write!(us, " {} [{us_max}]", self.verdict(one.us_per_event <= *us_max));
                        let _ = write!(load, " {} [{load_ms_max:.0}]", self.verdict(one.load_ms <= *load_ms_max));
                        let _ = write!(mib, " {} [{}]", self.verdict(one.rules_kib <= *kib_max), kib_max >> 10);
                    } else if others.first().is_some_and(|first| first.engine == one.engine) {
                        let _ = write!(ratio, " {} [{times_min:.0}x]", self.verdict(times >= *times_min));
                    }
                } else if let Some(fewer) = before {
                    // The same events with ten times the rules of the scene before.
                    let grown = one.us_per_event / f64::max(fewer, f64::MIN_POSITIVE);
                    let (verdict, most) = (self.verdict(grown <= bars::TENFOLD_MAX), bars::TENFOLD_MAX);
                    ratio = format!("{grown:.1}x of the row with a tenth {verdict} [{most:.0}x]");
                }
                self.line(&format!(
                    "| {scene} | {} | {} | {us} | {ratio} | {} | {} | {load} | {mib} |",
                    one.engine, one.rules, one.hits, one.events
                ));
            }
            before = Some(ours.us_per_event);
        }
    }

    pub(super) fn engine(&mut self, found: &engine::Found) {
        self.line(ENGINE);
        self.line("| figure | | bar |");
        self.line("|---|--:|---|");
        for event in &found.hostile {
            let is_met = event.us <= bars::HOSTILE_EVENT_US_MAX || event.cut > 0;
            let (verdict, most) = (self.verdict(is_met), bars::HOSTILE_EVENT_US_MAX);
            self.line(&format!(
                "| an event of 1 MB: {} | {:.0} us, {} cut | {verdict} [{most:.0} us, or cut] |",
                event.name, event.us, event.cut
            ));
        }
        for one in &found.correlations {
            let rate = 1e9 / one.ns_per_event.max(f64::MIN_POSITIVE);
            let bar = if one.name.starts_with("sequence") {
                let verdict = self.verdict(one.ns_per_event <= bars::SEQUENCE_NS_MAX);
                format!("{verdict} [{:.0} ns]", bars::SEQUENCE_NS_MAX)
            } else {
                let verdict = self.verdict(rate >= bars::CORRELATED_PER_S_MIN);
                format!("{verdict} [{:.0} M events/s]", bars::CORRELATED_PER_S_MIN / 1e6)
            };
            self.line(&format!("| {} | {:.0} ns, {:.2} M events/s | {bar} |", one.name, one.ns_per_event, rate / 1e6));
            if one.name.contains("100,000 groups") {
                let verdict = self.verdict(one.state_kib <= bars::CORRELATION_KIB_MAX);
                let (mib, most) = (one.state_kib as f64 / 1024.0, bars::CORRELATION_KIB_MAX >> 10);
                self.line(&format!("| its state, resident | {mib:.1} MiB | {verdict} [{most} MiB] |"));
            }
        }
    }
}
