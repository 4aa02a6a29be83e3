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
    /// Length of a bar.
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

impl Length {
    fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}

pub(super) fn run(args: &ChartArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let slots = open_existing(&args.place.store)?.chart(args.bucket.as_deref(), args.by.seconds())?;
    let bars = filled(&slots, args.by.seconds());
    if args.svg.is_some() || args.png.is_some() {
        picture::picture(&bars).write(args.svg.as_deref(), args.png.as_deref())?;
        return Ok(OK);
    }
    if args.place.output != Form::Text {
        return super::lines(&slots, args.place.output, out, |_| String::new());
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

/// The pieces of time with the empty ones between them; of a long time the last.
fn filled(slots: &[Slot], slot_s: i64) -> Vec<Slot> {
    let (Some(first), Some(last)) = (slots.first(), slots.last()) else { return Vec::new() };
    let span = i64::try_from(BARS_MAX).unwrap_or(i64::MAX).saturating_mul(slot_s);
    let mut at_s = first.at_s.max(last.at_s.saturating_sub(span).saturating_add(slot_s));
    let mut bars = Vec::new();
    while at_s <= last.at_s {
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
        let picture = picture::picture(&bars).svg();
        assert!(picture.starts_with("<svg") && picture.matches(" crashes, ").count() == 8, "{picture}");
        assert!([1, 2, 3, 4].iter().all(|line| picture.contains(&format!(">{line}</text>"))), "{picture}");
        assert!(filled(&[slot(0, 1), slot(i64::MAX / 2, 1)], 60).len() <= BARS_MAX);
    }

    #[test]
    fn the_picture_of_pixels_shows_the_bars_where_the_other_has_them() {
        let bars = filled(&[Slot { at_s: 0, crashes: 4, hosts: 1 }], 3_600);
        let file = picture::picture(&bars).png().expect("a picture");
        let mut reader = ::png::Decoder::new(std::io::Cursor::new(file)).read_info().expect("a picture");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a small picture")];
        let frame = reader.next_frame(&mut pixels).expect("its pixels");
        let count = |colour: [u8; 3]| pixels.chunks_exact(3).filter(|pixel| *pixel == colour).count();
        assert_eq!((frame.width, frame.height), (crate::picture::WIDTH, crate::picture::HEIGHT));
        // A bar of 40 by 224 pixels, a quarter of it dark.
        assert_eq!((count([0xc9, 0xa2, 0x27]), count([0x8c, 0x2f, 0x1b])), (40 * 168, 40 * 56));
        assert!(count([0, 0, 0]) > 100, "there are words");
    }
}
