//! What all parts of the running server share, and what happens beside the requests: rows are written, the content folder is looked at,
//! the server's certificate is made anew, the disk is probed after it was full.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rcgen::SanType;
use tokio::sync::{watch, Semaphore};

use crate::access::Access;
use crate::admission::Admission;
use crate::authority::{Authority, SERVER_LIFE_MS};
use crate::backup;
use crate::clock::now_ms;
use crate::content::Content;
use crate::hosts::{Hosts, Pace, WRITE_ROWS_MAX};
use crate::rollout::director::Keys;
use crate::rollout::Rollouts;
use crate::store::{AuditEntry, StateStore, StoreError, HOUR_MS};
use crate::tls::OwnCertificate;

/// How the server behaves under load. The defaults suit ten thousand hosts on a core.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Hosts check in so often, unless there are too many for it.
    pub interval_ms: u64,
    /// Check-ins a second that the interval is made for.
    pub check_ins_per_s: u64,
    /// Check-ins a second beyond which agents are turned away, for each processor.
    pub check_ins_per_s_max: u32,
    /// Enrolments and renewals a second beyond which agents are turned away: each costs a signature and a write.
    pub enrolments_per_s_max: u32,
    /// Connections at a time.
    pub connections_max: usize,
    /// TLS handshakes at a time: each costs a fraction of a millisecond of a processor and some memory.
    pub handshakes_max: usize,
    /// One that waits for its peer for longer goes on without a turn: the next is begun.
    pub handshake_turn_ms: u64,
    /// Records are kept so long.
    pub keep_records_ms: u64,
    /// With less room on the disk nothing more is accepted: what is left is for what the fleet needs to go on.
    pub free_bytes_min: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval_ms: 60_000,
            check_ins_per_s: 2_000,
            check_ins_per_s_max: 25_000,
            enrolments_per_s_max: 300,
            connections_max: 18_000,
            handshakes_max: 1_024,
            handshake_turn_ms: 2_000,
            keep_records_ms: 30 * 24 * 3_600_000,
            free_bytes_min: 64 * 1024 * 1024,
        }
    }
}

/// Bodies of batches that are worked on at a time: each may take eight megabytes.
const BATCHES_AT_ONCE: usize = 4;
/// Losses of so long ago are read by the hour: a day and the hour that it began in.
const LOSSES_MS: u64 = 25 * HOUR_MS;
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two looks at what changes slowly.
const SLOW_TICKS: u64 = 3_600;

/// The running server.
pub struct Server {
    /// What must not be forgotten.
    pub store: Arc<dyn StateStore>,
    /// Who signs.
    pub authority: Authority,
    /// All hosts.
    pub hosts: Hosts,
    /// Tokens of people and programs.
    pub access: Access,
    /// The content repository's files.
    pub content: Content,
    /// What is rolled out.
    pub rollouts: Rollouts,
    /// How it behaves.
    pub settings: Settings,
    /// Turns for check-ins.
    pub check_in_turns: Admission,
    /// Turns for enrolments and renewals.
    pub enrol_turns: Admission,
    /// Batches that are worked on.
    pub batches: Arc<Semaphore>,
    /// The state folder.
    pub state: PathBuf,
    /// When it was started.
    pub started_ms: u64,
    generation: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    /// Why nothing is accepted that must be durable; empty if it is.
    refusing: Mutex<String>,
    /// Check-ins answered since the start.
    pub check_ins: AtomicU64,
    /// Agents that wait for the doorbell now.
    pub waiting: AtomicU64,
    /// What the generation stands for.
    published: Mutex<String>,
}

