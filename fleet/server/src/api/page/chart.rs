//! Crashes over time as bars, in SVG: a bar says its numbers when it is pointed at.

use std::fmt::Write as _;

use crate::clock::words;
use crate::store::CrashSlot;

const WIDTH: u64 = 900;
const HEIGHT: u64 = 160;
/// Below the bars, for the words.
const FOOT: u64 = 20;

/// Bars from one time to another, one for each slot; hosts are the dark part.
pub(super) fn chart(slots: &[CrashSlot], from_ms: u64, to_ms: u64, slot_ms: u64) -> String {
    let most = slots.iter().map(|slot| slot.crashes).max().unwrap_or(0).max(1);
    let span_ms = to_ms.saturating_sub(from_ms).max(1);
    let x =
        |at_ms: u64| at_ms.saturating_sub(from_ms).saturating_mul(WIDTH).checked_div(span_ms).unwrap_or(0).min(WIDTH);
    let height = |count: u64| count.saturating_mul(HEIGHT - FOOT).div_ceil(most);
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" \
         role=\"img\"><title>Crashes and hosts by the hour, at most {most}</title>\n"
    );
    for slot in slots {
        let width = x(slot.at_ms.saturating_add(slot_ms)).saturating_sub(x(slot.at_ms)).max(3);
        for (count, colour) in [(slot.crashes, "#c9a227"), (slot.hosts, "#8c2f1b")] {
            let tall = height(count);
            let _ = writeln!(
                picture,
                "<rect x=\"{}\" y=\"{}\" width=\"{width}\" height=\"{tall}\" fill=\"{colour}\"><title>{}: {} crashes, {} hosts</title></rect>",
                x(slot.at_ms),
                (HEIGHT - FOOT).saturating_sub(tall),
                words(slot.at_ms),
                slot.crashes,
                slot.hosts
            );
        }
    }
    let (foot, baseline) = (HEIGHT - FOOT, HEIGHT - 5);
    let _ = writeln!(
        picture,
        "<line x1=\"0\" y1=\"{foot}\" x2=\"{WIDTH}\" y2=\"{foot}\" stroke=\"#888\"/>\
         <text x=\"0\" y=\"{baseline}\" fill=\"#888\">{}</text><text x=\"{WIDTH}\" y=\"{baseline}\" text-anchor=\"end\" fill=\"#888\">{}</text></svg>",
        words(from_ms),
        words(to_ms)
    );
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_bar_fills_the_picture_and_half_of_it_is_half_as_high() {
        let slot = |at_ms, crashes| CrashSlot { at_ms, crashes, hosts: 1 };
        let picture = chart(&[slot(0, 2), slot(50, 4)], 0, 100, 10);
        assert!(picture.contains("x=\"0\" y=\"70\" width=\"90\" height=\"70\""), "{picture}");
        assert!(picture.contains("x=\"450\" y=\"0\" width=\"90\" height=\"140\""), "{picture}");
        assert_eq!(picture.matches("<rect").count(), 4);
        assert_eq!(chart(&[], 0, 0, 0).matches("<rect").count(), 0);
    }
}
