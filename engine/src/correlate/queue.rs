//! What was found and not judged yet, in the order of event time: events of several sources come in turns, so that a cause may be
//! read after its effect. The room is reserved once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Given;

/// Most that wait. What a machine does within the time that its sources are apart is less.
const WAITING_MAX: usize = 4096;

/// Time, which event, stage and place of something found.
type Turn = (u64, u64, Reverse<u32>, usize);

/// Found, by time; at one time in the order in which events came, of one event the later stages first: else an event that is two
/// stages of a sequence would take the place of the beginning that it completes.
#[derive(Debug)]
pub(super) struct Queue {
    order: BinaryHeap<Reverse<Turn>>,
    found: Vec<Given>,
    free: Vec<usize>,
    events: u64,
    /// The number of the last event.
    last: u64,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            order: BinaryHeap::with_capacity(WAITING_MAX),
            found: Vec::with_capacity(WAITING_MAX),
            free: Vec::with_capacity(WAITING_MAX),
            events: 0,
            last: 0,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.order.len() >= WAITING_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn push(&mut self, given: Given) {
        let time_ns = given.moment.time_ns;
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(freed) = self.found.get_mut(place) {
                    *freed = given;
                }
                place
            }
            None => {
                self.found.push(given);
                self.found.len().saturating_sub(1)
            }
        };
        if self.last != given.moment.number {
            self.last = given.moment.number;
            self.events = self.events.wrapping_add(1);
        }
        self.order.push(Reverse((time_ns, self.events, Reverse(given.stage), place)));
    }

    /// The first, if it is of that time or before.
    pub(super) fn pop_until(&mut self, now_ns: u64) -> Option<Given> {
        let Reverse((time_ns, ..)) = *self.order.peek()?;
        if time_ns > now_ns {
            return None;
        }
        let Reverse((.., place)) = self.order.pop()?;
        self.free.push(place);
        self.found.get(place).copied()
    }
}
