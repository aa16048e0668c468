//! A disk drawn to scale with box characters.

use std::fmt::Write as _;
use std::ops::Range;

/// A part of the disk, and what is written into its box.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Bytes of the disk.
    pub range: Range<u64>,
    /// On the frame: a partition's number.
    pub title: String,
    /// Inside, one below the other.
    pub lines: Vec<String>,
    /// Bytes in use and bytes in all; drawn as a bar.
    pub usage: Option<(u64, u64)>,
}

/// Gaps smaller than this are alignment, not room: in bytes.
const GAP: u64 = 4 << 20;
/// Columns inside a box, its margins included, however small the part is.
const NARROWEST: usize = 6;

/// Draws the segments of a disk of `size` bytes as boxes side by side, `width` columns in all, each
/// as wide as its part of the disk and wide enough to be seen. `None` when they do not fit.
pub fn draw(size: u64, segments: &[Segment], width: usize) -> Option<String> {
    let segments = with_gaps(size, segments);
    let columns = columns(&segments, width)?;
    let height = segments.iter().map(|segment| segment.lines.len()).max().unwrap_or(0);
    let boxes = || segments.iter().zip(&columns);
    let mut text = String::new();
    for (index, (segment, &columns)) in boxes().enumerate() {
        text.push(if index == 0 { '┌' } else { '┬' });
        let title = if segment.title.is_empty() {
            String::new()
        } else {
            fit(&format!(" {} ", segment.title), columns - 1)
        };
        let dashes = columns - 1 - title.chars().count();
        write!(text, "─{title}{}", "─".repeat(dashes)).expect("writing to a string");
    }
    text.push_str("┐\n");
    for row in 0..height {
        for (segment, &columns) in boxes() {
            let line = segment.lines.get(row).map_or("", String::as_str);
            let line = fit(line, columns - 2);
            write!(text, "│ {line:<0$} ", columns - 2).expect("writing to a string");
        }
        text.push_str("│\n");
    }
    for (segment, &columns) in boxes() {
        let bar = segment.usage.map_or(String::new(), |usage| bar(usage, columns - 2));
        write!(text, "│ {bar:<0$} ", columns - 2).expect("writing to a string");
    }
    text.push_str("│\n");
    for (index, columns) in columns.iter().enumerate() {
        text.push(if index == 0 { '└' } else { '┴' });
        text.push_str(&"─".repeat(*columns));
    }
    text.push_str("┘\n");
    Some(text)
}

/// The segments in the order in which they lie on the disk, with the room between them.
fn with_gaps(size: u64, segments: &[Segment]) -> Vec<Segment> {
    let mut sorted: Vec<&Segment> = segments.iter().collect();
    sorted.sort_by_key(|segment| segment.range.start);
    let gap = |range: Range<u64>| Segment {
        range,
        title: String::new(),
        lines: vec!["unused".into()],
        usage: None,
    };
    let mut all = Vec::new();
    let mut end = 0;
    for segment in sorted {
        if segment.range.start.saturating_sub(end) >= GAP {
            all.push(gap(end..segment.range.start));
        }
        end = end.max(segment.range.end);
        all.push(segment.clone());
    }
    if size.saturating_sub(end) >= GAP {
        all.push(gap(end..size));
    }
    all
}

/// How many columns each box has inside: all of them narrow, and what is left by size.
fn columns(segments: &[Segment], width: usize) -> Option<Vec<usize>> {
    let frame = segments.len() + 1;
    let mut left = width.checked_sub(frame + segments.len() * NARROWEST)?;
    let length = |segment: &Segment| segment.range.end.saturating_sub(segment.range.start);
    let mut sum: u128 = segments.iter().map(|segment| u128::from(length(segment))).sum();
    let columns = segments.iter().map(|segment| {
        // The last takes what rounding left.
        let length = u128::from(length(segment));
        let share = (left as u128 * length).checked_div(sum).unwrap_or(0);
        let share = usize::try_from(share).expect("no more than there are columns");
        left -= share;
        sum -= length;
        NARROWEST + share
    });
    Some(columns.collect())
}

/// The text, or as much of it as fits, with a mark that something is missing.
fn fit(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(columns.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Anything in use is seen, and so is anything free.
fn bar((used, total): (u64, u64), columns: usize) -> String {
    let filled = (columns as u128 * u128::from(used)).checked_div(total.into()).unwrap_or(0);
    let filled = usize::try_from(filled).unwrap_or(columns);
    let least = usize::from(used > 0);
    let most = columns - usize::from(used < total);
    let filled = filled.clamp(least.min(most), most);
    "█".repeat(filled) + &"░".repeat(columns - filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn segment(title: &str, range: Range<u64>, usage: Option<(u64, u64)>) -> Segment {
        let range = range.start * MIB..range.end * MIB;
        Segment { range, title: title.into(), lines: vec![format!("/mount/{title}")], usage }
    }

    #[test]
    fn every_part_is_drawn_to_scale_and_the_smallest_is_seen() {
        let segments = [
            segment("1", 128..900, Some((1, 4))),
            segment("14", 1..4, None),
            segment("15", 4..128, Some((0, 100))),
        ];
        let drawn = draw(1024 * MIB, &segments, 60).unwrap();
        assert_eq!(
            drawn,
            "\
┌─ 14 ─┬─ 15 ────┬─ 1 ──────────────────────────┬──────────┐
│ /mo… │ /mount… │ /mount/1                     │ unused   │
│      │ ░░░░░░░ │ ███████░░░░░░░░░░░░░░░░░░░░░ │          │
└──────┴─────────┴──────────────────────────────┴──────────┘
"
        );
        for line in drawn.lines() {
            assert_eq!(line.chars().count(), 60);
        }
    }

    #[test]
    fn too_many_parts_are_not_drawn() {
        let segments: Vec<Segment> =
            (0..20).map(|at| segment("x", at * 10..at * 10 + 10, None)).collect();
        assert!(draw(200 * MIB, &segments, 80).is_none());
        assert!(draw(0, &[], 80).is_some());
    }

    #[test]
    fn overlapping_and_reversed_parts_do_no_harm() {
        let reversed = Range { start: 30 * MIB, end: 20 * MIB };
        let mut segments = vec![segment("1", 0..50, Some((9, 3))), segment("2", 10..40, None)];
        segments[1].range = reversed;
        assert!(draw(10 * MIB, &segments, 40).is_some());
    }
}
