//! `watertight rollout ring NAME`: what a ring may begin, and when. It is said as a whole: what is not named is as if nothing had been said.

use anyhow::{bail, Context as _};
use serde_json::{json, Value};
use watertight_fleet::plan::ring::{Channel, Exception, Exceptions, Pin, RingPolicy, Standing, Window};

use super::api::ApiArgs;
use super::words::now_ms;
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
    /// Why all that is said here, for everybody who asks about a host of the ring.
    #[arg(long)]
    note: Option<String>,
    /// Begin a release so many hours after its signed earliest time.
    #[arg(long, value_name = "HOURS")]
    delay_h: Option<u32>,
    /// That only for so many hours from now; `--note` says why.
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(1..=8_760), requires_all = ["note", "delay_h"])]
    delay_for_h: Option<u64>,
    /// Follow the release before the newest.
    #[arg(long)]
    one_behind: bool,
    /// That only for so many hours from now; `--note` says why.
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(1..=8_760), requires_all = ["note", "one_behind"])]
    one_behind_for_h: Option<u64>,
    /// Begin something new only in this part of each day, in UTC: `22:00-04:00`.
    #[arg(long, value_name = "FROM-TO", value_parser = window)]
    window: Option<[u32; 2]>,
    /// That only for so many hours from now; `--note` says why.
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(1..=8_760), requires_all = ["note", "window"])]
    window_for_h: Option<u64>,
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
        json!({ "reason": self.reason, "policy": self.policy(now_ms()) })
    }

    fn policy(&self, now_ms: u64) -> RingPolicy {
        let until_ms = |hours: u64| now_ms.saturating_add(hours.saturating_mul(HOUR_MS));
        let note = || self.note.clone().unwrap_or_default();
        let exception = |hours: u64| Exception { note: note(), until_ms: until_ms(hours) };
        // Without a note nothing is said of it: a server of the version before takes that too.
        let standing = |is_said: bool, hours: Option<u64>| {
            let note = self.note.clone().filter(|_| is_said)?;
            Some(Standing { note, until_ms: hours.map(until_ms) })
        };
        let delay_h = self.delay_h.unwrap_or(0);
        RingPolicy {
            delay_h,
            channel: if self.one_behind { Channel::OneBehind } else { Channel::Newest },
            pause: self.pause_h.map(exception),
            pin: self.pin.zip(self.pin_h).map(|(version, hours)| Pin { version, exception: exception(hours) }),
            window: self.window.map(|[from_minute, to_minute]| Window { from_minute, to_minute }),
            audit_first: false,
            exceptions: Exceptions {
                delay: standing(delay_h > 0, self.delay_for_h),
                one_behind: standing(self.one_behind, self.one_behind_for_h),
                window: standing(self.window.is_some(), self.window_for_h),
                audit_first: None,
            },
        }
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
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Said {
        #[command(flatten)]
        ring: RingArgs,
    }

    fn said(words: &str) -> Result<RingPolicy, clap::Error> {
        let of_all = "x early --server s --ca c --token-file t --reason r";
        let words = of_all.split(' ').chain(words.split(' ').filter(|word| !word.is_empty()));
        Said::try_parse_from(words).map(|said| said.ring.policy(1_000))
    }

    #[test]
    fn a_note_is_of_all_that_is_said_and_each_may_have_its_end() {
        let until_ms = Some(1_000 + 9 * HOUR_MS);
        let note = |until_ms| Some(Standing { note: "disks".into(), until_ms });
        let policy =
            said("--delay-h 48 --delay-for-h 9 --one-behind --window 22:00-04:00 --note disks").expect("a policy");
        assert_eq!((policy.delay_h, policy.channel), (48, Channel::OneBehind));
        let exceptions =
            Exceptions { delay: note(until_ms), one_behind: note(None), window: note(None), audit_first: None };
        assert_eq!(policy.exceptions, exceptions);
        assert_eq!(policy.check(1_000), Ok(()));
        let paused = said("--pause-h 9 --note disks").expect("a policy");
        assert_eq!(paused.pause.map(|pause| (pause.note, Some(pause.until_ms))), Some(("disks".to_owned(), until_ms)));
        assert_eq!(paused.exceptions, Exceptions::default());
    }

    #[test]
    fn what_was_said_before_there_were_notes_is_said_the_same() {
        let policy = said("--delay-h 48 --one-behind --window 22:00-04:00").expect("a policy");
        let window = Some(Window { from_minute: 1_320, to_minute: 240 });
        let before = RingPolicy { delay_h: 48, channel: Channel::OneBehind, window, ..RingPolicy::default() };
        assert_eq!(policy, before);
        assert_eq!(said("").expect("a policy"), RingPolicy::default());
    }

    #[test]
    fn an_end_needs_a_note_and_what_it_is_the_end_of() {
        for bad in [
            "--delay-for-h 9 --note x",
            "--delay-h 4 --delay-for-h 9",
            "--one-behind-for-h 9 --note x",
            "--window-for-h 9 --note x",
        ] {
            assert!(said(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_window_is_two_times_of_a_day() {
        assert_eq!(window("22:00-04:30").ok(), Some([1_320, 270]));
        for bad in ["22:00", "24:00-04:00", "22:60-04:00", "22-4", ""] {
            assert!(window(bad).is_err(), "{bad}");
        }
    }
}
