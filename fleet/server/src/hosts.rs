//! All hosts, in memory: a steady check-in reads no database, and is written at most once a minute.
//!
//! What is here and not yet on disk may be lost with the server; nothing of it is a promise. The next check-in brings it back: a host
//! whose state digest the server does not have is asked for all of it.

mod lost;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;
use watertight_fleet::gate::Thresholds;
use watertight_fleet_wire::checkin::{Leave, State};
use watertight_fleet_wire::{CheckIn, CheckInAnswer, Code};

use crate::admission::Admission;
use crate::authority::HOST_LIFE_MS;
use crate::store::{Down, DroppedRow, HostRow, Seen, SeenRow};
use crate::tls::Shown;

pub use lost::Lost;

/// A host's row is written no more often.
pub const WRITE_EVERY_MS: u64 = 60_000;
/// Rows of one change.
pub const WRITE_ROWS_MAX: usize = 500;
/// So often a start of the agent speaks again that another had followed: several agents with one identity. Twice can be one message that
/// was on its way when the agent was started anew.
const TURNS_OF_A_CLONE: u8 = 3;
/// What was sent before the word that the host goes down has come within this time.
const LAST_WORDS_MS: u64 = 30_000;
/// Within this time: two check-ins of the slowest fleet are within it.
const TURNS_WITHIN_MS: u64 = 3_600_000;
/// So many machines of one image take turns at most before the first comes back.
const INSTANCES_KEPT: usize = 16;

/// A host whose word is wanted comes back no sooner than this, and within so much after its time.
const WANTED_MS_MIN: u64 = 100;
const WANTED_JITTER_MS: u64 = 2_000;
/// Requests a second of one host, and at once: far more than an agent makes, and a small part of what the server can do.
const HOST_PER_S_MAX: f64 = 100.0;
const HOST_AT_ONCE_MAX: f64 = 200.0;
/// Bytes of records of one host that are stored: at once all that an agent's three spools hold, and more than once over; in a day ten times
/// what an ordinary one has. One that runs wild fills nobody's disk; its spool counts what it drops.
const RECORDS_AT_ONCE_BYTES_MAX: f64 = 64.0 * 1024.0 * 1024.0;
const RECORDS_PER_S_BYTES_MAX: f64 = 64.0 * 1024.0 * 1024.0 / 86_400.0;

/// A host, and what is only known since the server runs.
#[derive(Debug, Default)]
pub struct Host {
    /// As it is stored.
    pub row: HostRow,
    /// What is stored of its state is what it last said. Not after a start of the server, until the host says so: the row may be a minute old.
    pub is_state_known: bool,
    /// Starts of the agent before this one, the newest last.
    instances_before: VecDeque<String>,
    /// How often a start came back that another had followed, and when the last did.
    turns: u8,
    turned_ms: u64,
    /// When its word is wanted, because a watch ends then: it is asked to come no later.
    pub wanted_ms: u64,
    /// What it told as lost.
    pub lost: Lost,
    is_to_write: bool,
    written_ms: u64,
    turns_left: Option<Admission>,
    records_left: Option<Admission>,
}

/// A host that is shared by its connections.
#[derive(Debug, Default)]
pub struct HostCell {
    host: Mutex<Host>,
    /// Wakes what is held for the host when it is revoked.
    ending: Notify,
}

impl HostCell {
    /// The host, for as long as the answer is kept; nothing waits meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, Host> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Revokes the host, from this moment on. Once is enough.
    pub fn revoke(&self, at_ms: u64) {
        self.lock().row.revoked_ms.get_or_insert(at_ms);
        self.ending.notify_waiters();
    }

    /// Comes back when the host is revoked.
    pub async fn revoked(&self) {
        let told = self.ending.notified(); // from here on it is told, whenever it is waited for
        if self.lock().row.revoked_ms.is_none() {
            told.await;
        }
    }
}

