//! The page's section on the fleet's server.

use super::Page;
use crate::bench::bars;
use crate::bench::fleet::Found;
use watertight_horde::process::Spent;

const FLEET: &str = "
## The fleet's server under load

By `watertight-lab bench --fleet-only`: `watertight-horde` against a release server on loopback with its database on disk, over TLS 1.3 with a
certificate for each agent, two processes of at most 20,000 descriptors each. A figure for a processor is by the server's own processor time,
user and system; the two columns of processors say how many of them each used meanwhile, by the clock. A check-in at a rate is timed from the
moment at which it was due. The horde runs on one thread, on the same processors as the server.
";

impl Page {
    pub(super) fn fleet(&mut self, found: &Found) {
        self.line(FLEET);
        self.line(&format!(
            "{} processors; other work on the machine in the minute before: load {:.1}.\n",
            found.processors, found.load_before
        ));
        self.line("| figure | | bar | server, processors | horde, processors | what limits it |");
        self.line("|---|--:|---|--:|--:|---|");
        self.check_ins(found);
        self.at_a_rate(found);
        self.waiting(found);
        self.back(found);
        self.enrolling(found);
        let (outcomes, as_expected) =
            (&found.faults.outcomes, found.faults.outcomes.iter().filter(|outcome| outcome.is_expected).count());
        let verdict = self.verdict(found.faults.are_answered_as_they_should());
        self.line(&format!(
            "| what agents do wrong, answered as it must be | {as_expected} of {} | {verdict} [all] | | | |",
            outcomes.len()
        ));
    }

    fn check_ins(&mut self, found: &Found) {
        let closed = &found.closed;
        let is_met = closed.per_core_s >= bars::CHECK_INS_PER_CORE_MIN && closed.failed == 0;
        self.row(
            &format!("check-ins of {} agents, for a second of the server's processor", closed.connections),
            &format!("{:.0}", closed.per_core_s),
            (is_met, &format!("{:.0}", bars::CHECK_INS_PER_CORE_MIN)),
            Some(&closed.spent),
            "TLS and the kernel's network; beyond 25,000 a second and processor agents are turned away",
        );
        let row = format!("the same by the clock, {} turned away, {} failed", closed.turned_away, closed.failed);
        self.line(&format!("| {row} | {:.0} a second | | | | the horde, on the same processors |", closed.per_s));
        let reads = closed.database.reads.saturating_add(found.open.database.reads);
        let check_ins = closed.check_ins.saturating_add(found.open.check_ins);
        self.row(
            &format!("questions to the database in {check_ins} check-ins, by the server's count"),
            &reads.to_string(),
            (reads == 0 && check_ins > 0, "0"),
            None,
            "hosts are in memory; their rows are written once a minute",
        );
    }

    fn at_a_rate(&mut self, found: &Found) {
        let open = &found.open;
        let is_met = open.latency_ms.p99 <= bars::CHECK_IN_MS_MAX && open.failed == 0;
        self.row(
            &format!(
                "check-in at {} a second of {} agents, p99 (p50 {:.1} ms, p99.9 {:.1} ms, longest {:.1} ms; {} failed)",
                open.due_per_s,
                open.connections,
                open.latency_ms.p50,
                open.latency_ms.p999,
                open.latency_ms.most,
                open.failed
            ),
            &format!("{:.1} ms", open.latency_ms.p99),
            (is_met, &format!("{:.0} ms", bars::CHECK_IN_MS_MAX)),
            Some(&open.spent),
            &format!("waiting for a processor: {:.1} ms of it, p99, until the horde sent it", open.late_ms.p99),
        );
    }

    fn waiting(&mut self, found: &Found) {
        let held = &found.held;
        self.row(
            &format!("server's memory for each of {} agents that wait", held.agents),
            &format!("{:.1} KiB", held.each_kib),
            (held.each_kib <= bars::HELD_KIB_MAX && held.failed == 0, &format!("{:.0} KiB", bars::HELD_KIB_MAX)),
            None,
            "buffers of TLS and HTTP",
        );
        self.row(
            &format!("doorbell to 99 % of them (to all {:.2} s)", held.told_s.most),
            &format!("{:.2} s", held.told_s.p99),
            (held.told_s.p99 <= bars::DOORBELL_S_MAX && held.failed == 0, &format!("{:.0} s", bars::DOORBELL_S_MAX)),
            Some(&held.spent),
            "on purpose: a look each second, and each told at a random moment of five seconds",
        );
    }

    fn back(&mut self, found: &Found) {
        let storm = &found.storm;
        self.row(
            &format!(
                "{} agents lose their connection: all back (99 % after {:.2} s; {} came again, {} lost)",
                storm.agents, storm.back_s.p99, storm.came_again, storm.lost
            ),
            &format!("{:.2} s", storm.back_s.most),
            (storm.back_s.most <= bars::STORM_S_MAX && storm.lost == 0, &format!("{:.0} s", bars::STORM_S_MAX)),
            Some(&storm.spent),
            "handshakes of both sides; the first wait of an agent is a random part of a second",
        );
        let looks: u64 = storm.looks.values().sum();
        self.row(
            &format!("operator API meanwhile, {looks} looks (p99 {:.0} ms): 5xx, or no answer", storm.look_ms.p99),
            &storm.looks_failed().to_string(),
            (storm.looks_failed() == 0 && looks > 0, "0"),
            None,
            "",
        );
    }

    fn enrolling(&mut self, found: &Found) {
        let enrolled = &found.enrolled;
        self.row(
            &format!("enrolments of {} hosts, for a second of the server's processor", enrolled.agents),
            &format!("{:.0}", enrolled.per_core_s),
            (enrolled.per_core_s >= bars::ENROLMENTS_PER_CORE_MIN, &format!("{:.0}", bars::ENROLMENTS_PER_CORE_MIN)),
            Some(&enrolled.spent),
            &format!(
                "by the clock {:.0} a second, {} turned away: the server takes 300 a second; each is a signature and a durable write",
                enrolled.per_s, enrolled.turned_away
            ),
        );
    }

    /// A figure, whether it meets its bar, and what was used meanwhile.
    fn row(&mut self, name: &str, figure: &str, (is_met, bar): (bool, &str), spent: Option<&Spent>, limit: &str) {
        let verdict = self.verdict(is_met);
        let used = |cpu_s: fn(&Spent) -> f64| {
            spent.map_or(String::new(), |spent| format!("{:.2}", cpu_s(spent) / spent.wall_s.max(f64::MIN_POSITIVE)))
        };
        let (server, horde) = (used(|spent| spent.server_cpu_s), used(|spent| spent.horde_cpu_s));
        self.line(&format!("| {name} | {figure} | {verdict} [{bar}] | {server} | {horde} | {limit} |"));
    }
}
