//! Whether the fleet is safe to leave, counted from what the server knows: the same figures for the API and the page.

mod losses;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::losses::Losses;
use crate::clock::now_ms;
use crate::hosts::Absence;
use crate::server::Server;
use crate::store::{BucketRow, StoreError};

/// New buckets of the last day speak against leaving.
const DAY_MS: u64 = 24 * 3_600_000;
/// A clock that is so wrong makes certificates and leases fail.
pub(super) const CLOCK_AHEAD_MS_MAX: u64 = 300_000;
/// Buckets that are looked at.
const BUCKETS_MAX: u32 = 1_000;

/// The fleet in figures.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Status {
    /// Nothing below speaks against leaving it alone.
    pub(super) is_safe_to_leave: bool,
    /// What does, each with the mend.
    pub(super) because: Vec<String>,
    /// Hosts that are not revoked.
    pub(super) hosts: u64,
    /// Those that checked in as promised.
    pub(super) online: u64,
    /// Those that did not, or never have, or are not back after a reboot.
    pub(super) silent: u64,
    /// Of these, those that said that they reboot.
    pub(super) not_back: u64,
    /// Those that said that they go down: they reboot, or were shut down.
    pub(super) down: u64,
    /// Those that run what should not be there twice.
    pub(super) cloned: u64,
    /// Those whose certificates were taken away.
    pub(super) revoked: u64,
    /// Those that refuse the director's document: they begin nothing, and no recall reaches them.
    pub(super) refusing_director: u64,
    /// Records that hosts told as lost in the last 24 hours, because their spools had no room for them.
    pub(super) dropped_records: u64,
    /// Hosts that told of such.
    pub(super) dropping_hosts: u64,
    /// Those that have acted on the newest generation.
    pub(super) at_newest_generation: u64,
    /// The newest generation.
    pub(super) generation: u64,
    /// Check-ins answered since the start.
    pub(super) check_ins: u64,
    /// The server's clock, milliseconds since 1970.
    pub(super) clock_ms: u64,
    /// When it was started.
    pub(super) started_ms: u64,
}

impl Status {
    pub(super) async fn of(server: &Server) -> Result<Self, StoreError> {
        let now_ms = now_ms();
        let mut status = Self {
            is_safe_to_leave: false,
            because: Vec::new(),
            hosts: 0,
            online: 0,
            silent: 0,
            not_back: 0,
            down: 0,
            cloned: 0,
            revoked: 0,
            refusing_director: 0,
            dropped_records: 0,
            dropping_hosts: 0,
            at_newest_generation: 0,
            generation: server.generation(),
            check_ins: server.check_ins.load(std::sync::atomic::Ordering::Relaxed),
            clock_ms: now_ms,
            started_ms: server.started_ms,
        };
        let (mut wrong_clocks, mut refusals, mut losses) = (0_u64, Refusals::default(), Losses::default());
        for cell in server.hosts.all() {
            let host = cell.lock();
            if host.row.revoked_ms.is_some() {
                status.revoked += 1;
                continue;
            }
            status.hosts += 1;
            match host.absence_by_its_promise(now_ms) {
                None => status.online += 1,
                Some(Absence::Silent) => status.silent += 1,
                Some(Absence::NotBack) => {
                    status.silent += 1;
                    status.not_back += 1;
                }
                Some(Absence::Reboots | Absence::Off) => status.down += 1,
            }
            status.cloned += u64::from(host.row.cloned_ms.is_some());
            status.at_newest_generation += u64::from(host.row.seen.generation == status.generation);
            wrong_clocks += u64::from(host.row.seen.clock_ahead_ms.unsigned_abs() > CLOCK_AHEAD_MS_MAX);
            losses.note(&host.row.id, host.lost.last_day(now_ms));
            refusals.note(host.row.seen.state.content.as_ref().map_or("", |content| content.director_refused.as_str()));
        }
        status.refusing_director = refusals.hosts();
        (status.dropped_records, status.dropping_hosts) = (losses.records(), losses.hosts());
        let buckets = server.store.buckets(now_ms.saturating_sub(7 * DAY_MS), BUCKETS_MAX).await?;
        status.because = because(&status, server.refusing(), wrong_clocks, &buckets, now_ms);
        status.because.extend(refusals.because());
        status.because.extend(losses.because());
        let of_rollouts = server.rollouts.because(server).await;
        status.because.extend(of_rollouts);
        status.is_safe_to_leave = status.because.is_empty();
        Ok(status)
    }
}

/// Why hosts refuse the director's document, each with how many do.
#[derive(Debug, Default)]
struct Refusals(BTreeMap<String, u64>);

