//! `/etc/nodeforge/roles`: which role a host name gives a node, and the steps of its first boot.
//!
//! A line is `PATTERN ROLE STEP…`. The first one whose pattern, a POSIX extended regular expression,
//! matches the whole host name counts, as `find_role` of `firstboot/lib.sh` has it.

use std::fmt;
use std::path::Path;

use regex::RegexBuilder;

use crate::fs::Tree;
use crate::util::error::{Error, Result};

/// Where it is.
pub(crate) const ROLES: &str = "/etc/nodeforge/roles";

/// More than any table has, in bytes.
const LIMIT: u64 = 1 << 20;

/// A pattern that takes more memory than this, in bytes, is not matched: the image may be hostile.
const PATTERN_LIMIT: usize = 1 << 20;

const HEADER: &str = "# PATTERN ROLE STEP…: the first pattern that matches the host name counts.";

/// The table, with its comments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleTable {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Role(RoleLine),
    /// A comment, an empty line, or one without a role.
    Other(String),
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoleLine {
    pub pattern: String,
    pub role: String,
    pub steps: Vec<String>,
}

impl Default for RoleTable {
    fn default() -> Self {
        Self { lines: vec![Line::Other(HEADER.into())] }
    }
}

impl RoleTable {
    /// Reads an image's; `None` when no profile prepared it.
    pub fn read(tree: &dyn Tree) -> Result<Option<Self>> {
        let content = tree.read(Path::new(ROLES), LIMIT)?;
        Ok(content.map(|bytes| Self::parse(&String::from_utf8_lossy(&bytes))))
    }

    pub(crate) fn parse(text: &str) -> Self {
        let line = |line: &str| match RoleLine::parse(line) {
            Some(role) => Line::Role(role),
            None => Line::Other(line.to_owned()),
        };
        Self { lines: text.lines().map(line).collect() }
    }

    /// Adds a line at the end.
    pub(crate) fn push(&mut self, line: RoleLine) {
        self.lines.push(Line::Role(line));
    }

    /// Gives one host name a role of the table, before all patterns.
    pub(crate) fn assign(&mut self, hostname: &str, role: &str) -> Result<()> {
        let Some(line) = self.roles().find(|line| line.role == role) else {
            let mut names: Vec<&str> = self.roles().map(|line| line.role.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            return Err(Error::input(format!("the image has no role `{role}`"))
                .hint(format!("its roles are {}", names.join(", "))));
        };
        let line = RoleLine { pattern: hostname.to_owned(), ..line.clone() };
        self.lines.insert(0, Line::Role(line));
        Ok(())
    }

    /// The line that counts for a host name.
    pub(crate) fn find(&self, hostname: &str) -> Option<&RoleLine> {
        self.roles().find(|line| line.matches(hostname))
    }

    fn roles(&self) -> impl Iterator<Item = &RoleLine> {
        self.lines.iter().filter_map(|line| match line {
            Line::Role(role) => Some(role),
            Line::Other(_) => None,
        })
    }
}

impl RoleLine {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        let pattern = words.next().filter(|word| !word.starts_with('#'))?;
        Some(Self { pattern, role: words.next()?, steps: words.collect() })
    }

    fn matches(&self, hostname: &str) -> bool {
        RegexBuilder::new(&format!("^(?:{})$", self.pattern))
            .size_limit(PATTERN_LIMIT)
            .build()
            .is_ok_and(|pattern| pattern.is_match(hostname))
    }
}

/// The file's text.
impl fmt::Display for RoleTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            match line {
                Line::Role(RoleLine { pattern, role, steps }) => {
                    write!(f, "{pattern} {role}")?;
                    steps.iter().try_for_each(|step| write!(f, " {step}"))?;
                    writeln!(f)?;
                }
                Line::Other(text) => writeln!(f, "{text}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "# PATTERN ROLE STEP…\nserver[0-9]+ server 10-identity 20-report\n.* agent 10-identity\n";

    #[test]
    fn the_first_pattern_that_matches_the_whole_name_decides() {
        let text = "# made by nodeforge\n\nagent[0-9]+ agent 10-identity 20-report\n.* other\n";
        let table = RoleTable::parse(text);
        let role = |name| table.find(name).map(|line| (line.role.as_str(), line.steps.len()));
        assert_eq!(role("agent12"), Some(("agent", 2)));
        assert_eq!(role("my-agent12"), Some(("other", 0)));
        assert_eq!(RoleTable::parse("agent only\n( broken\nx\n").find("x"), None);
        assert_eq!(table.to_string(), text);
    }

    #[test]
    fn a_role_by_name_comes_first() {
        let mut table = RoleTable::parse(TABLE);
        table.assign("db", "server").unwrap();
        let text = table.to_string();
        assert_eq!(text.lines().next(), Some("db server 10-identity 20-report"));
        assert!(text.ends_with(TABLE));
        assert_eq!(table.find("db").unwrap().role, "server");
    }

    #[test]
    fn roles_that_are_not_there_are_said() {
        let error = RoleTable::parse(TABLE).assign("db", "serve").unwrap_err();
        assert_eq!(error.to_string(), "the image has no role `serve`");
        assert_eq!(error.problems()[0].hints, ["its roles are agent, server"]);
    }
}