/// How the server paces hosts.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The next check-in is due after this,
    pub interval_ms: u64,
    /// and a random part of this.
    pub jitter_ms: u64,
}

impl Pace {
    /// The longest time from one check-in to the next.
    #[must_use]
    pub fn usual_ms(self) -> u64 {
        self.interval_ms.saturating_add(self.jitter_ms)
    }
}

/// What a request of a host comes to.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard {
    /// What it is told.
    pub answer: CheckInAnswer,
    /// It is now known that there are two of it.
    pub is_newly_cloned: bool,
}

/// Why nothing is heard of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It did not keep its promise.
    Silent,
    /// It said that it reboots, and its time for that is not over.
    Reboots,
    /// It is over.
    NotBack,
    /// It was shut down in good order.
    Off,
}

impl Absence {
    /// What a host does or is then.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Silent => "is silent",
            Self::Reboots => "reboots",
            Self::NotBack => "is not back after a reboot",
            Self::Off => "was shut down",
        }
    }
}

impl Host {
    /// Takes one of the host's own turns, so that one that runs wild takes none of the others'.
    ///
    /// # Errors
    /// There is none: come again after this time, in milliseconds.
    pub fn take_turn(&mut self, now_ms: u64) -> Result<(), u64> {
        self.turns_left.get_or_insert_with(|| Admission::new(HOST_PER_S_MAX, HOST_AT_ONCE_MAX)).take(now_ms)
    }

    /// What the host may still deliver: to be asked before a batch, and told of it afterwards.
    pub fn records_left(&mut self) -> &Admission {
        self.records_left.get_or_insert_with(|| Admission::new(RECORDS_PER_S_BYTES_MAX, RECORDS_AT_ONCE_BYTES_MAX))
    }

