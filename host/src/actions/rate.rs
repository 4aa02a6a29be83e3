//! How many processes may be killed within a minute. A rule that is wrong about a machine is wrong about all of it: it gets as far as
//! this, and the machine goes on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most kills within a minute. An attack is a few processes; a mistake is hundreds.
pub const KILLS_A_MINUTE_MAX: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);

/// The kills of the last minute.
#[derive(Debug, Default)]
pub struct Rate {
    kills: VecDeque<Instant>,
    has_refused: bool,
}

impl Rate {
    /// Whether another one may be killed.
    pub fn has_room(&mut self, now: Instant) -> bool {
        while self.kills.front().is_some_and(|kill| now.saturating_duration_since(*kill) >= MINUTE) {
            self.kills.pop_front();
        }
        let has_room = self.kills.len() < KILLS_A_MINUTE_MAX;
        self.has_refused &= !has_room;
        has_room
    }

    /// Whether nobody was told yet that there is no room.
    pub fn is_first_refusal(&mut self) -> bool {
        !std::mem::replace(&mut self.has_refused, true)
    }

    /// One was killed.
    pub fn note(&mut self, now: Instant) {
        self.kills.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_room_for_so_many_and_the_next_one_again_and_each_is_told_once() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        for minute in 0..2 {
            let now = start + MINUTE * minute;
            for kill in 0..KILLS_A_MINUTE_MAX {
                assert!(rate.has_room(now), "kill {kill} of minute {minute}");
                rate.note(now);
            }
            assert!(!rate.has_room(now) && rate.is_first_refusal() && !rate.is_first_refusal());
        }
    }
}
