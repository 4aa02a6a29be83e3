//! The comparison as a picture: a bar a way, each line to the right ten times as many hosts.

use super::compare::Compared;
use super::text::count;
use watertight_picture::{Picture, Shape, DARK, GREY, HEIGHT, LIGHT, WIDTH};

/// Room for the names.
const LEFT: u32 = 290;
/// Room for the figure of the longest bar.
const RIGHT: u32 = 90;
const TOP: u32 = 40;
const BOTTOM: u32 = 34;
/// Height of a bar.
const BAR: u32 = 12;

/// Hosts that failed dark, hosts that had the content light, of 95 of 100 rollouts.
pub(super) fn picture(compared: &Compared) -> Picture {
    let decades = f64::from(compared.case.hosts.max(10)).log10().ceil();
    let width_of = |hosts: f64| {
        let part = ((hosts + 1.0).log10() / decades).clamp(0.0, 1.0);
        (part * f64::from(WIDTH - LEFT - RIGHT)).round() as u32
    };
    let mut shapes = Vec::new();
    for decade in 0..=decades as u32 {
        let hosts = 10_u64.pow(decade);
        let left = LEFT + width_of(hosts as f64);
        let height = HEIGHT - TOP - BOTTOM;
        shapes.push(Shape::Box { left, top: TOP, width: 1, height, colour: GREY, says: String::new() });
        shapes.push(Shape::words(left + 14, HEIGHT - BOTTOM + 16, true, hosts.to_string()));
    }
    let rows = u32::try_from(compared.ways.len()).unwrap_or(1).max(1);
    let row_height = (HEIGHT - TOP - BOTTOM) / rows;
    for (number, row) in (0_u32..).zip(&compared.ways) {
        let top = TOP + number * row_height + 6;
        let (failed, exposed) = (row.summary.failed.p95, row.summary.exposed.p95);
        let says = format!("{}: {} hosts failed, {} had it", row.name, count(failed), count(exposed));
        for (hosts, colour, down) in [(exposed, LIGHT, BAR), (failed, DARK, 0)] {
            let width = width_of(hosts.unwrap_or(0.0)).max(1);
            shapes.push(Shape::Box { left: LEFT, top: top + down, width, height: BAR, colour, says: says.clone() });
        }
        shapes.push(Shape::words(LEFT - 8, top + BAR + 4, true, row.name.to_owned()));
        let end = LEFT + width_of(failed.unwrap_or(0.0)) + 6;
        shapes.push(Shape::words(end, top + 10, false, count(failed)));
    }
    let title = format!("Of {} hosts: failed (dark) and had the content (light), p95", compared.case.hosts);
    shapes.push(Shape::words(LEFT, TOP - 14, false, title));
    Picture { title: "What a bad content costs", size: (WIDTH, HEIGHT), shapes }
}
