//! `/etc/os-release`: which operating system it is (os-release(5)).

use std::collections::BTreeMap;

use super::files::read_lossy;
use crate::fs::Tree;
use crate::util::error::Result;

/// Where it is; a marker for a root file system.
pub(crate) const OS_RELEASE: &str = "/etc/os-release";

/// Its keys; empty when there is none.
pub(crate) fn read(tree: &dyn Tree) -> Result<BTreeMap<String, String>> {
    Ok(parse(&read_lossy(tree, OS_RELEASE)?.unwrap_or_default()))
}

/// `KEY=value` lines with a shell's quotes.
fn parse(text: &str) -> BTreeMap<String, String> {
    let assignments = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    assignments
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), unquote(value.trim())))
        .collect()
}

fn unquote(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner.replace("\\\"", "\"").replace("\\$", "$").replace("\\\\", "\\");
        }
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unquoted() {
        let keys = parse(
            "# comment\nNAME=\"Debian GNU/Linux\"\nVERSION_ID='13'\nID=debian\nODD=\"a \\\"b\\\"\"\n",
        );
        assert_eq!(keys["NAME"], "Debian GNU/Linux");
        assert_eq!(keys["VERSION_ID"], "13");
        assert_eq!(keys["ID"], "debian");
        assert_eq!(keys["ODD"], "a \"b\"");
    }
}