    /// Whether the certificate that was shown still counts.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&mut self, shown: &Shown, now_ms: u64) -> Result<(), Code> {
        if self.row.revoked_ms.is_some() {
            return Err(Code::Revoked);
        }
        if self.row.serial == shown.serial {
            self.row.serial_before = None; // the newer one arrived: the older is done with
        } else if self.row.serial_before.as_ref() != Some(&shown.serial) {
            return Err(Code::Unauthenticated);
        }
        if shown.is_good(now_ms) {
            Ok(())
        } else {
            Err(Code::Expired)
        }
    }

    /// Takes a check-in of a host that was admitted.
    pub fn check_in(&mut self, shown: &Shown, told: CheckIn, generation: u64, pace: Pace, now_ms: u64) -> Heard {
        let pace = self.pace(pace, now_ms);
        let mut answer = CheckInAnswer {
            generation,
            interval_ms: pace.interval_ms,
            jitter_ms: pace.jitter_ms,
            clock_ms: now_ms,
            need_full_state: false,
            renew: now_ms.saturating_add(HOST_LIFE_MS / 2) >= shown.not_after_ms,
        };
        let is_newly_cloned = self.note_instance(&told.instance, now_ms);
        let seen = &mut self.row.seen;
        let is_late = told.instance == seen.instance && told.sequence <= seen.sequence;
        if is_late {
            // One that was overtaken, or is sent again: it changes nothing, and what it says is old.
            answer.need_full_state = told.state_hash != seen.state_hash;
            return Heard { answer, is_newly_cloned };
        }
        // What the agent that went down had sent before comes too late to mean that it is back. One that goes on speaking did not go.
        let is_another = told.instance != seen.instance || told.boot != seen.boot;
        let is_back = is_another || seen.down.as_ref().is_some_and(|down| now_ms.abs_diff(down.at_ms) > LAST_WORDS_MS);
        seen.down = seen.down.take().filter(|_| !is_back);
        self.is_state_known = take_state(seen, &told);
        answer.need_full_state = !self.is_state_known;
        seen.sequence = told.sequence;
        seen.instance = told.instance;
        seen.boot = told.boot;
        seen.generation = told.generation;
        seen.clock_ahead_ms = ahead_ms(told.clock_ms, now_ms);
        seen.last_seen_ms = now_ms;
        seen.promised_ms = now_ms.saturating_add(pace.usual_ms());
        Heard { answer, is_newly_cloned }
    }

    /// The usual pace, or one that brings the host back when its word is wanted.
    fn pace(&self, usual: Pace, now_ms: u64) -> Pace {
        match self.wanted_ms.saturating_sub(now_ms) {
            left_ms if left_ms > 0 && left_ms < usual.interval_ms => {
                Pace { interval_ms: left_ms.max(WANTED_MS_MIN), jitter_ms: usual.jitter_ms.min(WANTED_JITTER_MS) }
            }
            _ => usual,
        }
    }

    /// Whether agents take turns, two or more: each of their starts comes back after another.
    fn note_instance(&mut self, instance: &str, now_ms: u64) -> bool {
        let now = &self.row.seen.instance;
        if instance == now || now.is_empty() {
            return false;
        }
        if let Some(at) = self.instances_before.iter().position(|before| before == instance) {
            self.instances_before.remove(at);
            // A message that was overtaken now and then adds up to nothing.
            let is_long_ago = now_ms.abs_diff(self.turned_ms) > TURNS_WITHIN_MS;
            self.turns = if is_long_ago { 1 } else { self.turns.saturating_add(1) };
            self.turned_ms = now_ms;
        }
        self.instances_before.push_back(now.clone());
        if self.instances_before.len() > INSTANCES_KEPT {
            self.instances_before.pop_front();
        }
        let is_newly_cloned = self.turns >= TURNS_OF_A_CLONE && self.row.cloned_ms.is_none();
        if is_newly_cloned {
            self.row.cloned_ms = Some(now_ms);
        }
        is_newly_cloned
    }

    /// Notes that the host goes down, unless it is another boot of its that does.
    pub fn go_down(&mut self, told: &Leave, now_ms: u64) {
        let seen = &mut self.row.seen;
        if seen.boot.is_empty() || seen.boot == told.boot {
            seen.down = Some(Down { at_ms: now_ms, is_reboot: told.is_reboot });
        }
    }

    /// Why nothing is heard of it by its own promise, for people: whether the server could hear it is not looked at.
    #[must_use]
    pub fn absence_by_its_promise(&self, now_ms: u64) -> Option<Absence> {
        self.absence(now_ms, self.row.seen.promised_ms, 0, &Thresholds::default())
    }

    /// Why nothing is heard of it, if it is not there. `awake_ms`: since when the server could hear hosts.
    #[must_use]
    pub fn absence(&self, now_ms: u64, due_ms: u64, awake_ms: u64, thresholds: &Thresholds) -> Option<Absence> {
        match &self.row.seen.down {
            Some(Down { is_reboot: false, .. }) => Some(Absence::Off),
            Some(Down { at_ms, is_reboot: true }) => {
                // A moment that is still to come is of another clock.
                let since_ms = if *at_ms > now_ms { awake_ms } else { awake_ms.max(*at_ms) };
                let back_ms = since_ms.saturating_add(thresholds.back_after_reboot_ms);
                Some(if now_ms > back_ms { Absence::NotBack } else { Absence::Reboots })
            }
            None if now_ms > due_ms.saturating_add(thresholds.silence_after_promise_ms) => Some(Absence::Silent),
            None => None,
        }
    }
}

/// Whether the state's digest is that of what is now known.
fn take_state(seen: &mut Seen, told: &CheckIn) -> bool {
    let Some(changed) = &told.changed else { return told.state_hash == seen.state_hash };
    match &told.base_hash {
        None => seen.state = changed.clone(),
        Some(base) if *base == seen.state_hash => merge(&mut seen.state, changed),
        Some(_) => return false,
    }
    seen.state_hash.clone_from(&told.state_hash);
    true
}

