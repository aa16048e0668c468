//! `{name}` in addresses.

use std::collections::BTreeMap;

use crate::util::error::{Error, Result};

/// Values of names in templates.
pub(crate) type Values = BTreeMap<String, String>;

/// A template with its names replaced.
pub(crate) fn fill(template: &str, values: &Values) -> String {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}

/// The names a template uses.
fn names(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
}

/// Fails unless every name that it uses is known, and it leads to a web address.
pub(super) fn check(template: &str, known: &[&str]) -> Result<()> {
    if !template.starts_with("https://")
        && !template.starts_with("http://")
        && !template.starts_with("{url}")
    {
        return Err(Error::input(format!("`{template}` is not an https:// address")));
    }
    match names(template).find(|name| !known.contains(name)) {
        Some(name) => {
            Err(Error::input(format!("nothing says what `{{{name}}}` is in `{template}`")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_filled() {
        let values = Values::from([("a".into(), "1".into()), ("b".into(), "2".into())]);
        assert_eq!(fill("x{a}y{b}{a}", &values), "x1y21");
        assert_eq!(names("x{a}y{b}{").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn unknown_names_are_told() {
        assert!(check("https://h/{a}", &["a"]).is_ok());
        let error = check("https://h/{b}", &["a"]).unwrap_err();
        assert_eq!(error.to_string(), "nothing says what `{b}` is in `https://h/{b}`");
        assert!(check("ftp://h/", &[]).is_err());
    }
}
