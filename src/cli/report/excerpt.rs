//! Lines of a text file with the culprit underlined.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::style::{ERROR, FRAME, printable};
use crate::util::error::Place;
use crate::util::printable::is_active;

/// The most columns of a line that are shown.
const WIDEST: usize = 120;

/// Appends `  --> FILE:LINE:COLUMN` and the line for each place.
pub(super) fn render(text: &mut String, places: &[Place]) {
    if places.is_empty() {
        return;
    }
    let snippets = places.iter().enumerate().map(|(index, place)| {
        snippet(place, if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context })
    });
    let renderer =
        Renderer::styled().term_width(WIDEST).error(ERROR).context(FRAME).line_num(FRAME);
    let group = Group::with_level(Level::ERROR).elements(snippets);
    text.push_str(&renderer.render(&[group]));
    text.push('\n');
}

/// The line in which the place begins, with what of the place is in it.
fn snippet(place: &Place, kind: AnnotationKind) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
    let text = place.source.text.as_str();
    let start = boundary(text, place.span.start);
    let end = boundary(text, place.span.end).max(start);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    let line_end = line_start + text[line_start..line_end].trim_end_matches('\r').len();
    let (start, end) = (start.min(line_end), end.min(line_end));

    let mut line = visible(&text[line_start..start]);
    let shown = line.len();
    line += &visible(&text[start..end]);
    let shown = shown..line.len();
    line += &visible(&text[end..line_end]);
    Snippet::source(line)
        .line_start(text[..line_start].matches('\n').count() + 1)
        .path(printable(&place.source.name))
        .annotation(kind.span(shown).label(place.note.as_deref().map(printable)))
}

/// The library replaces most of what a terminal would obey, but neither C1 control characters nor
/// the marks for a direction.
fn visible(text: &str) -> String {
    let shown = |c| if c != '\t' && is_active(c) { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// The last place between two characters that is not behind `at`, a number of bytes.
fn boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|&place| text.is_char_boundary(place)).unwrap_or(0)
}
