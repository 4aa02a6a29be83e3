//! `watertight crash chart`: crashes over time, as bars in the terminal or as a picture.

mod picture;

use std::io::Write;
use std::path::PathBuf;

use watertight_host::say::not_written;
use watertight_triage::store::Slot;

use super::{open_existing, time, Form, In, OK};

/// Bars of a chart, at most; more would not be told apart.
const BARS_MAX: usize = 400;

/// Letters of the longest bar.
const BAR_LETTERS: u64 = 50;

/// Show crashes over time, of one bucket or of all.
#[derive(Debug, clap::Args)]
pub(super) struct ChartArgs {
    #[command(flatten)]
    place: In,
    /// Length of a bar. Of a time that is too long for so many bars they are longer, and that is told.
    #[arg(long, value_enum, default_value = "hour")]
    by: Length,
    /// Write a picture there instead, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write a picture there instead, as PNG.
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// The bucket; without it all.
    bucket: Option<String>,
}

/// How much time a bar stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Length {
    Minute,
    Hour,
    Day,
}

/// Lengths of bars, in seconds, from the shortest.
const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 86_400;

impl Length {
    fn seconds(self) -> i64 {
        match self {
            Self::Minute => MINUTE_S,
            Self::Hour => HOUR_S,
            Self::Day => DAY_S,
        }
    }
}

/// The length of a bar at which so long a time has room: what was asked for, else the next longer, else some days. A chart that left out
/// its beginning would hide how an outage began.
fn fitting(asked_s: i64, span_s: i64) -> i64 {
    let bars_max = i64::try_from(BARS_MAX).unwrap_or(i64::MAX);
    // The first and the last bar may begin before the first crash and end behind the last.
    let inner = bars_max.saturating_sub(2).max(1);
    let has_room = |bar_s: &i64| *bar_s >= asked_s && span_s / bar_s <= inner;
    [MINUTE_S, HOUR_S, DAY_S].into_iter().find(has_room).unwrap_or_else(|| {
        let days = span_s / DAY_S;
        (days / inner).saturating_add(1).saturating_mul(DAY_S)
    })
}

/// A bar's length in words.
fn words(bar_s: i64) -> String {
    match bar_s {
        MINUTE_S => "a minute".to_owned(),
        HOUR_S => "an hour".to_owned(),
        DAY_S => "a day".to_owned(),
        _ => format!("{} days", bar_s / DAY_S),
    }
}

pub(super) fn run(args: &ChartArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let store = open_existing(&args.place.store)?;
    let (asked_s, bucket) = (args.by.seconds(), args.bucket.as_deref());
    let mut slots = store.chart(bucket, asked_s)?;
    let is_picture = args.svg.is_some() || args.png.is_some();
    if !is_picture && args.place.output != Form::Text {
        return super::lines(&slots, args.place.output, out, |_| String::new());
    }
    let span_s = slots.first().zip(slots.last()).map_or(0, |(first, last)| last.at_s.saturating_sub(first.at_s));
    let bar_s = fitting(asked_s, span_s);
    if bar_s != asked_s {
        slots = store.chart(bucket, bar_s)?;
        watertight_host::say!("watertight: a bar is {}: shorter ones would be more than {BARS_MAX}", words(bar_s));
    }
    let bars = filled(&slots, bar_s);
    if is_picture {
        picture::picture(&bars, &words(bar_s)).write(args.svg.as_deref(), args.png.as_deref())?;
        return Ok(OK);
    }
    let most = bars.iter().map(|bar| bar.crashes).max().unwrap_or(0).max(1);
    for bar in &bars {
        let letters = (bar.crashes.saturating_mul(BAR_LETTERS)).div_ceil(most);
        let bar_text = "#".repeat(usize::try_from(letters).unwrap_or(0));
        writeln!(out, "{}  {:>7} crashes {:>6} hosts  {bar_text}", time(bar.at_s), bar.crashes, bar.hosts)
            .map_err(not_written("the chart"))?;
    }
    Ok(OK)
}

