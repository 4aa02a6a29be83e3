//! The page's section on rollouts.

use super::Page;
use crate::bench::bars;
use watertight_fleet::sim::Percentiles;

use crate::bench::rollout::{Case, Found};

const ROLLOUT: &str = "
## What a bad content costs a fleet

By `watertight-lab bench --rollout-only`: a million simulated hosts in front of the product's own planner and gate (`docs/rollout.md` has the
model). Figures are of 95 of 100 rollouts; `with rule` is the rule of new crash buckets beside the statistic, whose bars are the statistic's
alone. Beside the content 0.01 % of the hosts crash and 0.2 % fall silent in five minutes for reasons of their own.
";

impl Page {
    pub(super) fn rollout(&mut self, found: &Found) {
        self.line(ROLLOUT);
        self.line(
            "| content | rollouts | hosts failed | with rule | hosts that had it | halted | decided after | held |",
        );
        self.line("|---|--:|--:|--:|--:|--:|--:|--:|");
        for case in found.cases.iter().filter(|case| case.failed_max.is_some()) {
            self.bad(case);
        }
        self.line("\n| content | rollouts | false halts | with rule | held | 99 % of the hosts after |");
        self.line("|---|--:|--:|--:|--:|--:|");
        for case in found.cases.iter().filter(|case| case.failed_max.is_none()) {
            self.good(case);
        }
        self.line("\nWhat the gate is nearly blind to:\n");
        self.line(
            "| content | rollouts | halted within a day | hosts failed, p50 | with rule: halted | hosts failed, p50 |",
        );
        self.line("|---|--:|--:|--:|--:|--:|");
        for Case { name, alone, with_rule, .. } in &found.blind_spots {
            let failed = |of: &Percentiles| of.p50.map_or_else(|| "-".to_owned(), |hosts| format!("{hosts:.0}"));
            self.line(&format!(
                "| {name} | {} | {} | {} | {} of {} | {} |",
                alone.runs,
                alone.halted,
                failed(&alone.failed),
                with_rule.halted,
                with_rule.runs,
                failed(&with_rule.failed)
            ));
        }
        let (good, bad) = (found.good_s, found.bad_s);
        let (good_verdict, bad_verdict) =
            (self.verdict(good <= bars::GOOD_ROLLOUT_S_MAX), self.verdict(bad <= bars::ROLLOUT_S_MAX));
        self.line(&format!(
            "\nOne simulated rollout of good content takes {good:.2} s of one processor {good_verdict} [{:.1} s], the dearest of the others \
             {bad:.2} s {bad_verdict} [{:.0} s].",
            bars::GOOD_ROLLOUT_S_MAX,
            bars::ROLLOUT_S_MAX
        ));
    }

    fn bad(&mut self, case: &Case) {
        let alone = &case.alone;
        let failed = self.at_most(&alone.failed, case.failed_max, "");
        let halted = self.verdict(alone.halted == alone.runs);
        let after = self.at_most(&alone.halt_s, case.halt_s_max, " s");
        let plain = |of: &Percentiles| of.p95.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
        self.line(&format!(
            "| {} | {} | {failed} | {} | {} | {} {halted} [all] | {after} | {} |",
            case.name,
            alone.runs,
            plain(&case.with_rule.failed),
            plain(&alone.exposed),
            alone.halted,
            alone.held
        ));
    }

    fn good(&mut self, case: &Case) {
        let alone = &case.alone;
        let halts = self.verdict(alone.false_halts == 0);
        let with_rule = self.verdict(case.with_rule.false_halts == 0);
        let full = self.at_most(&alone.full_s, case.full_s_max, " s");
        self.line(&format!(
            "| {} | {} | {} {halts} [0] | {} of {} {with_rule} [0] | {} | {full} |",
            case.name, alone.runs, alone.false_halts, case.with_rule.false_halts, case.with_rule.runs, alone.held
        ));
    }

    /// A figure of 95 of 100, with its bar where it has one.
    fn at_most(&mut self, of: &Percentiles, most: Option<f64>, unit: &str) -> String {
        let value = of.p95.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}{unit}"));
        let Some(most) = most else { return value };
        let verdict = self.verdict(of.p95.is_some_and(|value| value <= most));
        format!("{value} {verdict} [{most:.0}{unit}]")
    }
}