impl Server {
    /// Reads what is stored.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn new(
        store: Arc<dyn StateStore>,
        authority: Authority,
        state: PathBuf,
        settings: Settings,
    ) -> Result<Self, StoreError> {
        let hosts = Hosts::new(store.hosts().await?);
        let since_ms = now_ms().saturating_sub(LOSSES_MS);
        hosts.have_lost(&store.dropped().await?, &store.dropped_by_hour(since_ms).await?);
        let access = Access::new(store.operator_tokens().await?);
        let generation = store.generation().await?;
        let published = store.generation_of().await?;
        let turns = |per_s: u32| Admission::new(f64::from(per_s), f64::from(per_s));
        let processors =
            std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
        Ok(Self {
            store,
            authority,
            hosts,
            access,
            content: Content::new(state.join("content")),
            rollouts: Rollouts::new(state.join("content"), None),
            settings,
            check_in_turns: turns(settings.check_ins_per_s_max.saturating_mul(processors)),
            enrol_turns: turns(settings.enrolments_per_s_max),
            batches: Arc::new(Semaphore::new(BATCHES_AT_ONCE)),
            state,
            started_ms: now_ms(),
            generation: watch::Sender::new(generation),
            stop: watch::Sender::new(false),
            refusing: Mutex::default(),
            check_ins: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            published: Mutex::new(published),
        })
    }

    /// The same, with the keys to carry rollouts out.
    #[must_use]
    pub fn with_keys(mut self, keys: Option<Keys>) -> Self {
        self.rollouts = Rollouts::new(self.state.join("content"), keys);
        self
    }

    /// The generation of the desired state.
    #[must_use]
    pub fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// Tells when it changes.
    #[must_use]
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Becomes true when the server is to end.
    #[must_use]
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Ends the server: connections end their requests, then what has changed is written.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// How hosts are paced: as often as wished, or as often as this many hosts allow.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let hosts = u64::try_from(self.hosts.len()).unwrap_or(u64::MAX);
        let needed_ms = hosts.saturating_mul(1000).checked_div(self.settings.check_ins_per_s).unwrap_or(0);
        let interval_ms = self.settings.interval_ms.max(needed_ms);
        Pace { interval_ms, jitter_ms: interval_ms / 10 }
    }

    /// Why nothing is accepted that must be durable.
    #[must_use]
    pub fn refusing(&self) -> Option<String> {
        let why = self.refusing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (!why.is_empty()).then_some(why)
    }

    /// Notes what the store answered, and hands it on.
    ///
    /// # Errors
    /// As the store's.
    pub fn noted<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error @ (StoreError::Full { .. } | StoreError::Damaged { .. } | StoreError::Failed { .. })) = &answer
        {
            *self.refusing.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
        }
        answer
    }

    /// Notes a clone, durably.
    pub async fn mark_cloned(&self, host: &str, how: &str) {
        let at_ms = now_ms();
        let entry = AuditEntry {
            at_ms,
            actor: "server".to_owned(),
            action: "host_cloned".to_owned(),
            subject: host.to_owned(),
            reason: how.to_owned(),
        };
        // Not stored is noted by `noted`; the host's row in memory says it in any case.
        let _ = self.noted(self.store.mark_cloned(host, at_ms, &entry).await);
    }

    /// Everything beside the requests, until the server is to end.
    pub async fn run_beside(&self, own: &OwnCertificate, names: &[SanType]) {
        let mut stopping = self.stopping();
        let mut ticks = 0_u64;
        while !*stopping.borrow() {
            self.write_due(false).await;
            self.look_at_content().await;
            self.probe().await;
            if ticks.checked_rem(SLOW_TICKS) == Some(0) {
                self.slow(own, names, ticks).await;
            }
            ticks = ticks.saturating_add(1);
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                _ = stopping.changed() => {}
            }
        }
        self.write_due(true).await;
    }

    /// Writes rows until none are due.
    async fn write_due(&self, is_last: bool) {
        loop {
            let rows = self.hosts.due(now_ms(), is_last);
            if rows.is_empty() {
                return;
            }
            if self.noted(self.store.put_seen(&rows).await).is_err() {
                self.hosts.not_written(&rows);
                return;
            }
            if rows.len() < WRITE_ROWS_MAX && !is_last {
                return;
            }
        }
    }

    /// A repository that was published anew is a new generation.
    pub(crate) async fn look_at_content(&self) {
        let what = self.content.published();
        let is_known = *self.published.lock().unwrap_or_else(PoisonError::into_inner) == what;
        if is_known || what.is_empty() {
            return;
        }
        let next = self.generation().saturating_add(1);
        if self.noted(self.store.set_generation(next, &what).await).is_ok() {
            *self.published.lock().unwrap_or_else(PoisonError::into_inner) = what;
            self.generation.send_replace(next);
        }
    }

    /// Whether there is room: nothing is accepted before the disk is full, and again once it is not.
    pub async fn probe(&self) {
        let why = match self.store_room() {
            Some(free_bytes) if free_bytes < self.settings.free_bytes_min => format!(
                "the disk of the state folder has {} MiB left, less than {}: make room, the server goes on by itself",
                free_bytes >> 20,
                self.settings.free_bytes_min >> 20
            ),
            _ if self.refusing().is_some() => match self.store.probe().await {
                Ok(()) => String::new(),
                Err(error) => error.to_string(),
            },
            _ => return,
        };
        *self.refusing.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Room on the disk of the state folder, where that can be told.
    fn store_room(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.state).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    async fn slow(&self, own: &OwnCertificate, names: &[SanType], ticks: u64) {
        let now_ms = now_ms();
        // One that fails leaves those that there are; what the disk refuses shows where something must be durable.
        let _ = backup::keep(self.store.as_ref(), &self.state.join("backups"), now_ms).await;
        let before_ms = now_ms.saturating_sub(self.settings.keep_records_ms);
        let _ = self.noted(self.store.prune_records(before_ms).await);
        let half_life_ticks = SERVER_LIFE_MS / 2 / 1000 / SLOW_TICKS * SLOW_TICKS;
        if ticks > 0 && ticks.checked_rem(half_life_ticks) == Some(0) {
            // A failure leaves the certificate that there is, which is good for as long again.
            let _ = own.change(&self.authority, names, now_ms);
        }
    }
}