/// The pieces of time with the empty ones between them.
fn filled(slots: &[Slot], slot_s: i64) -> Vec<Slot> {
    let (Some(first), Some(last)) = (slots.first(), slots.last()) else { return Vec::new() };
    let (mut at_s, mut bars) = (first.at_s, Vec::new());
    while at_s <= last.at_s && bars.len() < BARS_MAX {
        bars.push(slots.iter().find(|slot| slot.at_s == at_s).copied().unwrap_or(Slot { at_s, crashes: 0, hosts: 0 }));
        at_s = at_s.saturating_add(slot_s);
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_without_a_crash_are_bars_too() {
        let slot = |at_s, crashes| Slot { at_s, crashes, hosts: 1 };
        let bars = filled(&[slot(0, 2), slot(10_800, 4)], 3_600);
        assert_eq!(bars.iter().map(|bar| bar.crashes).collect::<Vec<_>>(), [2, 0, 0, 4]);
        let picture = picture::picture(&bars, "an hour").svg();
        assert!(picture.starts_with("<svg") && picture.matches(" crashes, ").count() == 8, "{picture}");
        assert!([1, 2, 3, 4].iter().all(|line| picture.contains(&format!(">{line}</text>"))), "{picture}");
        assert!(picture.contains("a bar is an hour"), "{picture}");
    }

    #[test]
    fn a_long_time_gets_longer_bars_and_no_crash_is_left_out() {
        assert_eq!(fitting(MINUTE_S, 6 * HOUR_S), MINUTE_S);
        assert_eq!(fitting(MINUTE_S, 23 * HOUR_S), HOUR_S);
        assert_eq!(fitting(HOUR_S, 30 * DAY_S), DAY_S);
        assert_eq!(fitting(DAY_S, 30 * DAY_S), DAY_S);
        for span_s in [0, 398 * MINUTE_S, 399 * MINUTE_S, 399 * HOUR_S, 401 * DAY_S, 5_000 * DAY_S, i64::MAX / 4] {
            for asked_s in [MINUTE_S, HOUR_S, DAY_S] {
                let bar_s = fitting(asked_s, span_s);
                // As the store cuts time: at whole multiples of a bar's length.
                let (first, last) = (-30, span_s - 30);
                let slot = |at_s: i64| Slot { at_s: at_s.div_euclid(bar_s) * bar_s, crashes: 1, hosts: 1 };
                let mut slots = vec![slot(first), slot(last)];
                slots.dedup_by_key(|slot| slot.at_s);
                let bars = filled(&slots, bar_s);
                let told: u64 = bars.iter().map(|bar| bar.crashes).sum();
                assert_eq!(told, u64::try_from(slots.len()).expect("small"), "{asked_s} {span_s} {bar_s}");
                assert!(bars.len() <= BARS_MAX, "{} bars", bars.len());
            }
        }
    }

    #[test]
    fn the_picture_of_pixels_shows_the_bars_where_the_other_has_them() {
        let bars = filled(&[Slot { at_s: 0, crashes: 4, hosts: 1 }], 3_600);
        let file = picture::picture(&bars, "an hour").png().expect("a picture");
        let mut reader = ::png::Decoder::new(std::io::Cursor::new(file)).read_info().expect("a picture");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a small picture")];
        let frame = reader.next_frame(&mut pixels).expect("its pixels");
        let count = |colour: [u8; 3]| pixels.chunks_exact(3).filter(|pixel| *pixel == colour).count();
        assert_eq!((frame.width, frame.height), (watertight_picture::WIDTH, watertight_picture::HEIGHT));
        // A bar of 40 by 224 pixels, a quarter of it dark.
        assert_eq!((count([0xc9, 0xa2, 0x27]), count([0x8c, 0x2f, 0x1b])), (40 * 168, 40 * 56));
        assert!(count([0, 0, 0]) > 100, "there are words");
    }
}
