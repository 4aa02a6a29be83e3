//! What the kernel side counted by process because a ring was nearly full, and that it did: told as events.
//!
//! The supervisor looks at every beat. What it has to tell waits here while the detector does not read: nothing may make the
//! supervisor wait, and it takes from the kernel only what it has room for. The pressure ends with the first operation after
//! the ring has been read down to its half: before that nothing is counted either.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use watertight_event::{Event, Field, Kind};
use watertight_sensor_abi::Ring;
use watertight_sensor_reader::{Aggregate, Aggregates, MapError, ProcessIds};

use crate::output::{boot_ns_now, sensor_event};

/// How often counts are told while the pressure lasts: one event for each process and hook in that time.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How long after a ring's pressure counts are still looked for: a program that had begun may count after its end.
const LATE_COUNTS: Duration = Duration::from_secs(1);
/// Pairs of process and hook that wait to be told. Above, the counts stay in the kernel, which has a bound of its own.
const WAITING_MAX: usize = 16_384;

/// Rings whose hooks can count.
const RINGS: [Ring; 2] = [Ring::File, Ring::Net];

/// The counts on their way from the kernel to the detector.
pub struct Pressure {
    kernel: Aggregates,
    ids: ProcessIds,
    waiting: HashMap<(u16, u32, u64), Aggregate>,
    modes: [Mode; RINGS.len()],
    told: Instant,
    /// When a ring was last seen to be under pressure. At the start: an earlier run may have left counts.
    pressed: Instant,
}

/// What was told of a ring.
#[derive(Clone, Copy, Default)]
struct Mode {
    is_counting: bool,
    times: u64,
}

impl Pressure {
    /// Opens the counting side of a build.
    ///
    /// # Errors
    /// A pin is not there.
    pub fn open(directory: &Path, boot_id: &str) -> Result<Self, MapError> {
        let kernel = Aggregates::open(directory)?;
        let mut modes = [Mode::default(); RINGS.len()];
        for (ring, mode) in RINGS.into_iter().zip(&mut modes) {
            // What ended before this run began is not told; what still lasts is.
            let state = kernel.pressure(ring)?;
            mode.times = state.times.saturating_sub(state.is_counting);
        }
        Ok(Self {
            kernel,
            ids: ProcessIds::new(boot_id),
            waiting: HashMap::new(),
            modes,
            told: Instant::now(),
            pressed: Instant::now(),
        })
    }

    /// What is to be told now: changes of the mode at once, counts when the pressure ended or has lasted for a while.
    ///
    /// # Errors
    /// A map can't be read.
    pub fn look(&mut self) -> Result<Vec<Event>, MapError> {
        let mut events = Vec::new();
        let has_ended = self.note_modes(&mut events)?;
        if self.pressed.elapsed() < LATE_COUNTS && self.waiting.len() < WAITING_MAX {
            self.take()?;
        }
        if has_ended || self.told.elapsed() >= TELL_EVERY {
            self.tell(&mut events);
        }
        Ok(events)
    }

    /// Everything that is left. The programs are gone.
    ///
    /// # Errors
    /// A map can't be read.
    pub fn finish(&mut self) -> Result<Vec<Event>, MapError> {
        let mut events = Vec::new();
        self.note_modes(&mut events)?;
        self.take()?;
        self.tell(&mut events);
        Ok(events)
    }

    fn take(&mut self) -> Result<(), MapError> {
        let waiting = &mut self.waiting;
        self.kernel.take(&mut |aggregate| add(waiting, aggregate))
    }

    fn tell(&mut self, events: &mut Vec<Event>) {
        self.told = Instant::now();
        let now = boot_ns_now();
        let ids = &mut self.ids;
        events.extend(self.waiting.drain().map(|(_, aggregate)| aggregate.event(ids, now)));
    }

    /// Tells changes since the last look, and whether a ring's pressure ended.
    fn note_modes(&mut self, events: &mut Vec<Event>) -> Result<bool, MapError> {
        let mut has_ended = false;
        for (ring, mode) in RINGS.into_iter().zip(&mut self.modes) {
            let state = self.kernel.pressure(ring)?;
            let is_counting = state.is_counting != 0;
            let began = state.times.saturating_sub(mode.times);
            if began > 0 {
                events.push(mode_event(
                    ring,
                    "counted by process from here on: the ring is over 75 % full",
                    began,
                    state.began_ns,
                ));
            }
            let ended = (began > 0 || mode.is_counting) && !is_counting;
            if ended {
                events.push(mode_event(
                    ring,
                    "reported one by one again: the ring is below 50 %",
                    began,
                    state.ended_ns,
                ));
            }
            has_ended |= ended;
            if is_counting || ended {
                self.pressed = Instant::now();
            }
            *mode = Mode { is_counting, times: state.times };
        }
        Ok(has_ended)
    }
}

fn add(waiting: &mut HashMap<(u16, u32, u64), Aggregate>, aggregate: Aggregate) {
    let process = aggregate.process.unwrap_or_default();
    let key = (aggregate.hook as u16, process.pid, process.start_ns);
    let slot = waiting.entry(key).or_insert(Aggregate { count: 0, ..aggregate });
    slot.count = slot.count.saturating_add(aggregate.count);
}

fn mode_event(ring: Ring, what: &str, times: u64, boot_ns: u64) -> Event {
    let mut message = format!("operations of {} are {what}", ring.map_name());
    if times > 1 {
        message.push_str(&format!(" ({times} times since the last look)"));
    }
    let mut event = sensor_event(Kind::SensorMode, ring.map_name(), &message);
    event.boot_ns = boot_ns;
    event.set(Field::Count, times.max(1));
    event
}

#[cfg(test)]
mod tests {
    use watertight_sensor_abi::{Hook, Process};

    use super::*;

    #[test]
    fn counts_of_one_process_and_hook_are_joined_and_others_kept_apart() {
        let one = |pid, hook, count| Aggregate { hook, process: Some(Process { pid, ..Process::default() }), count };
        let mut waiting = HashMap::new();
        add(&mut waiting, one(7, Hook::FileOpen, 2));
        add(&mut waiting, one(7, Hook::FileOpen, 3));
        add(&mut waiting, one(7, Hook::FileUnlink, 1));
        add(&mut waiting, one(8, Hook::FileOpen, 1));
        let mut counts: Vec<_> = waiting.values().map(|aggregate| aggregate.count).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 1, 5]);
    }
}
