//! Who is at risk: for each host what is known of it, and for each metric how many could be the next to fail.

use super::logrank::AtRisk;
use super::metric::{Metric, METRICS};
use crate::HostIndex;

/// What is known of a host.
#[derive(Clone, Copy, Debug, Default)]
struct Host {
    /// Metrics in which it failed, a bit each.
    failed: u16,
    flags: u8,
}

/// Given the content in this rollout.
const GIVEN: u8 = 1;
/// Not online.
const OFFLINE: u8 = 2;
/// Was given it, and runs something else again.
const LEFT: u8 = 4;
/// The stage waits for its word.
const EXPECTED: u8 = 8;
/// It was healthy at the end of its watch.
const HEALTHY: u8 = 16;
/// It went offline before it had fetched what the stage waits for.
const DROPPED: u8 = 32;

/// Hosts and counts.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    hosts: Vec<Host>,
    /// Online hosts, treated and control.
    online: AtRisk,
    /// Of these, those that failed in a metric.
    failed: [AtRisk; METRICS],
}

impl Hosts {
    /// So many hosts, all online and without the content.
    pub(super) fn new(hosts: HostIndex) -> Self {
        Self {
            hosts: vec![Host::default(); hosts as usize],
            online: AtRisk { treated: 0, control: u64::from(hosts) },
            failed: [AtRisk::default(); METRICS],
        }
    }

    /// Another one, online and without the content.
    pub(super) fn add(&mut self) {
        self.hosts.push(Host::default());
        self.online.control = self.online.control.saturating_add(1);
    }

    /// Hosts at risk in a metric.
    pub(super) fn at_risk(&self, metric: Metric) -> AtRisk {
        let failed = self.failed.get(metric.place()).copied().unwrap_or_default();
        AtRisk {
            treated: self.online.treated.saturating_sub(failed.treated),
            control: self.online.control.saturating_sub(failed.control),
        }
    }

    /// The host went offline. Whether the stage waits for it, and it has not fetched the content.
    pub(super) fn drop_out(&mut self, host: HostIndex) -> bool {
        let is_waited = self.get(host).is_some_and(|host| host.flags & (EXPECTED | GIVEN | DROPPED) == EXPECTED);
        self.change(host, |host| host.flags |= OFFLINE | if is_waited { DROPPED } else { 0 });
        is_waited
    }

    /// The host is back for the stage. Whether it had dropped out.
    pub(super) fn drop_in(&mut self, host: HostIndex) -> bool {
        self.change(host, |host| host.flags &= !DROPPED).is_some_and(|before| before.flags & DROPPED != 0)
    }

    /// The host has fetched the content, so it is online. Whether that is new.
    pub(super) fn give(&mut self, host: HostIndex) -> bool {
        self.change(host, |host| host.flags = (host.flags | GIVEN) & !OFFLINE)
            .is_some_and(|before| before.flags & GIVEN == 0)
    }

    /// The host is online again.
    pub(super) fn come_back(&mut self, host: HostIndex) {
        self.change(host, |host| host.flags &= !OFFLINE);
    }

    /// The host failed in a metric, while it had the content or not. Who was at risk, the host included, if it was: its first time, and it
    /// was online. One that left the content was at risk while it had it, and the word of what happened then may come after the word that
    /// it left.
    pub(super) fn fail(&mut self, host: HostIndex, metric: Metric, with_content: bool) -> Option<AtRisk> {
        let AtRisk { treated, control } = self.at_risk(metric);
        let before = self.change(host, |host| host.failed |= metric.bit())?;
        let has_left = with_content && before.flags & (OFFLINE | LEFT) == LEFT;
        let is_first = before.failed & metric.bit() == 0 && (before.is_at_risk() || has_left);
        is_first.then_some(AtRisk { treated: treated.saturating_add(u64::from(has_left)), control })
    }

