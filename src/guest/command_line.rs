//! The kernel's command line, wherever the image's boot loader keeps it: cmdline.txt or GRUB's menu.

use std::path::Path;

use super::files::{self, read_text, root};
use crate::fs::Tree;
use crate::util::error::{Error, Result};

/// Where Raspberry Pi OS keeps its one line: trixie and bookworm, then what came before.
const CMDLINE_TXT: [&str; 2] = ["/boot/firmware/cmdline.txt", "/boot/cmdline.txt"];
const GRUB_CFG: &str = "/boot/grub/grub.cfg";
/// Read by `update-grub` after `/etc/default/grub`, so that it survives kernel upgrades.
const GRUB_DEFAULTS: &str = "/etc/default/grub.d/90-nodeforge.cfg";

/// Adds a word to the command line of every kernel; one that is there already stays alone.
pub(crate) fn add_argument(tree: &mut dyn Tree, argument: &str) -> Result<()> {
    for path in CMDLINE_TXT {
        if tree.metadata(Path::new(path))?.is_some() {
            let text = read_text(tree, path)?.unwrap_or_default();
            let text = edit_first_line(&text, |line| with_argument(line, argument));
            return tree.write(Path::new(path), text.as_bytes(), None);
        }
    }
    if tree.metadata(Path::new(GRUB_CFG))?.is_none() {
        return Err(Error::input("the image has neither cmdline.txt nor GRUB's grub.cfg"));
    }
    let mut menu = String::new();
    for line in read_text(tree, GRUB_CFG)?.unwrap_or_default().lines() {
        let is_kernel = line.split_whitespace().next() == Some("linux");
        menu.push_str(&if is_kernel { with_argument(line, argument) } else { line.to_owned() });
        menu.push('\n');
    }
    tree.write(Path::new(GRUB_CFG), menu.as_bytes(), None)?;

    let mut defaults = read_text(tree, GRUB_DEFAULTS)?.unwrap_or_default();
    let line = format!("GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX {argument}\"\n");
    if !defaults.contains(&line) {
        defaults.push_str(&line);
    }
    files::write(tree, Path::new(GRUB_DEFAULTS), defaults.as_bytes(), root(0o644))
}

/// Takes a word off cmdline.txt, where the image has one.
pub(crate) fn remove_argument(tree: &mut dyn Tree, argument: &str) -> Result<()> {
    for path in CMDLINE_TXT {
        let Some(text) = read_text(tree, path)? else { continue };
        let edited = edit_first_line(&text, |line| {
            let words = line.split_whitespace().filter(|word| *word != argument);
            words.collect::<Vec<_>>().join(" ")
        });
        if edited != text {
            tree.write(Path::new(path), edited.as_bytes(), None)?;
        }
    }
    Ok(())
}

/// cmdline.txt with its first line edited: the firmware hands no other to the kernel, so that what
/// stands there stays as it is.
fn edit_first_line(text: &str, edit: impl Fn(&str) -> String) -> String {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let (before, after) = (line.trim_end(), edit(line.trim_end()));
    // What needs no change keeps its bytes.
    if before == after { text.to_owned() } else { format!("{after}\n{rest}") }
}

fn with_argument(line: &str, argument: &str) -> String {
    if line.split_whitespace().any(|word| word == argument) {
        line.to_owned()
    } else if line.is_empty() {
        argument.to_owned()
    } else {
        format!("{line} {argument}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_added_once() {
        let once = with_argument("root=/dev/sda1 ro", "cgroup_enable=memory");
        assert_eq!(once, "root=/dev/sda1 ro cgroup_enable=memory");
        assert_eq!(with_argument(&once, "cgroup_enable=memory"), once);
        assert_eq!(with_argument("a quiet2", "quiet"), "a quiet2 quiet");
    }

    #[test]
    fn the_first_line_of_cmdline_txt_counts() {
        let add = |text: &str| edit_first_line(text, |line| with_argument(line, "quiet"));
        assert_eq!(add("ro rootwait \n"), "ro rootwait quiet\n");
        assert_eq!(add("ro"), "ro quiet\n");
        assert_eq!(add(""), "quiet\n");
        // An argument in the second line reaches no kernel.
        assert_eq!(add("ro\nquiet\n"), "ro quiet\nquiet\n");
        assert_eq!(add("ro quiet \r\n# mine\n"), "ro quiet \r\n# mine\n");
        assert_eq!(add("ro\r\n# mine\n"), "ro quiet\n# mine\n");
    }
}
