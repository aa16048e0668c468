//! Who owns a file: names looked up in the image's own `/etc/passwd` and `/etc/group`.

use super::{missing, read_text};
use crate::change::Owner;
use crate::fs::{Attributes, Tree};
use crate::util::error::{Error, Result};

/// The first id that Debian's adduser gives to a person, and the one after its last.
pub(super) const PEOPLE: std::ops::Range<u32> = 1000..60_000;

/// Numeric owner and mode, looked up in the image.
pub(super) fn attributes(tree: &dyn Tree, mode: u32, owner: &Owner) -> Result<Attributes> {
    Ok(Attributes {
        mode,
        uid: id(tree, "/etc/passwd", "user", &owner.user)?,
        gid: id(tree, "/etc/group", "group", &owner.group)?,
    })
}

/// Refuses a group that people are in: only daemons' groups may read a file with secrets.
pub(super) fn check_no_people(tree: &dyn Tree, group: &str) -> Result<()> {
    let number = id(tree, "/etc/group", "group", group)?;
    if !PEOPLE.contains(&number) {
        return Ok(());
    }
    Err(Error::input(format!("the group `{group}` is of people, and may not read secrets"))
        .hint("give the file mode 0600, or the group of the daemon that reads it"))
}

fn id(tree: &dyn Tree, database: &str, what: &str, name: &str) -> Result<u32> {
    if name == "root" {
        return Ok(0);
    }
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = read_text(tree, database)?;
    field(&text, name, 2).and_then(|id| id.parse().ok()).ok_or_else(|| {
        missing(format!("the base has no {what} `{name}`"))
            .hint(format!("use one that is in its {database}, or a number"))
    })
}

/// Field `index` of `name`'s line in a colon-separated database.
pub(super) fn field<'a>(text: &'a str, name: &str, index: usize) -> Option<&'a str> {
    text.lines().find(|line| line.split(':').next() == Some(name))?.split(':').nth(index)
}