    /// The host runs something else again.
    pub(super) fn leave(&mut self, host: HostIndex) -> Waited {
        self.answer(host, LEFT)
    }

    /// The host said after the watch that it runs the content.
    pub(super) fn healthy(&mut self, host: HostIndex) -> Waited {
        self.answer(host, HEALTHY)
    }

    /// The stage waits for the host's word, given from now on. Not for one that is offline, left the content or is waited for already.
    pub(super) fn expect(&mut self, host: HostIndex) -> bool {
        let is_new = self.get(host).is_some_and(|host| host.flags & (OFFLINE | LEFT | EXPECTED) == 0);
        if is_new {
            self.change(host, |host| host.flags = (host.flags | EXPECTED) & !(HEALTHY | DROPPED));
        }
        is_new
    }

    /// The stage no longer waits for the host. Whether it did.
    pub(super) fn forget(&mut self, host: HostIndex) -> bool {
        self.change(host, |host| host.flags &= !(EXPECTED | DROPPED)).is_some_and(|before| before.flags & EXPECTED != 0)
    }

    /// Whether the stage still waits for the host's word.
    pub(super) fn is_silent(&self, host: HostIndex) -> bool {
        self.get(host).is_some_and(|host| host.flags & (EXPECTED | HEALTHY | LEFT) == EXPECTED)
    }

    /// Whether the stage counts the host.
    pub(super) fn is_expected(&self, host: HostIndex) -> bool {
        self.get(host).is_some_and(|host| host.flags & EXPECTED != 0)
    }

    /// Whether the host was given the content.
    pub(super) fn is_given(&self, host: HostIndex) -> bool {
        self.get(host).is_some_and(|host| host.flags & GIVEN != 0)
    }

    fn answer(&mut self, host: HostIndex, word: u8) -> Waited {
        let Some(before) = self.change(host, |host| host.flags |= word) else { return Waited::No };
        if before.flags & EXPECTED == 0 || before.flags & word != 0 {
            return Waited::No;
        }
        if before.flags & HEALTHY != 0 {
            return Waited::WasHealthy;
        }
        if before.flags & LEFT != 0 {
            return Waited::No;
        }
        Waited::Yes
    }

    fn get(&self, host: HostIndex) -> Option<Host> {
        self.hosts.get(host as usize).copied()
    }

    /// Changes a host and with it the counts; gives what it was before.
    fn change(&mut self, host: HostIndex, change: impl FnOnce(&mut Host)) -> Option<Host> {
        let host = self.hosts.get_mut(host as usize)?;
        let before = *host;
        change(host);
        let after = *host;
        if before.arm() != after.arm() || before.failed != after.failed {
            self.count(before, u64::wrapping_sub);
            self.count(after, u64::wrapping_add);
        }
        Some(before)
    }

    /// Adds a host to the counts, or takes it off.
    fn count(&mut self, host: Host, add: impl Fn(u64, u64) -> u64) {
        let Some(is_treated) = host.arm() else { return };
        let of = |risk: &mut AtRisk| {
            let arm = if is_treated { &mut risk.treated } else { &mut risk.control };
            *arm = add(*arm, 1);
        };
        of(&mut self.online);
        let mut failed = host.failed;
        while failed != 0 {
            let place = failed.trailing_zeros() as usize;
            if let Some(risk) = self.failed.get_mut(place) {
                of(risk);
            }
            failed &= failed.wrapping_sub(1);
        }
    }
}

/// Whether the stage had waited for a host's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    Yes,
    /// It had called itself healthy, and now it left.
    WasHealthy,
    No,
}

impl Host {
    /// Which arm the host is in: treated, or control, or none, because it is offline or left the content.
    fn arm(self) -> Option<bool> {
        (self.flags & (OFFLINE | LEFT) == 0).then_some(self.flags & GIVEN != 0)
    }

    fn is_at_risk(self) -> bool {
        self.arm().is_some()
    }
}
