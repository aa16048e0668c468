//! What the user may have meant.

/// `` did you mean `hostname`? `` when one of `known` is close to what was `written`.
pub(crate) fn closest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    /// Names are short; comparing a megabyte with each of them would take its time.
    const LONGEST: usize = 64;
    if written.len() > LONGEST {
        return None;
    }
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&written.to_lowercase(), name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| format!("did you mean `{name}`?"))
}

/// `` `a`, `b` and `c` ``
pub(crate) fn all<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    list(names, "and")
}

/// `` `a`, `b` or `c` ``
pub(crate) fn any<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    list(names, "or")
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>, joint: &str) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => "nothing".into(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} {joint} {last}", first.join(", ")),
    }
}
