//! Tables on stdout: aligned columns without rules, as `ls -l` and kubectl print them.

use unicode_width::UnicodeWidthStr as _;

use super::output::print;
use crate::util::error::Result;
use crate::util::printable::printable;

/// A table under a row of headings in capitals. Columns are two blanks apart, and no cell is more than
/// a line.
pub(super) fn table(headings: &[&str], right_aligned: &[usize], rows: &[Vec<String>]) -> String {
    let line = |row: &Vec<String>| row.iter().map(|cell| printable(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(line).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].width());
        cells.chain([headings[column].width()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    let headings = headings.iter().map(|heading| (*heading).to_owned()).collect();
    for row in std::iter::once(&headings).chain(&rows) {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| {
                let padding = " ".repeat(widths[column] - cell.width());
                if right_aligned.contains(&column) {
                    padding + cell
                } else {
                    cell.clone() + &padding
                }
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Names and values, a line each.
pub(super) fn pairs(pairs: &[(&str, &str)]) -> Result<()> {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let line = |(name, value): &(&str, &str)| format!("{name:width$}  {value}\n");
    print(&pairs.iter().map(line).collect::<Vec<_>>().concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "1".into()], vec!["longer".into(), "234".into()]];
        assert_eq!(table(&["NAME", "N"], &[1], &rows), "NAME      N\na         1\nlonger  234\n");
        // A terminal draws these characters two columns wide.
        let rows = [vec!["日本".into(), "x".into()], vec!["abc".into(), "y".into()]];
        assert_eq!(table(&["A", "B"], &[], &rows), "A     B\n日本  x\nabc   y\n");
    }
}
