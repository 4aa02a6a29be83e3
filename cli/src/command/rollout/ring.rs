//! `watertight rollout ring NAME`: what a ring may begin, and when. It is said as a whole: what is not named is as if nothing had been said.

use anyhow::{bail, Context as _};
use serde_json::{json, Value};
use watertight_content_repo::time::Moment;

use super::api::ApiArgs;
use super::Form;

const HOUR_MS: u64 = 3_600_000;

/// A ring, and all that is said of it.
#[derive(Debug, clap::Args)]
pub(super) struct RingArgs {
    /// The ring.
    pub(super) ring: String,
    #[command(flatten)]
    pub(super) api: ApiArgs,
    /// Begin nothing for so many hours; `--note` says why.
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(1..=8_760), requires = "note")]
    pause_h: Option<u64>,
    /// Keep to this version; `--note` says why, `--pin-h` for how long.
    #[arg(long, value_name = "VERSION", requires_all = ["note", "pin_h"])]
    pin: Option<u64>,
    /// For so many hours.
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(1..=8_760), requires = "pin")]
    pin_h: Option<u64>,
    /// Why, for everybody who asks about a host of the ring.
    #[arg(long)]
    note: Option<String>,
    /// Begin a release so many hours after its signed earliest time.
    #[arg(long, value_name = "HOURS", default_value_t = 0)]
    delay_h: u32,
    /// Follow the release before the newest.
    #[arg(long)]
    one_behind: bool,
    /// Begin something new only in this part of each day, in UTC: `22:00-04:00`.
    #[arg(long, value_name = "FROM-TO", value_parser = window)]
    window: Option<[u32; 2]>,
    /// Why, for the audit log.
    #[arg(long)]
    pub(super) reason: String,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(super) output: Form,
}

impl RingArgs {
    /// What is sent.
    pub(super) fn body(&self) -> Value {
        let now_ms = u64::try_from(Moment::now().unix_s()).unwrap_or(0).saturating_mul(1_000);
        let until_ms = |hours: u64| now_ms.saturating_add(hours.saturating_mul(HOUR_MS));
        let exception = |hours: u64| json!({ "note": self.note, "until_ms": until_ms(hours) });
        let pin = self.pin.zip(self.pin_h);
        json!({ "reason": self.reason, "policy": {
            "delay_h": self.delay_h,
            "channel": if self.one_behind { "one_behind" } else { "newest" },
            "pause": self.pause_h.map(exception),
            "pin": pin.map(|(version, hours)| json!({ "version": version, "exception": exception(hours) })),
            "window": self.window.map(|[from, to]| json!({ "from_minute": from, "to_minute": to })),
        }})
    }
}

/// Two times of a day, in minutes of it.
fn window(text: &str) -> anyhow::Result<[u32; 2]> {
    let minute = |text: &str| -> anyhow::Result<u32> {
        let (hour, minute) = text.split_once(':').context("a time is 22:00")?;
        let (hour, minute): (u32, u32) = (hour.parse()?, minute.parse()?);
        if hour > 23 || minute > 59 {
            bail!("{text}: 00:00 to 23:59");
        }
        Ok(hour.saturating_mul(60).saturating_add(minute))
    };
    let (from, to) = text.split_once('-').context("two times: 22:00-04:00")?;
    Ok([minute(from)?, minute(to)?])
}

#[cfg(test)]
mod tests {
    use super::window;

    #[test]
    fn a_window_is_two_times_of_a_day() {
        assert_eq!(window("22:00-04:30").ok(), Some([1_320, 270]));
        for bad in ["22:00", "24:00-04:00", "22:60-04:00", "22-4", ""] {
            assert!(window(bad).is_err(), "{bad}");
        }
    }
}