impl Refusals {
    /// A host's word; empty if it refuses nothing.
    fn note(&mut self, why: &str) {
        if !why.is_empty() {
            *self.0.entry(why.to_owned()).or_default() += 1;
        }
    }

    fn hosts(&self) -> u64 {
        self.0.values().sum()
    }

    /// In a sentence, by the reason that most of them have.
    fn because(&self) -> Option<String> {
        let (why, hosts) = self.0.iter().max_by_key(|(_, hosts)| **hosts)?;
        let others = match self.hosts().saturating_sub(*hosts) {
            0 => String::new(),
            others => format!(" ({others} more for other reasons)"),
        };
        Some(format!(
            "{hosts} hosts refuse the director's document: {why}{others}; what it recalls does not reach them: \
             docs/fleet.md, \"The director's document\""
        ))
    }
}

/// What speaks against leaving the fleet alone.
fn because(
    status: &Status,
    refusing: Option<String>,
    wrong_clocks: u64,
    buckets: &[BucketRow],
    now_ms: u64,
) -> Vec<String> {
    let mut because: Vec<String> = refusing.into_iter().collect();
    if status.hosts == 0 {
        because.push("no host is enrolled: nothing is known".to_owned());
    }
    if status.silent > 0 {
        because.push(format!("{} of {} hosts are silent: look after them", status.silent, status.hosts));
    }
    if status.not_back > 0 {
        because.push(format!("{} of these said that they reboot, and are not back", status.not_back));
    }
    if status.cloned > 0 {
        because.push(format!("{} hosts have a clone: revoke them and enrol both anew", status.cloned));
    }
    if wrong_clocks > 0 {
        because.push(format!("{wrong_clocks} hosts have a clock that is off by more than five minutes: set them"));
    }
    let new = buckets.iter().filter(|bucket| bucket.is_ours && bucket.first_ms > now_ms.saturating_sub(DAY_MS)).count();
    if new > 0 {
        because.push(format!("{new} crash buckets that blame our own module are new since yesterday: see below"));
    }
    because
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(hosts: u64, silent: u64, cloned: u64) -> Status {
        Status {
            is_safe_to_leave: false,
            because: Vec::new(),
            hosts,
            online: hosts - silent,
            not_back: 0,
            down: 0,
            silent,
            cloned,
            revoked: 0,
            refusing_director: 0,
            dropped_records: 0,
            dropping_hosts: 0,
            at_newest_generation: 0,
            generation: 1,
            check_ins: 0,
            clock_ms: 0,
            started_ms: 0,
        }
    }

    #[test]
    fn a_fleet_of_which_nothing_is_known_is_not_safe_to_leave() {
        assert_eq!(because(&status(3, 0, 0), None, 0, &[], DAY_MS * 9), Vec::<String>::new());
        for (status, refusing, clocks) in [
            (status(0, 0, 0), None, 0),
            (status(3, 1, 0), None, 0),
            (status(3, 0, 1), None, 0),
            (status(3, 0, 0), Some("full".to_owned()), 0),
            (status(3, 0, 0), None, 1),
        ] {
            assert_eq!(because(&status, refusing, clocks, &[], DAY_MS * 9).len(), 1, "{status:?}");
        }
    }

    #[test]
    fn hosts_that_refuse_the_directors_document_are_told_with_the_reason_that_most_have() {
        let mut refusals = Refusals::default();
        refusals.note("");
        assert_eq!((refusals.hosts(), refusals.because()), (0, None));
        for why in ["epoch 7", "the lease", "epoch 7"] {
            refusals.note(why);
        }
        let told = refusals.because().expect("a sentence");
        assert_eq!(refusals.hosts(), 3);
        assert!(
            told.starts_with("2 hosts refuse the director's document: epoch 7 (1 more for other reasons)"),
            "{told}"
        );
    }

    #[test]
    fn a_new_bucket_of_ours_speaks_against_leaving_and_an_old_one_does_not() {
        let bucket = |is_ours, first_ms| BucketRow {
            bucket: "b".into(),
            title: "t".into(),
            is_ours,
            hosts: 1,
            crashes: 1,
            first_ms,
            last_ms: first_ms,
            content: String::new(),
            rule: String::new(),
        };
        let now_ms = DAY_MS * 9;
        let count = |bucket| because(&status(1, 0, 0), None, 0, &[bucket], now_ms).len();
        assert_eq!(
            [count(bucket(true, now_ms - 5)), count(bucket(true, 5)), count(bucket(false, now_ms - 5))],
            [1, 0, 0]
        );
    }
}
