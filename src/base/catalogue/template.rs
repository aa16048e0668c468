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

/// The values with which a template becomes `text`; `None` when it never does. What is before the path of an
/// address is in no value: a name cannot lead to another server.
pub(super) fn values(template: &str, text: &str) -> Option<Values> {
    let path =
        template.find("://").and_then(|at| template[at + 3..].find('/').map(|it| at + 3 + it));
    let mut pattern = String::from("^");
    let mut groups = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        let at = template.len() - rest.len() + before.len();
        pattern.push_str(&regex::escape(before));
        pattern.push_str(if path.is_some_and(|path| at > path) { "(.+)" } else { "([^/]+)" });
        groups.push(name);
        rest = after;
    }
    pattern.push_str(&regex::escape(rest));
    pattern.push('$');
    let captures = regex::Regex::new(&pattern).ok()?.captures(text)?;
    let mut values = Values::new();
    for (name, value) in groups.iter().zip(captures.iter().skip(1).flatten()) {
        let value = value.as_str().to_owned();
        if values.insert((*name).to_owned(), value.clone()).is_some_and(|it| it != value) {
            return None;
        }
    }
    Some(values)
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
    fn an_address_tells_its_values() {
        let template = "https://h/{a}/it-{b}-{a}.img";
        let found = values(template, "https://h/1/it-x-1.img").unwrap();
        assert_eq!(found, Values::from([("a".into(), "1".into()), ("b".into(), "x".into())]));
        for other in [
            "https://h/1/it-x-2.img",
            "https://h/1/it-x-1.img.xz",
            "https://other/1/it-x-1.img",
            "http://h/1/it-x-1.img",
            "https://h/1/it--1.img",
        ] {
            assert_eq!(values(template, other), None, "{other}");
        }
        assert!(values("https://{a}.h/x", "https://1.h/x").is_some());
        assert_eq!(values("https://{a}.h/x", "https://other/1.h/x"), None);
        assert!(values("https://h/x", "https://h/x").is_some_and(|it| it.is_empty()));
    }

    #[test]
    fn unknown_names_are_told() {
        assert!(check("https://h/{a}", &["a"]).is_ok());
        let error = check("https://h/{b}", &["a"]).unwrap_err();
        assert_eq!(error.to_string(), "nothing says what `{b}` is in `https://h/{b}`");
        assert!(check("ftp://h/", &[]).is_err());
    }
}
