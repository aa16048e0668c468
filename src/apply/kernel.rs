//! The kernel's command line, wherever the image's boot loader keeps it.

use std::path::Path;

use super::{missing, read_text};
use crate::apply::files;
use crate::change::Owner;
use crate::fs::Tree;
use crate::util::error::Result;

/// Where Raspberry Pi OS keeps its one line: trixie and bookworm, then what came before.
const CMDLINE_TXT: [&str; 2] = ["/boot/firmware/cmdline.txt", "/boot/cmdline.txt"];
/// Where it keeps its firmware's settings.
const CONFIG_TXT: [&str; 2] = ["/boot/firmware/config.txt", "/boot/config.txt"];
const GRUB_CFG: &str = "/boot/grub/grub.cfg";
/// Read by `update-grub` after `/etc/default/grub`, so that it survives kernel upgrades.
const GRUB_DEFAULTS: &str = "/etc/default/grub.d/90-nodeforge.cfg";

/// Adds a word to the command line of every kernel; one that is there already stays alone.
pub(super) fn add_argument(tree: &mut dyn Tree, argument: &str) -> Result<()> {
    for path in CMDLINE_TXT {
        if tree.metadata(Path::new(path))?.is_some() {
            let line = with_argument(read_text(tree, path)?.trim_end(), argument);
            return tree.write(Path::new(path), format!("{line}\n").as_bytes(), None);
        }
    }
    if tree.metadata(Path::new(GRUB_CFG))?.is_none() {
        return Err(missing("the image has neither cmdline.txt nor GRUB's grub.cfg".into()));
    }
    let mut menu = String::new();
    for line in read_text(tree, GRUB_CFG)?.lines() {
        let is_kernel = line.split_whitespace().next() == Some("linux");
        menu.push_str(&if is_kernel { with_argument(line, argument) } else { line.to_owned() });
        menu.push('\n');
    }
    tree.write(Path::new(GRUB_CFG), menu.as_bytes(), None)?;

    let mut defaults = read_text(tree, GRUB_DEFAULTS)?;
    let line = format!("GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX {argument}\"\n");
    if !defaults.contains(&line) {
        defaults.push_str(&line);
    }
    files::write(tree, Path::new(GRUB_DEFAULTS), defaults.as_bytes(), 0o644, &Owner::root())
}

/// Takes a word off cmdline.txt, where the image has one.
pub(super) fn remove_argument(tree: &mut dyn Tree, argument: &str) -> Result<()> {
    for path in CMDLINE_TXT {
        let text = read_text(tree, path)?;
        let words: Vec<&str> = text.split_whitespace().filter(|word| *word != argument).collect();
        if words.len() < text.split_whitespace().count() {
            let line = words.join(" ") + "\n";
            tree.write(Path::new(path), line.as_bytes(), None)?;
        }
    }
    Ok(())
}

/// Adds a line to config.txt, for all boards; one that is there already, if only for a Pi 5, stays
/// alone. Source: "Conditional filters" of Raspberry Pi's documentation.
pub(super) fn add_config_line(tree: &mut dyn Tree, line: &str) -> Result<()> {
    for path in CONFIG_TXT {
        if tree.metadata(Path::new(path))?.is_some() {
            let text = with_config_line(read_text(tree, path)?, line);
            return tree.write(Path::new(path), text.as_bytes(), None);
        }
    }
    Err(missing("the image has no config.txt".into()))
}

fn with_config_line(mut text: String, line: &str) -> String {
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

fn with_argument(line: &str, argument: &str) -> String {
    if line.split_whitespace().any(|word| word == argument) {
        line.to_owned()
    } else {
        format!("{line} {argument}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_line_is_added_once_for_all_boards() {
        let once = with_config_line("[pi4]\narm_boost=1".into(), "dtparam=pciex1");
        assert_eq!(once, "[pi4]\narm_boost=1\n[all]\ndtparam=pciex1\n");
        assert_eq!(with_config_line(once.clone(), "dtparam=pciex1"), once);
    }

    #[test]
    fn a_config_line_for_others_is_none_for_all() {
        let is_there = |text: &str| with_config_line(text.into(), "x=1") == text;
        for text in ["x=1", "[pi5]\nx=1", "[cm5]\n[pi5]\n x=1", "[none]\ny=1\r\n[all]\r\nx=1\r\n"] {
            assert!(is_there(text), "{text}");
        }
        for filters in
            ["[cm4]", "[cm5]\n", "[none]", "[EDID=A-B]\n[pi5]", "[pi5]\n[gpio4=1]", " [pi4] "]
        {
            let text = format!("{filters}\nx=1\n");
            let once = with_config_line(text.clone(), "x=1");
            assert_eq!(once, format!("{text}[all]\nx=1\n"));
            assert!(is_there(&once), "{once}");
        }
        assert_eq!(
            with_config_line("[pi4]\nx=1\n[all]\n".into(), "x=1"),
            "[pi4]\nx=1\n[all]\nx=1\n"
        );
    }

    #[test]
    fn an_argument_is_added_once() {
        let once = with_argument("root=/dev/sda1 ro", "cgroup_enable=memory");
        assert_eq!(once, "root=/dev/sda1 ro cgroup_enable=memory");
        assert_eq!(with_argument(&once, "cgroup_enable=memory"), once);
        assert_eq!(with_argument("a quiet2", "quiet"), "a quiet2 quiet");
    }
}
