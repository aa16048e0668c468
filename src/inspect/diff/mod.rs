//! What two images differ in, as an administrator would say it.

mod files;

pub use files::{ChangedPart, FileChange, FileChanges, compare_files};

use std::collections::BTreeMap;

use serde::Serialize;

use crate::fs::Tree;
use crate::guest::accounts::{Account, accounts};
use crate::guest::units::{UnitFileState, units};
use crate::inspect::packages::packages;
use crate::util::error::Result;

/// What became of things with names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changes<T, C = Difference<T>> {
    /// Only in the second.
    pub added: BTreeMap<String, T>,
    /// Only in the first.
    pub removed: BTreeMap<String, T>,
    /// In both, and not the same.
    pub changed: BTreeMap<String, C>,
}

/// One thing in both images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference<T> {
    /// In the first.
    pub from: T,
    /// In the second.
    pub to: T,
}

/// A user in both images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountChange {
    /// In the first.
    pub from: Account,
    /// In the second.
    pub to: Account,
    /// What is not the same: `uid`, `gid`, `home`, `shell`, `groups`, `password`.
    pub what: Vec<&'static str>,
}

/// All that two images differ in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Versions of packages by name.
    pub packages: Changes<String>,
    /// States of units by name.
    pub units: Changes<UnitFileState>,
    /// Users by name.
    pub users: Changes<Account, AccountChange>,
    /// Files, times left aside.
    pub files: FileChanges,
}

impl<T, C> Changes<T, C> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.added.len() + self.removed.len() + self.changed.len()
    }
}

impl Comparison {
    /// Compares two trees from their roots.
    pub fn of(a: &dyn Tree, b: &dyn Tree) -> Result<Self> {
        let package_list = |tree| packages(tree).map(Option::unwrap_or_default);
        let plain = |from, to| Difference { from, to };
        Ok(Self {
            packages: changes(package_list(a)?, package_list(b)?, plain),
            units: changes(units(a)?, units(b)?, |from, to| Difference { from, to }),
            users: changes(accounts(a)?, accounts(b)?, account_change),
            files: compare_files(a, "/".as_ref(), b, "/".as_ref())?,
        })
    }

    /// Whether the images are the same.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
            && self.units.is_empty()
            && self.users.is_empty()
            && self.files.is_empty()
    }
}

fn changes<T: PartialEq, C>(
    from: BTreeMap<String, T>,
    mut to: BTreeMap<String, T>,
    change: impl Fn(T, T) -> C,
) -> Changes<T, C> {
    let (mut removed, mut changed) = (BTreeMap::new(), BTreeMap::new());
    for (name, old) in from {
        match to.remove(&name) {
            None => {
                removed.insert(name, old);
            }
            Some(new) if new != old => {
                changed.insert(name, change(old, new));
            }
            Some(_) => {}
        }
    }
    Changes { added: to, removed, changed }
}

fn account_change(from: Account, to: Account) -> AccountChange {
    let parts = [
        ("uid", from.uid != to.uid),
        ("gid", from.gid != to.gid),
        ("home", from.home != to.home),
        ("shell", from.shell != to.shell),
        ("groups", from.groups != to.groups),
        ("password", from.password != to.password),
    ];
    let what = parts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
    AccountChange { from, to, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_removed_and_changed_things_are_told_apart() {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, it)| ((*name).to_owned(), (*it).to_owned())).collect()
        };
        let from = map(&[("same", "1"), ("gone", "1"), ("newer", "1")]);
        let to = map(&[("same", "1"), ("newer", "2"), ("more", "1")]);
        let found = changes(from, to, |from, to| Difference { from, to });
        assert_eq!(found.added, map(&[("more", "1")]));
        assert_eq!(found.removed, map(&[("gone", "1")]));
        assert_eq!(found.changed["newer"], Difference { from: "1".into(), to: "2".into() });
        assert_eq!(found.len(), 3);
    }
}
