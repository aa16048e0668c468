//! Lines of a text file with the culprit underlined.

use std::fmt::Write as _;
use std::ops::Range;

use unicode_width::UnicodeWidthChar as _;

use super::{ERROR, FRAME, is_invisible, printable};
use crate::util::error::Place;

/// Columns a tab takes.
const TAB: usize = 4;
/// The most columns shown of a line.
const WIDEST: usize = 120;
/// Columns shown before the culprit in a line that is longer.
const BEFORE: usize = 30;

/// One place: its line's number and text, and what to underline of it.
struct Excerpt<'a> {
    place: &'a Place,
    /// Both counted from 1; the column in characters.
    line: usize,
    column: usize,
    shown: Shown,
}

/// A line as a terminal shows it.
struct Shown {
    text: String,
    /// Columns before the underline.
    indent: usize,
    /// Columns underlined, at least one.
    length: usize,
}

/// Appends `  --> FILE:LINE:COLUMN` and the line for each place.
pub(super) fn render(text: &mut String, places: &[Place]) {
    let excerpts: Vec<_> = places.iter().map(Excerpt::new).collect();
    let last = excerpts.iter().map(|excerpt| excerpt.line).max().unwrap_or_default();
    let width = last.to_string().len();
    for (index, excerpt) in excerpts.iter().enumerate() {
        excerpt.render(text, width, index == 0).expect("writing to a string");
    }
}

impl<'a> Excerpt<'a> {
    fn new(place: &'a Place) -> Self {
        let text = place.source.text.as_str();
        let start = boundary(text, place.span.start);
        let end = boundary(text, place.span.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let line = text[line_start..line_end].trim_end_matches('\r');
        let within = |at: usize| (at - line_start).min(line.len());
        Self {
            place,
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            shown: Shown::new(line, within(start)..within(end)),
        }
    }

    fn render(&self, out: &mut String, width: usize, is_culprit: bool) -> std::fmt::Result {
        let Self { place, line, column, shown } = self;
        let name = printable(&place.source.name);
        let (style, mark) = if is_culprit { (ERROR, "^") } else { (FRAME, "-") };
        writeln!(out, "{:width$} {FRAME}-->{FRAME:#} {name}:{line}:{column}", "")?;
        writeln!(out, "{:width$} {FRAME}|{FRAME:#}", "")?;
        writeln!(out, "{FRAME}{line:>width$} |{FRAME:#} {}", shown.text)?;
        let (indent, marks) = (shown.indent, mark.repeat(shown.length));
        write!(out, "{:width$} {FRAME}|{FRAME:#} {:indent$}{style}{marks}", "", "")?;
        if let Some(note) = &place.note {
            write!(out, " {}", printable(note))?;
        }
        writeln!(out, "{style:#}")
    }
}

impl Shown {
    /// `span` is in bytes of `line`, on boundaries of characters.
    fn new(line: &str, span: Range<usize>) -> Self {
        let (mut text, mut indent, mut length) = (String::new(), 0, 0);
        // Of a long line the part around the culprit is shown.
        let before: usize = line[..span.start].chars().map(columns).sum();
        let is_long = before + BEFORE > WIDEST;
        let mut skip = if is_long { before - BEFORE } else { 0 };
        if skip > 0 {
            text.push('…');
            indent = 1;
        }
        let mut used = indent;
        for (at, c) in line.char_indices() {
            let width = columns(c);
            if skip > 0 {
                skip = skip.saturating_sub(width);
                continue;
            }
            if used + width > WIDEST {
                text.push('…');
                break;
            }
            used += width;
            if at < span.start {
                indent += width;
            } else if at < span.end {
                length += width;
            }
            match c {
                '\t' => text.extend(std::iter::repeat_n(' ', TAB)),
                c if is_invisible(c) => text.push('\u{fffd}'),
                c => text.push(c),
            }
        }
        text.truncate(text.trim_end().len());
        Self { text, indent, length: length.max(1) }
    }
}

/// How wide a terminal draws it.
fn columns(c: char) -> usize {
    match c {
        '\t' => TAB,
        c if is_invisible(c) => 1,
        c => c.width().unwrap_or(1),
    }
}

/// The nearest boundary of characters at or before `at`.
fn boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
