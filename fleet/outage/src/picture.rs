//! The timeline as a picture: a row for each host, coloured by what it runs, and below what happened, by number.

use std::time::Duration;

use watertight_picture::{Picture, Shape};

use crate::timeline::{Note, Run, Timeline};

const WIDTH: u32 = 1_400;
const MARGIN: u32 = 60;
const TOP: u32 = 70;
const ROW: u32 = 9;
const LINE: u32 = 16;
/// Colours, `0xRRGGBB`: nothing known, factory, good (by turns), what kills, and where something was noted.
const UNKNOWN: u32 = 0x00ee_eeee;
const FACTORY: u32 = 0x00bc_c6cc;
const GOOD: [u32; 2] = [0x0057_a773, 0x009b_d1b0];
const BAD: u32 = 0x00c0_3221;
const NOTED: u32 = 0x0044_4444;

/// The picture of all that was seen.
#[must_use]
pub fn picture(of: &Timeline) -> Picture {
    let (tracks, notes, all) = (of.tracks(), of.notes(), of.elapsed().max(Duration::from_millis(1)));
    let inner = WIDTH - 2 * MARGIN;
    let x = |at: Duration| MARGIN + (at.as_secs_f64() / all.as_secs_f64() * f64::from(inner)) as u32;
    let rows = u32::try_from(tracks.len()).unwrap_or(u32::MAX);
    let bottom = TOP + rows * ROW;
    let mut shapes = vec![Shape::words(MARGIN, 20, false, format!("{rows} hosts, {} s", all.as_secs()))];
    legend(&mut shapes);
    for (host, track) in (0_u32..).zip(&tracks) {
        for (place, (from, runs)) in track.iter().enumerate() {
            let to = track.get(place + 1).map_or(all, |next| next.0);
            let (left, right) = (x(*from), x(to));
            let says = format!("host {host}, from {:.1} s: {}", from.as_secs_f64(), words(*runs));
            // What kills is seen also where it was there for a moment.
            let width = (right - left).max(if matches!(runs, Run::Bad(_)) { 3 } else { 1 });
            shapes.push(Shape::Box {
                left,
                top: TOP + host * ROW,
                width,
                height: ROW - 1,
                colour: colour(*runs),
                says,
            });
        }
    }
    let mut scene = "";
    let mut baseline = bottom + 40;
    for (number, note) in (1_u32..).zip(&notes) {
        shapes.extend(mark(number, note, x(note.at), bottom));
        if note.scene != scene {
            scene = &note.scene;
            baseline += LINE / 2;
            shapes.push(Shape::words(MARGIN, baseline, false, scene.to_owned()));
            baseline += LINE;
        }
        let text = format!("{number:>3}  {:6.1} s  {}", note.at.as_secs_f64(), note.words);
        shapes.push(Shape::words(MARGIN + 10, baseline, false, text));
        baseline += LINE;
    }
    Picture { title: "A fleet that is given content that kills", size: (WIDTH, baseline + LINE), shapes }
}

fn legend(shapes: &mut Vec<Shape>) {
    let kinds = [
        (FACTORY, "factory content"),
        (GOOD[1], "good content"),
        (GOOD[0], "good content of the next release"),
        (BAD, "content that kills the engine"),
    ];
    for ((colour, words), left) in kinds.into_iter().zip((MARGIN..).step_by(260)) {
        shapes.push(Shape::Box { left, top: 34, width: 12, height: 12, colour, says: String::new() });
        shapes.push(Shape::words(left + 18, 44, false, words.to_owned()));
    }
}

fn mark(number: u32, note: &Note, x: u32, bottom: u32) -> [Shape; 2] {
    let says = format!("{number}: {:.1} s: {}", note.at.as_secs_f64(), note.words);
    let stagger = number % 2 * 12;
    [
        Shape::Box { left: x, top: bottom, width: 1, height: 6 + stagger, colour: NOTED, says },
        Shape::words(x + 2, bottom + 14 + stagger, false, number.to_string()),
    ]
}

fn words(runs: Run) -> String {
    match runs {
        Run::Unknown => "nothing is known".to_owned(),
        Run::Factory => "factory content".to_owned(),
        Run::Good(version) => format!("version {version}, good"),
        Run::Bad(version) => format!("version {version}, kills the engine"),
    }
}

fn colour(runs: Run) -> u32 {
    match runs {
        Run::Unknown => UNKNOWN,
        Run::Factory => FACTORY,
        Run::Good(version) if version % 2 == 0 => GOOD[0],
        Run::Good(_) => GOOD[1],
        Run::Bad(_) => BAD,
    }
}
