//! config.txt: the settings of the Raspberry Pi's firmware.

use std::path::Path;

use super::files::read_text;
use crate::fs::Tree;
use crate::util::error::{Error, Result};

/// Where Raspberry Pi OS keeps it: trixie and bookworm, then what came before.
const CONFIG_TXT: [&str; 2] = ["/boot/firmware/config.txt", "/boot/config.txt"];

/// Adds a line to config.txt, for all boards; one that is there already, if only for a Pi 5, stays
/// alone. Source: "Conditional filters" of Raspberry Pi's documentation.
pub(crate) fn add_line(tree: &mut dyn Tree, line: &str) -> Result<()> {
    for path in CONFIG_TXT {
        if let Some(text) = read_text(tree, path)? {
            let text = with_line(text, line);
            return tree.write(Path::new(path), text.as_bytes(), None);
        }
    }
    Err(Error::input("the image has no config.txt"))
}

fn with_line(mut text: String, line: &str) -> String {
    // All of them must hold for what follows to count.
    let mut filters: Vec<&str> = Vec::new();
    for other in text.lines().map(str::trim) {
        if let Some(filter) = other.strip_prefix('[').and_then(|it| it.split(']').next()) {
            // One for another model takes its place, and `[all]` that of any kind.
            filters.retain(|it| filter != "all" && !(is_model(it) && is_model(filter)));
            if filter != "all" {
                filters.push(filter);
            }
        } else if other == line && filters.iter().all(|it| *it == "pi5") {
            return text;
        }
    }
    let is_filtered = !filters.is_empty();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    if is_filtered {
        text.push_str("[all]\n");
    }
    text + line + "\n"
}

/// Whether a filter of config.txt is for models of boards.
fn is_model(filter: &str) -> bool {
    filter.starts_with("pi") || filter.starts_with("cm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_line_is_added_once_for_all_boards() {
        let once = with_line("[pi4]\narm_boost=1".into(), "dtparam=pciex1");
        assert_eq!(once, "[pi4]\narm_boost=1\n[all]\ndtparam=pciex1\n");
        assert_eq!(with_line(once.clone(), "dtparam=pciex1"), once);
    }

    #[test]
    fn a_config_line_for_others_is_none_for_all() {
        let is_there = |text: &str| with_line(text.into(), "x=1") == text;
        for text in ["x=1", "[pi5]\nx=1", "[cm5]\n[pi5]\n x=1", "[none]\ny=1\r\n[all]\r\nx=1\r\n"] {
            assert!(is_there(text), "{text}");
        }
        for filters in
            ["[cm4]", "[cm5]\n", "[none]", "[EDID=A-B]\n[pi5]", "[pi5]\n[gpio4=1]", " [pi4] "]
        {
            let text = format!("{filters}\nx=1\n");
            let once = with_line(text.clone(), "x=1");
            assert_eq!(once, format!("{text}[all]\nx=1\n"));
            assert!(is_there(&once), "{once}");
        }
        assert_eq!(with_line("[pi4]\nx=1\n[all]\n".into(), "x=1"), "[pi4]\nx=1\n[all]\nx=1\n");
    }
}
