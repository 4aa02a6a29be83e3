//! Records that hosts lost in the last day, for the status.

use crate::store::Dropped;

/// Hosts that are named.
const NAMED_MAX: usize = 3;

/// What hosts lost.
#[derive(Debug, Default)]
pub(super) struct Losses(Vec<(String, Dropped)>);

impl Losses {
    /// A host and what it lost, which may be nothing.
    pub(super) fn note(&mut self, host: &str, dropped: Dropped) {
        if dropped.sum() > 0 {
            self.0.push((host.to_owned(), dropped));
        }
    }

    pub(super) fn hosts(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn records(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, dropped)| sum.saturating_add(dropped.sum()))
    }

    /// In a sentence that names those that lost the most.
    pub(super) fn because(mut self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        self.0.sort_by(|(a, of_a), (b, of_b)| of_b.sum().cmp(&of_a.sum()).then_with(|| a.cmp(b)));
        let others = Self(self.0.split_off(self.0.len().min(NAMED_MAX)));
        let named: Vec<_> = self.0.iter().map(|(host, lost)| format!("{} at host {host}", lost.in_words())).collect();
        let more = match others.hosts() {
            0 => String::new(),
            hosts => format!(", {} records at {hosts} more", others.records()),
        };
        Some(format!(
            "lost in the last 24 hours: {}{more}: the server was away or too slow, or the host had more to tell than one may, for longer \
             than its spool holds; nobody has these records, so look at the hosts themselves",
            named.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_lost_the_most_are_named_and_the_others_counted() {
        let mut losses = Losses::default();
        losses.note("h0", Dropped::default());
        assert_eq!((losses.hosts(), losses.records()), (0, 0));
        for (host, health, crash, alert) in
            [("h1", 0, 0, 7), ("h2", 1, 2, 65_071), ("h3", 0, 1, 0), ("h4", 2, 0, 0), ("h5", 1, 0, 0)]
        {
            losses.note(host, Dropped { health, crash, alert });
        }
        assert_eq!((losses.hosts(), losses.records()), (5, 65_085));
        let told = losses.because().expect("a sentence");
        let named = "lost in the last 24 hours: 2 crash records and 1 health record and 65071 alerts at host h2, 7 alerts at host h1, \
                     2 health records at host h4, 2 records at 2 more: the server was away or too slow";
        assert!(told.starts_with(named), "{told}");
        assert_eq!(Losses::default().because(), None);
    }
}
