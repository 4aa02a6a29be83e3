//! What a bucket is associated with: releases, content versions, builds that its machines have more often than the others.
//!
//! Association is not cause: two releases that went out together look alike. So a ratio comes with its interval, and the words say
//! "associated with".

use serde::Serialize;

use super::{Store, StoreError};

/// Columns that are compared.
pub const DIMENSIONS: [&str; 3] = ["release", "content", "os_build"];

/// Quantile of the normal distribution for an interval of 95 %.
const Z: f64 = 1.96;

/// Values of a dimension that are shown.
const VALUES_MAX: usize = 3;

/// A value that a bucket's machines have more often than the others that reported.
#[derive(Clone, Debug, Serialize)]
pub struct Associated {
    /// Which dimension.
    pub dimension: &'static str,
    /// Which value.
    pub value: String,
    /// Machines of the bucket with it.
    pub hosts: u64,
    /// Machines of the bucket.
    pub of: u64,
    /// Share among the bucket's machines divided by the share among machines that reported other crashes.
    pub lift: f64,
    /// The interval of that ratio, 95 %.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// How many machines may be affected, when only some report.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Estimate {
    /// Machines that reported.
    pub reported: u64,
    /// The estimate.
    pub affected: f64,
    /// Its interval, 95 %.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Estimate {
    /// From machines that reported, when `reporting` of `asked` machines are known to send what crashes. Assumes that those that
    /// crashed report as often as those asked, which a machine that can't boot does not.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // counts of machines
    pub fn of(reported: u64, reporting: u64, asked: u64) -> Option<Self> {
        if asked == 0 || reporting == 0 || reporting > asked {
            return None;
        }
        let (n, share) = (asked as f64, reporting as f64 / asked as f64);
        // Wilson's interval: it stays within 0 and 1 for few machines too.
        let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt() / (1.0 + Z * Z / n);
        let (share_low, share_high) = ((middle - half).max(f64::MIN_POSITIVE), (middle + half).min(1.0));
        // Which machines report is chance too: each end is that of the number of machines at that end of the share.
        let (low, high) = (affected(reported as f64, share_high).0, affected(reported as f64, share_low).1);
        Some(Self { reported, affected: reported as f64 / share, low: low.max(reported as f64), high })
    }
}

/// How many machines there can be when so many of them report and each does by that chance: where the number that reports is no further from
/// what is to be expected than chance allows.
fn affected(reported: f64, share: f64) -> (f64, f64) {
    let spread = Z * (share * (1.0 - share)).sqrt();
    let root = (spread * spread + 4.0 * share * reported).sqrt();
    let of = |sum: f64| (sum / (2.0 * share)).powi(2);
    (of(root - spread), of(root + spread))
}

impl Store {
    /// What the bucket is associated with, each dimension's highest lifts first. Machines that reported other crashes are compared
    /// with; of those that reported none the store knows nothing.
    ///
    /// # Errors
    /// When the bucket is not there or the file can't be read.
    pub fn associated(&self, named: &str) -> Result<Vec<Associated>, StoreError> {
        let id = self.bucket_id(named)?;
        let mut found = Vec::new();
        for dimension in DIMENSIONS {
            let mut query = self.connection.prepare(&format!(
                "WITH mine AS (SELECT DISTINCT host, {dimension} AS value FROM crash WHERE bucket = ?1),
                      others AS (SELECT DISTINCT host, {dimension} AS value FROM crash WHERE host NOT IN (SELECT host FROM mine))
                 SELECT value, count(DISTINCT host), (SELECT count(DISTINCT host) FROM mine),
                        (SELECT count(DISTINCT host) FROM others o WHERE o.value = m.value), (SELECT count(DISTINCT host) FROM others)
                 FROM mine m WHERE value <> '' GROUP BY value"
            ))?;
            let rows = query.query_map([&id], |row| {
                let counts: [u64; 4] = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
                Ok((row.get::<_, String>(0)?, counts))
            })?;
            let mut values = Vec::new();
            for row in rows {
                let (value, [hosts, of, other_hosts, others]) = row?;
                let (lift, low, high) = ratio(hosts, of, other_hosts, others);
                values.push(Associated { dimension, value, hosts, of, lift, low, high });
            }
            values.sort_by(|one, other| other.low.total_cmp(&one.low));
            values.truncate(VALUES_MAX);
            found.extend(values);
        }
        Ok(found)
    }
}

/// The ratio of two shares with its interval (Katz, on the logarithm). Half a machine is added to each count, so that a value that no
/// other machine has gives a large ratio with a wide interval instead of an infinite one.
#[allow(clippy::cast_precision_loss)] // counts of machines
fn ratio(hosts: u64, of: u64, other_hosts: u64, others: u64) -> (f64, f64, f64) {
    let add = |count: u64, half: f64| count as f64 + half;
    let (a, n, b, m) = (add(hosts, 0.5), add(of, 1.0), add(other_hosts, 0.5), add(others, 1.0));
    let lift = (a / n) / (b / m);
    let error = (1.0 / a - 1.0 / n + 1.0 / b - 1.0 / m).max(0.0).sqrt();
    (lift, lift * (-Z * error).exp(), lift * (Z * error).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_of_equal_shares_is_one_and_its_interval_holds_one() {
        let (lift, low, high) = ratio(50, 100, 500, 1000);
        assert!((lift - 1.0).abs() < 0.02 && low < 1.0 && high > 1.0, "{lift} {low} {high}");
        let (_, low, _) = ratio(99, 100, 10, 1000);
        assert!(low > 10.0, "{low}");
    }

    #[test]
    fn an_estimate_says_between_what_it_lies() {
        let estimate = Estimate::of(40, 25, 100).expect("some report");
        assert!((estimate.affected - 160.0).abs() < 1e-9);
        assert!(estimate.low < 160.0 && estimate.high > 160.0 && estimate.low >= 40.0, "{estimate:?}");
        // One machine that reports says little of how many there are, however well the share is known.
        let one = Estimate::of(1, 25_000, 100_000).expect("some report");
        assert!(one.low <= 2.0 && one.high > 15.0, "{one:?}");
        let all = Estimate::of(40, 100_000, 100_000).expect("all report");
        assert!((all.low - 40.0).abs() < 1e-9 && all.high < 41.0, "{all:?}");
        assert!(Estimate::of(40, 0, 100).is_none() && Estimate::of(40, 101, 100).is_none());
    }
}
