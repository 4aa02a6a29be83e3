//! A stage: whom it waits for, and what becomes of it when its time is over. No news is not health.

use super::decision::{Cause, StageHosts, Verdict};
use super::hosts::{Hosts, Waited};
use super::{LOST_HOSTS_MAX, LOST_PERCENT_MAX, SILENT_FOR_MS};
use crate::{HostIndex, Ms};

/// What the stage is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// None runs: before the first, or after one that ended well.
    #[default]
    Between,
    /// Until then it is watched.
    Watching { until_ms: Ms },
    /// Too many are silent; then they are replaced.
    Holding { until_ms: Ms },
    /// Waits for the names of those who replace them.
    Replacing,
    /// There is nobody to replace them.
    Stuck,
}

/// The stage that runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Stage {
    pub(super) number: u32,
    pub(super) phase: Phase,
    pub(super) hosts: StageHosts,
    expected: Vec<HostIndex>,
    /// Hosts that the stage was begun for, the offline ones too.
    offered: u64,
}

impl Stage {
    pub(super) fn begin(&mut self, at_ms: Ms, stage_ms: Ms, hosts: &[HostIndex], known: &mut Hosts) {
        for host in self.expected.drain(..) {
            known.forget(host);
        }
        self.number = self.number.saturating_add(1);
        self.hosts = StageHosts::default();
        self.offered = 0;
        self.expect(hosts, known);
        self.phase = Phase::Watching { until_ms: at_ms.saturating_add(stage_ms) };
    }

    pub(super) fn replace(&mut self, at_ms: Ms, stage_ms: Ms, hosts: &[HostIndex], known: &mut Hosts) {
        if self.phase != Phase::Replacing {
            return;
        }
        if hosts.is_empty() {
            self.phase = Phase::Stuck;
            return;
        }
        for host in self.silent(known) {
            known.forget(host);
        }
        self.hosts.offline = 0;
        self.expected.retain(|host| known.is_expected(*host));
        self.expect(hosts, known);
        self.phase = Phase::Watching { until_ms: at_ms.saturating_add(stage_ms) };
    }

    /// Waits for these too, those that are offline left out: a host that was off before its turn is no sign of bad content.
    fn expect(&mut self, hosts: &[HostIndex], known: &mut Hosts) {
        self.offered = self.offered.saturating_add(hosts.len() as u64);
        hosts.iter().for_each(|host| known.offer(*host));
        self.expected.extend(hosts.iter().filter(|host| known.expect(**host)));
        self.hosts.expected = self.expected.len() as u64;
    }

    pub(super) fn dropped_out(&mut self, is_new: bool) {
        self.hosts.offline += u64::from(is_new);
    }

    pub(super) fn dropped_in(&mut self, is_back: bool) {
        self.hosts.offline = self.hosts.offline.saturating_sub(u64::from(is_back));
    }

    pub(super) fn left(&mut self, waited: Waited) {
        match waited {
            Waited::Yes => self.hosts.left += 1,
            Waited::WasHealthy => {
                self.hosts.healthy = self.hosts.healthy.saturating_sub(1);
                self.hosts.left += 1;
            }
            Waited::No => {}
        }
    }

    pub(super) fn healthy(&mut self, waited: Waited) {
        self.hosts.healthy += u64::from(waited == Waited::Yes);
    }

    pub(super) fn silent(&self, known: &Hosts) -> Vec<HostIndex> {
        self.expected.iter().copied().filter(|host| known.is_silent(*host)).collect()
    }

    /// What is to be over at a time has so much longer.
    pub(super) fn delay(&mut self, by_ms: Ms) {
        if let Phase::Watching { until_ms } | Phase::Holding { until_ms } = &mut self.phase {
            *until_ms = until_ms.saturating_add(by_ms);
        }
    }

    pub(super) fn next_ms(&self) -> Option<Ms> {
        match self.phase {
            Phase::Watching { until_ms } | Phase::Holding { until_ms } => Some(until_ms),
            Phase::Between | Phase::Replacing | Phase::Stuck => None,
        }
    }

    /// What time has made due, of `stages` stages.
    pub(super) fn judge(&mut self, at_ms: Ms, stages: u32) -> Option<Verdict> {
        let (is_over, is_holding) = match self.phase {
            Phase::Between | Phase::Replacing => return None,
            Phase::Watching { until_ms } => (at_ms >= until_ms, false),
            Phase::Holding { until_ms } => (at_ms >= until_ms, true),
            Phase::Stuck => (false, true),
        };
        if !is_over && !is_holding {
            return None;
        }
        let lost_max = LOST_HOSTS_MAX.max(self.hosts.expected.saturating_mul(LOST_PERCENT_MAX) / 100);
        let StageHosts { healthy, left, offline, .. } = self.hosts;
        // A stage of one host: nobody else's health makes up for it.
        let is_nobody_healthy = healthy == 0 && self.offered > 0;
        if left > lost_max || (left > 0 && is_nobody_healthy) {
            return Some(Verdict::Halt { cause: Cause::Left });
        }
        if self.hosts.silent() <= lost_max && offline <= lost_max && !is_nobody_healthy {
            return Some(self.end(stages));
        }
        if !is_holding {
            self.phase = Phase::Holding { until_ms: at_ms.saturating_add(SILENT_FOR_MS) };
            return Some(Verdict::Hold);
        }
        if !is_over {
            return None;
        }
        self.phase = Phase::Replacing;
        Some(Verdict::Replace { hosts: self.hosts.silent().saturating_add(self.hosts.offline) })
    }

    pub(super) fn promote(&mut self, stages: u32) -> Option<Verdict> {
        matches!(self.phase, Phase::Holding { .. } | Phase::Stuck | Phase::Replacing).then(|| self.end(stages))
    }

    fn end(&mut self, stages: u32) -> Verdict {
        self.phase = Phase::Between;
        if self.number >= stages {
            Verdict::Complete
        } else {
            Verdict::Advance
        }
    }
}
