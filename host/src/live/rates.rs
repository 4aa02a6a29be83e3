//! Events a second by class over the last seconds.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use watertight_event::Class;

/// The classes of the status line, with their keys 1 to 4. What the sensor says of itself is always shown.
pub const CLASSES: [Class; 4] = [Class::Process, Class::File, Class::Network, Class::System];

/// Rates are over this many ticks of half a second: 2 s, short enough to follow and long enough to read.
const TICKS: usize = 4;

/// A shorter time says nothing: at the start what was there already comes at once.
const SPAN_MIN: Duration = Duration::from_millis(400);

/// Counts by class and their change.
pub struct Rates {
    counts: [u64; 4],
    alerts: u64,
    history: VecDeque<(Instant, [u64; 4])>,
    rates: [u64; 4],
}

impl Rates {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { counts: [0; 4], alerts: 0, history: VecDeque::from([(now, [0; 4])]), rates: [0; 4] }
    }

    /// One event more.
    pub fn count(&mut self, class: Class) {
        for (count, _) in self.counts.iter_mut().zip(CLASSES).filter(|(_, counted)| *counted == class) {
            *count = count.saturating_add(1);
        }
    }

    /// One alert more.
    pub fn count_alert(&mut self) {
        self.alerts = self.alerts.saturating_add(1);
    }

    /// Alerts since the start.
    #[must_use]
    pub fn alerts(&self) -> u64 {
        self.alerts
    }

    /// Events of all classes a second.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.rates.iter().fold(0, |sum, rate| sum.saturating_add(*rate))
    }

    /// Computes the rates anew.
    pub fn tick(&mut self, now: Instant) {
        self.history.push_back((now, self.counts));
        while self.history.len() > TICKS.saturating_add(1) {
            self.history.pop_front();
        }
        let Some((since, before)) = self.history.front() else { return };
        let span = now.saturating_duration_since(*since);
        if span < SPAN_MIN {
            return;
        }
        let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
        for ((rate, count), before) in self.rates.iter_mut().zip(self.counts).zip(before) {
            *rate = count.saturating_sub(*before).saturating_mul(1_000) / ms;
        }
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [process, file, network, system] = self.rates;
        write!(f, "proc {process} file {file} net {network} sys {system}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_moments_are_not_taken_for_a_rate() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        (0..9).for_each(|_| rates.count(Class::File));
        rates.tick(start + Duration::from_millis(2));
        assert_eq!(rates.total(), 0, "not 4,500 a second");
        rates.tick(start + Duration::from_millis(502));
        assert_eq!(rates.total(), 17, "they count in the first rate that is one");
    }

    #[test]
    fn rates_follow_the_last_two_seconds_only() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        for _ in 0..100 {
            rates.count(Class::File);
        }
        rates.tick(start + Duration::from_secs(1));
        assert_eq!(rates.total(), 100);
        assert_eq!(rates.to_string(), "proc 0 file 100 net 0 sys 0");
        for tick in 2..9 {
            rates.tick(start + Duration::from_millis(500 * tick));
        }
        assert_eq!(rates.to_string(), "proc 0 file 0 net 0 sys 0");
    }
}
