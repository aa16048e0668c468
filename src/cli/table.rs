//! Tables on stdout: aligned columns without rules, as `ls -l` and kubectl print them.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A table under a row of headings in capitals.
pub(super) fn table(headings: &[&str], right_aligned: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings);
    for row in rows {
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right_aligned.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text: String = table.lines().flat_map(|line| [line.trim_end().to_owned(), "\n".to_owned()]).collect();
    text
}
