//! Losses as events: each ring's, told as soon as the ring has been read empty and completed at the end from the kernel's own
//! count. The reader sees a loss as a gap in a processor's sequence, which shows only with that processor's next record.

use watertight_event::{Event, Field, Kind};
use watertight_sensor_abi::{Ring, HOOKS};

use crate::account::HookCounts;
use crate::output::sensor_event;

/// What has been told of each ring's losses.
#[derive(Debug, Default)]
pub struct Losses {
    told: [u64; Ring::ALL.len()],
}

impl Losses {
    /// Events for what is missing by now and was not told before.
    pub fn news(&mut self, missing: &[u64]) -> Vec<Event> {
        let mut events = Vec::new();
        for ((ring, told), missing) in Ring::ALL.iter().zip(&mut self.told).zip(missing) {
            let count = missing.saturating_sub(*told);
            if count > 0 {
                *told = *missing;
                events.push(event(*ring, count));
            }
        }
        events
    }
}

/// What the kernel lost of each ring, in the order of [`Ring::ALL`].
#[must_use]
pub fn by_ring(kernel: &[HookCounts]) -> [u64; Ring::ALL.len()] {
    let mut lost = [0_u64; Ring::ALL.len()];
    for (hook, counts) in HOOKS.iter().zip(kernel) {
        if let Some(lost) = lost.get_mut(hook.ring() as usize) {
            *lost = lost.saturating_add(counts.lost_ring_full);
        }
    }
    lost
}

/// The name of a ring in events and in the summary.
#[must_use]
pub fn name(ring: Ring) -> &'static str {
    match ring {
        Ring::Critical => "critical",
        Ring::File => "file",
        Ring::Net => "net",
    }
}

fn event(ring: Ring, count: u64) -> Event {
    let of = name(ring);
    let message = format!("{count} events were lost because the {of} ring was full");
    sensor_event(Kind::SensorLoss, of, &message).with(Field::Count, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(events: &[Event]) -> Vec<u64> {
        events.iter().filter_map(|event| event.number(Field::Count)).collect()
    }

    #[test]
    fn every_loss_is_told_once_and_the_end_tells_the_rest() {
        let mut losses = Losses::default();
        assert_eq!(counts(&losses.news(&[3, 0, 0])), [3]);
        assert_eq!(counts(&losses.news(&[3, 0, 0])), Vec::<u64>::new());
        assert_eq!(counts(&losses.news(&[5, 0, 2])), [2, 2]);
        let mut kernel = vec![HookCounts::default(); HOOKS.len()];
        for (hook, counts) in HOOKS.iter().zip(&mut kernel) {
            counts.lost_ring_full = if hook.ring() == Ring::Critical { 1 } else { 0 };
        }
        let critical = HOOKS.iter().filter(|hook| hook.ring() == Ring::Critical).count() as u64;
        assert_eq!(by_ring(&kernel), [critical, 0, 0]);
        assert_eq!(counts(&losses.news(&by_ring(&kernel))), [critical - 5]);
    }
}
