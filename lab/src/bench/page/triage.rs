//! The page's section on crash triage.

use super::Page;
use crate::bench::bars;
use crate::bench::triage::{Compared, Found, Timed};

const TRIAGE: &str = "
## Crash triage

By `WATERTIGHT_CORPORA=DIR make bench ARGS=--triage-only`, on the machine above: `watertight triage -o json`, from its start to its end, with the
worker that it starts; the median of seven. Memory is what the command and its worker had resident at most, summed. The 1 GB of the
bitmap dump are holes in the file, behind the pages of the re-enacted crash. Public files are the ones of the folder that the variable names.
";

const OTHERS: &str = "
What others find in the same files, with the same symbol files and without a network; the median of five, the start of the program in it. `guessed`
are frames that rest on a word of the stack alone. ntoseye's words are those of its `!analyze -v`, `lm` and `u`: asked by `.exr` with the stop's
third parameter it shows the exception that led to the stop.
";

const BUCKETS: &str = "
How well buckets fit bugs, by `bucket_quality` of `triage/examples`: B-cubed precision and recall, and the chance that a pair of one bug scores above
a pair of two. Titles stand for bugs where there are titles. `likeness` is the score by which merges are suggested.
";

impl Page {
    pub(super) fn triage(&mut self, found: &Found) {
        self.line(TRIAGE);
        self.line("| figure | | bar |");
        self.line("|---|--:|---|");
        for small in &found.small {
            let (ms, most) = (small.s * 1000.0, bars::SMALL_DUMP_MS_MAX);
            let verdict = self.verdict(ms <= most && small.crashes == 1);
            self.line(&format!("| {}, {} bytes | {ms:.1} ms | {verdict} [{most:.0} ms] |", small.name, small.bytes));
            let (mib, most) = (small.peak_mib.unwrap_or(f64::INFINITY), bars::SMALL_DUMP_MIB_MAX);
            let verdict = self.verdict(mib <= most);
            self.line(&format!("| its memory | {mib:.1} MiB | {verdict} [{most:.0} MiB] |"));
        }
        let (bitmap, most) = (&found.bitmap, bars::BITMAP_DUMP_S_MAX);
        let verdict = self.verdict(bitmap.s <= most && bitmap.crashes == 1);
        self.line(&format!(
            "| {} (longest {:.2} s) | {:.2} s | {verdict} [{most:.0} s] |",
            bitmap.name, bitmap.s_max, bitmap.s
        ));
        for core in &found.cores {
            let most = bars::CORE_S_MAX;
            let verdict = self.verdict(core.s_max <= most && core.crashes == 1);
            self.line(&format!("| {}, {} bytes | {:.2} s | {verdict} [{most:.0} s] |", core.name, core.bytes, core.s));
        }
        if let [long, dense @ ..] = found.logs.as_slice() {
            let (rate, least) = (mb_per_s(long), bars::CRASH_TEXT_MB_PER_S_MIN);
            let verdict = self.verdict(rate >= least && long.crashes > 0);
            let row = format!("| {}, {:.1} MB, {} crashes |", long.name, long.bytes as f64 / 1e6, long.crashes);
            self.line(&format!("{row} {rate:.0} MB/s | {verdict} [{least:.0} MB/s] |"));
            // Of one file 1,000 reports are told at most: what each costs is the figure here, and no rate.
            for log in dense {
                let us = log.s * 1e6 / log.crashes.max(1) as f64;
                let row = format!("| {}, {:.1} MB, {} crashes |", log.name, log.bytes as f64 / 1e6, log.crashes);
                self.line(&format!("{row} {us:.0} us a crash, {:.0} MB/s | |", mb_per_s(log)));
            }
        }
        for Timed { name, bytes, crashes, s, .. } in &found.oopses {
            let most = bars::OOPSES_S_MAX;
            let verdict = self.verdict(*s <= most && *crashes > 0);
            let row = format!("| 1,000 {name}, {:.1} MB, {crashes} crashes, on one core |", *bytes as f64 / 1e6);
            self.line(&format!("{row} {s:.2} s | {verdict} [{most:.0} s] |"));
        }
        self.others(found);
        self.line(BUCKETS);
        self.line("| crashes | grouped by | crashes | bugs | precision | recall | F | pair AUC |");
        self.line("|---|---|--:|--:|--:|--:|--:|--:|");
        for one in &found.groupings {
            let [precision, recall, f] = [one.precision, one.recall, one.f]
                .map(|share| share.map_or("-".to_owned(), |share| format!("{share:.3}")));
            self.line(&format!(
                "| {} | {} | {} | {} | {precision} | {recall} | {f} | {:.3} |",
                one.of, one.by, one.crashes, one.bugs, one.auc
            ));
        }
    }

    fn others(&mut self, found: &Found) {
        self.line(OTHERS);
        for peer in &found.peers {
            let state = peer.absent.as_ref().map_or("measured".to_owned(), |why| format!("not measured, {why}"));
            self.line(&format!("- {}: {state}", peer.name));
        }
        self.line("\n| file | by | fault | where | instruction | frames | guessed | named | modules | unloaded | bucket | ms |");
        self.line("|---|---|---|---|---|--:|--:|--:|--:|--:|---|--:|");
        for Compared {
            file,
            tool,
            fault,
            place,
            instruction,
            frames,
            guessed,
            named,
            modules,
            unloaded,
            bucket,
            ms,
            ..
        } in &found.compared
        {
            let cell = |text: &str| text.replace('|', "\\|");
            self.line(&format!(
                "| {file} | {tool} | {} | {} | {} | {frames} | {guessed} | {named} | {modules} | {unloaded} | {} | {ms:.0} |",
                cell(fault),
                cell(place),
                cell(instruction),
                cell(bucket)
            ));
        }
    }
}

fn mb_per_s(log: &Timed) -> f64 {
    log.bytes as f64 / 1e6 / log.s.max(f64::MIN_POSITIVE)
}