fn merge(state: &mut State, changed: &State) {
    fn take<T: Clone>(old: &mut Option<T>, new: &Option<T>) {
        if new.is_some() {
            old.clone_from(new);
        }
    }
    take(&mut state.host, &changed.host);
    take(&mut state.content, &changed.content);
    take(&mut state.protection, &changed.protection);
}

fn ahead_ms(clock_ms: u64, now_ms: u64) -> i64 {
    let distance = i64::try_from(clock_ms.abs_diff(now_ms)).unwrap_or(i64::MAX);
    if clock_ms >= now_ms {
        distance
    } else {
        distance.saturating_neg()
    }
}

/// All hosts.
#[derive(Debug, Default)]
pub struct Hosts {
    by_id: RwLock<HashMap<String, Arc<HostCell>>>,
    to_write: Mutex<Vec<Arc<HostCell>>>,
}

impl Hosts {
    /// Those that are stored.
    #[must_use]
    pub fn new(rows: Vec<HostRow>) -> Self {
        let hosts = Self::default();
        for row in rows {
            hosts.put(row);
        }
        hosts
    }

    /// Takes in what they told as lost before: since they were enrolled, and by the hour.
    pub fn have_lost(&self, ever: &[DroppedRow], by_hour: &[(u64, DroppedRow)]) {
        for row in ever {
            if let Some(cell) = self.get(&row.host) {
                cell.lock().lost.add_ever(row.stream, row.records);
            }
        }
        for (hour_ms, row) in by_hour {
            if let Some(cell) = self.get(&row.host) {
                cell.lock().lost.add_hour(row.stream, row.records, *hour_ms);
            }
        }
    }

    /// A host by its id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<HostCell>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Takes a host in, or what is new of one that is there: connections that hold it see it at once.
    pub fn put(&self, row: HostRow) {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = by_id.get(&row.id) {
            let mut host = cell.lock();
            (host.row.serial, host.row.serial_before) = (row.serial, row.serial_before);
            host.row.not_after_ms = row.not_after_ms;
            return;
        }
        by_id.insert(
            row.id.clone(),
            Arc::new(HostCell { host: Mutex::new(Host { row, ..Host::default() }), ..HostCell::default() }),
        );
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<HostCell>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that a host's row is to be written.
    pub fn changed(&self, cell: &Arc<HostCell>, host: &mut Host) {
        if !std::mem::replace(&mut host.is_to_write, true) {
            self.to_write.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(cell));
        }
    }

    /// Rows that are due, at most `WRITE_ROWS_MAX`; with `is_last` all that have changed are.
    pub fn due(&self, now_ms: u64, is_last: bool) -> Vec<SeenRow> {
        // Taken out first: a check-in locks its host and then this list, so nobody may do it the other way round.
        let mut cells = std::mem::take(&mut *self.to_write.lock().unwrap_or_else(PoisonError::into_inner));
        let mut rows = Vec::new();
        cells.retain(|cell| {
            let mut host = cell.lock();
            let is_due = is_last || now_ms.abs_diff(host.written_ms) >= WRITE_EVERY_MS;
            if !is_due || rows.len() >= WRITE_ROWS_MAX {
                return true;
            }
            host.written_ms = now_ms;
            host.is_to_write = false;
            rows.push(SeenRow { host: host.row.id.clone(), seen: host.row.seen.clone() });
            false
        });
        self.to_write.lock().unwrap_or_else(PoisonError::into_inner).append(&mut cells);
        rows
    }

    /// Takes rows back that could not be written: they stay due.
    pub fn not_written(&self, rows: &[SeenRow]) {
        for row in rows {
            if let Some(cell) = self.get(&row.host) {
                let mut host = cell.lock();
                host.written_ms = 0;
                self.changed(&cell, &mut host);
            }
        }
    }
}

#[cfg(test)]
mod tests;
