//! Users and groups of an image, from its own databases (passwd(5), group(5), shadow(5)).

use std::collections::BTreeMap;

use serde::Serialize;

use super::read_text;
use crate::fs::Tree;
use crate::util::error::Result;

/// A user, without anything secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
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
pub struct Names {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Names {
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

/// The image's names for its numbers.
pub fn names(tree: &dyn Tree) -> Result<Names> {
    let numbers = |text: &str| {
        let mut names = BTreeMap::new();
        for fields in records(text) {
            if let (Some(name), Some(Ok(number))) =
                (fields.first(), fields.get(2).map(|it| it.parse()))
            {
                // As getpwuid(3): of two names for one number the first.
                names.entry(number).or_insert_with(|| (*name).to_owned());
            }
        }
        names
    };
    Ok(Names {
        users: numbers(&read_text(tree, "/etc/passwd")?),
        groups: numbers(&read_text(tree, "/etc/group")?),
    })
}

/// The image's users by name.
pub fn users(tree: &dyn Tree) -> Result<BTreeMap<String, User>> {
    let passwd = read_text(tree, "/etc/passwd")?;
    let group = read_text(tree, "/etc/group")?;
    let shadow = read_text(tree, "/etc/shadow")?;
    let mut users = BTreeMap::new();
    for fields in records(&passwd) {
        let [name, _, uid, gid, _, home, shell, ..] = fields[..] else { continue };
        let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else { continue };
        let user = User {
            uid,
            gid,
            home: home.to_owned(),
            shell: shell.to_owned(),
            groups: Vec::new(),
            password: None,
        };
        users.insert(name.to_owned(), user);
    }
    for fields in records(&group) {
        let (Some(group), Some(members)) = (fields.first(), fields.get(3)) else { continue };
        for member in members.split(',') {
            if let Some(user) = users.get_mut(member) {
                user.groups.push((*group).to_owned());
            }
        }
    }
    for fields in records(&shadow) {
        if let [name, password, ..] = fields[..]
            && let Some(user) = users.get_mut(name)
        {
            user.password = Some(password.to_owned());
        }
    }
    for user in users.values_mut() {
        user.groups.sort();
    }
    Ok(users)
}

fn records(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(':').collect())
}
