//! Rejections as a compiler shows its errors: code, words, place, the line with what is meant underlined, and the mend.

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use watertight_engine::image::is_plain;

use super::{Reason, Rejection, Span};

/// A rejection for people, in several lines; `has_colour` where a terminal shows it.
#[must_use]
pub fn render(rejection: &Rejection, has_colour: bool) -> String {
    let Rejection { rule, file, span, text, reason, .. } = rejection;
    let rule = rule.as_deref().map(|rule| format!("rule {rule}: ")).unwrap_or_default();
    render_at(&format!("{rule}{reason}"), file, *span, text, reason, has_colour)
}

/// The same of any file: `text` is the line that the place begins in.
pub(crate) fn render_at(title: &str, file: &str, span: Span, text: &str, reason: &Reason, has_colour: bool) -> String {
    let title = Level::ERROR.primary_title(shown(title)).id(reason.code());
    let source = shown(text);
    // From characters to bytes; what begins in this line and ends in another is underlined to the line's end.
    let byte = |column: usize| {
        let before = column.saturating_sub(1);
        source.char_indices().nth(before).map_or(source.len(), |(at, _)| at)
    };
    let first = byte(span.column);
    let last = if span.end_line == span.line { byte(span.end_column) } else { first };
    let file = shown(file);
    let place = if span.column == 0 || source.is_empty() {
        title.element(Origin::path(file).line(span.line).char_column(span.column.max(1)))
    } else {
        let annotation = AnnotationKind::Primary.span(first..last.max(first)).label(shown(&reason.label()));
        title.element(Snippet::source(source).line_start(span.line).path(file).annotation(annotation))
    };
    let mend = Level::HELP.with_name(Some("mend")).message(shown(&reason.mend()));
    let report = [place.element(mend)];
    let renderer = if has_colour { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&report)
}

/// Text of a file, one character for each that is there, and none that a terminal would obey.
fn shown(text: &str) -> String {
    let plain = |character: char| match character {
        '\t' => ' ',
        other if is_plain(other) => other,
        _ => '\u{fffd}',
    };
    text.chars().map(plain).collect()
}
