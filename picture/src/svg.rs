//! The picture as SVG: a bar says its numbers when it is pointed at.

use std::fmt::Write as _;

use super::{Picture, Shape, WHITE};

pub(super) fn svg(of: &Picture) -> String {
    let (title, (width, height)) = (of.title, of.size);
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>{title}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#{WHITE:06x}\"/>\n"
    );
    for shape in &of.shapes {
        // Writing to a string does not fail.
        let _ = match shape {
            Shape::Box { left, top, width, height, colour, says } => writeln!(
                picture,
                "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"#{colour:06x}\"><title>{}</title></rect>",
                escaped(says)
            ),
            Shape::Words { x, baseline, is_at_end, words } => {
                let anchor = if *is_at_end { "end" } else { "start" };
                writeln!(picture, "<text x=\"{x}\" y=\"{baseline}\" text-anchor=\"{anchor}\">{}</text>", escaped(words))
            }
        };
    }
    picture.push_str("</svg>\n");
    picture
}

/// Text as XML has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
