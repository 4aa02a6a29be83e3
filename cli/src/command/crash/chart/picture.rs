//! What the picture of a chart is made of, whatever file it goes to: a bar for each piece of time, lines to read their height by, words.

use watertight_triage::store::Slot;

use super::time;
use watertight_picture::{Picture, Shape, DARK, GREY, HEIGHT, LIGHT, WIDTH};

/// Room around the bars, for the words.
const MARGIN: u32 = 48;
/// Width of the widest bar.
const BAR_WIDTH_MAX: u32 = 40;
/// Lines across the picture, the one at the bottom left out.
const LINES: u32 = 4;

/// Crashes light, the hosts among them dark. `length` is what a bar stands for, in words.
pub(super) fn picture(bars: &[Slot], length: &str) -> Picture {
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
        shapes.push(Shape::words(MARGIN - 6, top + 4, true, value.to_string()));
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
    let words = format!("most: {most} crashes (light), hosts (dark), a bar is {length}");
    shapes.push(Shape::words(MARGIN, MARGIN - 12, false, words));
    for (bar, x, is_at_end) in [(bars.first(), MARGIN, false), (bars.last(), WIDTH - MARGIN, true)] {
        shapes.push(Shape::words(x, bottom + 20, is_at_end, bar.map(|bar| time(bar.at_s)).unwrap_or_default()));
    }
    Picture { title: "Crashes over time", size: (WIDTH, HEIGHT), shapes }
}

fn pixels(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(HEIGHT).min(HEIGHT)
}
