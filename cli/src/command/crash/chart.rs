//! `watertight crash chart`: crashes over time, as bars in the terminal or as an SVG picture.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use watertight_host::say::not_written;
use watertight_triage::store::Slot;

use super::{open_existing, time, Form, In, OK};

/// Bars of a chart, at most; more would not be told apart.
const BARS_MAX: usize = 400;

/// Letters of the longest bar.
const BAR_LETTERS: u64 = 50;

/// Size of the picture in pixels.
const WIDTH: u64 = 900;
const HEIGHT: u64 = 320;

/// Room around the bars, for the words.
const MARGIN: u64 = 48;

/// Show crashes over time, of one bucket or of all.
#[derive(Debug, clap::Args)]
pub(super) struct ChartArgs {
    #[command(flatten)]
    place: In,
    /// Length of a bar.
    #[arg(long, value_enum, default_value = "hour")]
    by: Length,
    /// Write a picture there instead.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
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
    if let Some(file) = &args.svg {
        let bars = filled(&slots, args.by.seconds());
        std::fs::write(file, svg(&bars)).with_context(|| format!("writing {}", file.display()))?;
        return Ok(OK);
    }
    if args.place.output != Form::Text {
        return super::lines(&slots, args.place.output, out, |_| String::new());
    }
    let bars = filled(&slots, args.by.seconds());
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

/// The picture: a bar for each piece of time, the darker part are hosts.
fn svg(bars: &[Slot]) -> String {
    let most = bars.iter().map(|bar| bar.crashes).max().unwrap_or(0).max(1);
    let (inner_width, inner_height) = (WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN);
    let count = u64::try_from(bars.len()).unwrap_or(1).max(1);
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Crashes over time</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    let bottom = HEIGHT - MARGIN;
    for (number, bar) in (0_u64..).zip(bars) {
        let left = MARGIN + number * inner_width / count;
        let width = (inner_width / count).clamp(1, 40);
        for (value, colour) in [(bar.crashes, "#c9a227"), (bar.hosts, "#8c2f1b")] {
            let height = value.saturating_mul(inner_height) / most;
            // Writing to a string does not fail.
            let _ = writeln!(
                picture,
                "<rect x=\"{left}\" y=\"{}\" width=\"{width}\" height=\"{height}\" fill=\"{colour}\"><title>{}: {} crashes, {} hosts</title></rect>",
                bottom - height,
                time(bar.at_s),
                bar.crashes,
                bar.hosts
            );
        }
    }
    let labels = [
        (MARGIN, MARGIN - 12, "start", format!("most: {most} crashes (light), hosts (dark)")),
        (MARGIN, bottom + 20, "start", bars.first().map(|bar| time(bar.at_s)).unwrap_or_default()),
        (WIDTH - MARGIN, bottom + 20, "end", bars.last().map(|bar| time(bar.at_s)).unwrap_or_default()),
    ];
    for (x, y, anchor, text) in labels {
        let _ = writeln!(picture, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>");
    }
    picture.push_str("</svg>\n");
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_without_a_crash_are_bars_too() {
        let slot = |at_s, crashes| Slot { at_s, crashes, hosts: 1 };
        let bars = filled(&[slot(0, 2), slot(10_800, 4)], 3_600);
        assert_eq!(bars.iter().map(|bar| bar.crashes).collect::<Vec<_>>(), [2, 0, 0, 4]);
        let picture = svg(&bars);
        assert!(picture.starts_with("<svg") && picture.matches("<rect").count() == 9, "{picture}");
        assert!(filled(&[slot(0, 1), slot(i64::MAX / 2, 1)], 60).len() <= BARS_MAX);
    }
}
