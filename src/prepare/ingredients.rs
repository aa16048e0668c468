//! Everything that a prepared base is made of, and what has changed since another was made.

use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::plan;
use crate::sandbox::Sandbox;
use crate::util::error::{Error, Result};
use crate::util::sha256::Sha256;

/// Raised when the same changes come to mean another image.
const RECIPE: u32 = 7;

/// Names and hashes of inputs, in the order in which they count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ingredients(Vec<(String, String)>);

impl Ingredients {
    /// Those of a base with changes. Who asked for a change makes no difference, and neither does
    /// in which sandbox programs run: only whether they do.
    pub(crate) fn new(base_sha256: Sha256, changes: &[Change], sandbox: Sandbox) -> Result<Self> {
        let mut all = vec![
            ("the version of nodeforge".to_owned(), RECIPE.to_string()),
            ("the base".to_owned(), base_sha256.to_string()),
            ("when packages are installed".to_owned(), (sandbox == Sandbox::None).to_string()),
        ];
        for change in changes {
            let text = serde_json::to_vec(&change.action)
                .map_err(|error| Error::failure(error.to_string()))?;
            all.push((plan::subject(&change.action), Sha256::of(&text).to_string()));
        }
        Ok(Self(all))
    }

    /// The hash of everything: 64 hexadecimal digits.
    pub(crate) fn key(&self) -> Result<String> {
        let text =
            serde_json::to_vec(&self.0).map_err(|error| Error::failure(error.to_string()))?;
        Ok(Sha256::of(&text).to_string())
    }

    /// What is not as it was, for people.
    pub(crate) fn changes_since(&self, old: &Self) -> Vec<String> {
        let find = |all: &Self, name: &str| {
            all.0.iter().find(|(other, _)| other == name).map(|(_, hash)| hash.clone())
        };
        let mut reasons: Vec<String> = self
            .0
            .iter()
            .filter_map(|(name, hash)| match find(old, name) {
                None => Some(format!("{name} is new")),
                Some(before) if before != *hash => Some(format!("{name} changed")),
                Some(_) => None,
            })
            .collect();
        let gone = old.0.iter().filter(|(name, _)| find(self, name).is_none());
        reasons.extend(gone.map(|(name, _)| format!("{name} is gone")));
        if reasons.is_empty() && self != old {
            reasons.push("the order changed".into());
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Action, Requester};

    fn change(path: &str, origin: Requester) -> Change {
        Change::new(Action::Remove { path: path.into() }, origin)
    }

    #[test]
    fn every_change_shows_and_nothing_else() {
        let inputs = |base: &str, changes: &[Change], sandbox| {
            Ingredients::new(Sha256::of(base), changes, sandbox).unwrap()
        };
        let (one, two) = (change("/a", Requester::Nodeforge), change("/b", Requester::ClusterFile));
        let first = inputs("x", std::slice::from_ref(&one), Sandbox::Loop);
        let same = inputs("x", &[change("/a", Requester::ClusterFile)], Sandbox::Userns);
        assert_eq!(first.key().unwrap(), same.key().unwrap());
        assert!(first.changes_since(&same).is_empty());
        let other = inputs("y", &[two.clone(), one.clone()], Sandbox::None);
        assert_eq!(
            other.changes_since(&first),
            ["the base changed", "when packages are installed changed", "/b is new"]
        );
        assert_eq!(first.changes_since(&other)[2], "/b is gone");
        let turned = inputs("y", &[one, two], Sandbox::None);
        assert_eq!(turned.changes_since(&other), ["the order changed"]);
        assert_ne!(turned.key().unwrap(), other.key().unwrap());
    }
}
