//! What the picture of a chart is made of, whatever file it goes to: a bar for each piece of time, lines to read their height by, words.

use watertight_triage::store::Slot;

use super::time;

/// Size of the picture in pixels.
pub(super) const WIDTH: u32 = 900;
pub(super) const HEIGHT: u32 = 320;

/// Room around the bars, for the words.
const MARGIN: u32 = 48;
/// Width of the widest bar.
const BAR_WIDTH_MAX: u32 = 40;
/// Lines across the picture, the one at the bottom left out.
const LINES: u32 = 4;

pub(super) const WHITE: u32 = 0x00ff_ffff;
pub(super) const BLACK: u32 = 0;
const GREY: u32 = 0x00dd_dddd;
/// Crashes.
const LIGHT: u32 = 0x00c9_a227;
/// The hosts among them.
const DARK: u32 = 0x008c_2f1b;

/// A piece of the picture; pixels from the left and the top, colours as `0xRRGGBB`.
pub(super) enum Shape {
    Box { left: u32, top: u32, width: u32, height: u32, colour: u32, says: String },
    Words { x: u32, baseline: u32, is_at_end: bool, words: String },
}

/// The shapes in the order in which they are painted.
pub(super) fn shapes(bars: &[Slot]) -> Vec<Shape> {
    let most = bars.iter().map(|bar| bar.crashes).max().unwrap_or(0).max(1);
    let (bottom, inner_height) = (HEIGHT - MARGIN, HEIGHT - 2 * MARGIN);
    let height_of = |value: u64| pixels(value.saturating_mul(inner_height.into()) / most);
    let mut shapes = Vec::new();
    for line in 1..=LINES {
        let value = most.saturating_mul(line.into()) / u64::from(LINES);
        if value == 0 || value * u64::from(LINES) != most * u64::from(line) {
            continue; // a line that stands for no whole number
        }
        let top = bottom - height_of(value);
        let (left, width) = (MARGIN, WIDTH - 2 * MARGIN);
        shapes.push(Shape::Box { left, top, width, height: 1, colour: GREY, says: String::new() });
        shapes.push(words(MARGIN - 6, top + 4, true, value.to_string()));
    }
    let count = u32::try_from(bars.len()).unwrap_or(u32::MAX).max(1);
    let width = ((WIDTH - 2 * MARGIN) / count).clamp(1, BAR_WIDTH_MAX);
    for (number, bar) in (0_u32..).zip(bars) {
        let left = MARGIN + number * (WIDTH - 2 * MARGIN) / count;
        for (value, colour) in [(bar.crashes, LIGHT), (bar.hosts, DARK)] {
            let height = height_of(value);
            let says = format!("{}: {} crashes, {} hosts", time(bar.at_s), bar.crashes, bar.hosts);
            shapes.push(Shape::Box { left, top: bottom - height, width, height, colour, says });
        }
    }
    shapes.push(words(MARGIN, MARGIN - 12, false, format!("most: {most} crashes (light), hosts (dark)")));
    for (bar, x, is_at_end) in [(bars.first(), MARGIN, false), (bars.last(), WIDTH - MARGIN, true)] {
        shapes.push(words(x, bottom + 20, is_at_end, bar.map(|bar| time(bar.at_s)).unwrap_or_default()));
    }
    shapes
}

fn words(x: u32, baseline: u32, is_at_end: bool, words: String) -> Shape {
    Shape::Words { x, baseline, is_at_end, words }
}

fn pixels(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(HEIGHT).min(HEIGHT)
}
