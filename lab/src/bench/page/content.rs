//! The page's section on content: what was measured beside what may be.

use super::Page;
use crate::bench::bars;
use crate::bench::content::{Found, LoaderCost};

const CONTENT: &str = "
## What a host bears of content

By `watertight-lab bench --content-only`, as root, on the machine above, without kernel programs. A recovery is from the end of
`content install` to the detector that is ready with the last-known-good, while events come on which the installed content kills the
engine: the change, two deaths and two starts are in it. It is taken with a build with debug assertions, because no other can be killed
so; the rest with what ships. Memory is what was resident at most, the executable and the pack with it.
";

impl Page {
    pub(super) fn content(&mut self, found: &Found) {
        self.line(CONTENT);
        self.line("| figure | | bar |");
        self.line("|---|--:|---|");
        let (tries, p99) = (found.recoveries_ms.len(), found.recovered_ms(99));
        let verdict = self.verdict(p99 <= bars::RECOVERY_MS_MAX);
        self.line(&format!(
            "| back on the last-known-good, p99 of {tries} (p50 {:.0} ms, longest {:.0} ms) | {p99:.0} ms | {verdict} [{:.0} ms] |",
            found.recovered_ms(50),
            found.recovered_ms(100),
            bars::RECOVERY_MS_MAX
        ));
        let verdict = self.verdict(found.pause_us_max <= bars::PAUSE_US_MAX);
        self.line(&format!(
            "| longest pause of {} changes of content | {:.1} us | {verdict} [{:.0} us] |",
            found.changes,
            found.pause_us_max,
            bars::PAUSE_US_MAX
        ));
        let LoaderCost { pack_bytes, peak_mib, cpu_s, calls } = found.loader;
        let verdict = self.verdict(peak_mib <= bars::LOADER_MIB_MAX);
        let most = bars::LOADER_MIB_MAX;
        self.line(&format!(
            "| loader of a pack of {pack_bytes} bytes, memory | {peak_mib:.1} MiB | {verdict} [{most:.0} MiB] |"
        ));
        let verdict = self.verdict(cpu_s <= bars::LOADER_CPU_S_MAX);
        self.line(&format!("| its processor time | {cpu_s:.3} s | {verdict} [{:.0} s] |", bars::LOADER_CPU_S_MAX));
        let verdict = self.verdict(calls <= bars::LOADER_CALLS_MAX);
        self.line(&format!("| system calls that it may make | {calls} | {verdict} [{}] |", bars::LOADER_CALLS_MAX));
    }
}
