//! Users and groups: `/etc/passwd`, `/etc/group` and `/etc/shadow` read (passwd(5), group(5),
//! shadow(5)).

use std::collections::BTreeMap;

use serde::Serialize;

use super::files::read_lossy;
use crate::change::Owner;
use crate::fs::{Attributes, Tree};
use crate::util::error::{Error, Result};

pub(super) const PASSWD: &str = "/etc/passwd";
pub(super) const GROUP: &str = "/etc/group";
pub(super) const SHADOW: &str = "/etc/shadow";
pub(super) const GSHADOW: &str = "/etc/gshadow";

/// The first id that Debian's adduser gives to a person, and the one after its last.
pub(super) const PEOPLE: std::ops::Range<u32> = 1000..60_000;

/// A user, without anything secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Number.
    pub uid: u32,
    /// Number of the first group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
    /// Further groups, sorted.
    pub groups: Vec<String>,
    /// What stands for the password: compared, never shown.
    #[serde(skip)]
    pub password: Option<String>,
}

/// Names of users and groups by their numbers.
#[derive(Clone, Debug, Default)]
pub struct AccountNames {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl AccountNames {
    /// Reads an image's.
    pub fn read(tree: &dyn Tree) -> Result<Self> {
        let numbers = |text: &str| {
            let mut names = BTreeMap::new();
            for fields in records(text) {
                if let [name, _, number, ..] = fields[..]
                    && let Ok(number) = number.parse()
                {
                    // As getpwuid(3): of two names for one number the first.
                    names.entry(number).or_insert_with(|| name.to_owned());
                }
            }
            names
        };
        Ok(Self { users: numbers(&read(tree, PASSWD)?), groups: numbers(&read(tree, GROUP)?) })
    }

    /// The user's name, or the number when it has none.
    pub fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    /// The group's name, or the number when it has none.
    pub fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }

    /// The number of a user given by name or number.
    pub fn uid(&self, user: &str) -> Option<u32> {
        number(&self.users, user)
    }

    /// The number of a group given by name or number.
    pub fn gid(&self, group: &str) -> Option<u32> {
        number(&self.groups, group)
    }
}

fn number(names: &BTreeMap<u32, String>, name: &str) -> Option<u32> {
    name.parse()
        .ok()
        .or_else(|| names.iter().find(|(_, it)| *it == name).map(|(number, _)| *number))
}

/// The image's users by name; of two with one name the first, as getpwnam(3) has it.
pub fn accounts(tree: &dyn Tree) -> Result<BTreeMap<String, Account>> {
    let (passwd, group, shadow) = (read(tree, PASSWD)?, read(tree, GROUP)?, read(tree, SHADOW)?);
    let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
    for fields in records(&passwd) {
        let [name, _, uid, gid, _, home, shell, ..] = fields[..] else { continue };
        let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else { continue };
        accounts.entry(name.to_owned()).or_insert_with(|| Account {
            uid,
            gid,
            home: home.to_owned(),
            shell: shell.to_owned(),
            groups: Vec::new(),
            password: field(&shadow, name, 1).map(str::to_owned),
        });
    }
    for fields in records(&group) {
        let [group, _, _, members, ..] = fields[..] else { continue };
        for member in members.split(',') {
            if let Some(account) = accounts.get_mut(member) {
                account.groups.push(group.to_owned());
            }
        }
    }
    for account in accounts.values_mut() {
        account.groups.sort();
    }
    Ok(accounts)
}

/// Numeric owner and mode, with names looked up in the image.
pub(crate) fn attributes(tree: &dyn Tree, mode: u32, owner: &Owner) -> Result<Attributes> {
    let uid = id(tree, PASSWD, "user", &owner.user)?;
    Ok(Attributes { mode, uid, gid: id(tree, GROUP, "group", &owner.group)? })
}

/// Refuses a group that people are in: only daemons' groups may read a file with secrets.
pub(crate) fn check_no_people(tree: &dyn Tree, group: &str) -> Result<()> {
    let number = id(tree, GROUP, "group", group)?;
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
    let text = read(tree, database)?;
    field(&text, name, 2).and_then(|id| id.parse().ok()).ok_or_else(|| {
        Error::input(format!("the base has no {what} `{name}`"))
            .hint(format!("use one that is in its {database}, or a number"))
    })
}

/// A database; empty when the image has none.
fn read(tree: &dyn Tree, database: &str) -> Result<String> {
    Ok(read_lossy(tree, database)?.unwrap_or_default())
}

/// Field `index` of the first line for `name`.
pub(super) fn field<'a>(text: &'a str, name: &str, index: usize) -> Option<&'a str> {
    records(text).find(|fields| fields.first() == Some(&name))?.get(index).copied()
}

/// Lines of fields between colons, without comments.
pub(super) fn records(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_with_a_name_counts() {
        let text = "# root:x:9\nroot:x:0:0\npi:x:1000:1000\npi:x:1001:1001\nshort\n";
        assert_eq!(field(text, "pi", 2), Some("1000"));
        assert_eq!(field(text, "root", 2), Some("0"));
        assert_eq!(field(text, "short", 2), None);
        assert_eq!(field(text, "# root", 2), None);
    }
}
