//! Host names, and patterns that stand for many of them.

use crate::util::error::{Error, Result};

/// The most nodes one cluster file may describe.
pub(super) const MOST_NODES: usize = 10_000;

/// What a DNS label is.
pub(super) const LABEL_HINT: &str =
    "lower case letters, digits and `-`, at most 63, with no `-` at either end";

/// `Input` when `name` cannot be a host name.
pub fn check_hostname(name: &str) -> Result<()> {
    let fault = label_fault(name);
    fault.map_or_else(
        || check_reserved(name),
        |why| Err(Error::input(format!("`{name}` is not a valid host name: {why}"))),
    )
}

/// `Input` when every machine has `name` for itself, or for a group of hosts: hosts(5) of Debian and
/// other systems.
pub(super) fn check_reserved(name: &str) -> Result<()> {
    const RESERVED: [&str; 10] = [
        "localhost",
        "localhost4",
        "localhost6",
        "localdomain",
        "ip6-localhost",
        "ip6-loopback",
        "ip6-localnet",
        "ip6-mcastprefix",
        "ip6-allnodes",
        "ip6-allrouters",
    ];
    if !RESERVED.contains(&name) {
        return Ok(());
    }
    Err(Error::input(format!("`{name}` is not a name for a host: every machine has it already")))
}

/// Why `name` is not a valid DNS label (RFC 1123, lower case); `None` when it is one.
pub(super) fn label_fault(name: &str) -> Option<String> {
    let fault = if name.is_empty() {
        "it is empty".to_owned()
    } else if name.len() > 63 {
        format!("it has {} characters, and 63 is the most", name.len())
    } else if name.starts_with('-') || name.ends_with('-') {
        "it begins or ends with `-`".to_owned()
    } else {
        let odd = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-'))?;
        match odd {
            'A'..='Z' => format!("`{odd}` is a capital letter"),
            '.' => "a host name has no dots; the domain goes to `domain` in [cluster]".to_owned(),
            _ => format!("`{}` is not one of a-z, 0-9 and -", odd.escape_debug()),
        }
    };
    Some(fault)
}

/// Why `name` is not a valid DNS name: labels joined by dots.
pub(super) fn domain_fault(name: &str) -> Option<String> {
    if name.len() > 253 {
        return Some(format!("it has {} characters, and 253 is the most", name.len()));
    }
    name.split('.').find_map(|label| {
        let fault = label_fault(label)?;
        Some(if label.is_empty() { "it has an empty part".into() } else { fault })
    })
}

/// The names a pattern stands for: `node[0-4]`, `node[08-11]`, `node{a,b}`, and any mix of them.
/// At most [`MOST_NODES`].
pub(super) fn expand(pattern: &str) -> Result<Vec<String>> {
    // Each name is a label in the end; a long pattern would only be repeated thousandfold.
    const LONGEST: usize = 256;
    if pattern.len() > LONGEST {
        return Err(Error::input(format!("a host name of {} characters", pattern.len()))
            .hint("63 is the most"));
    }
    let mut names = vec![String::new()];
    let mut rest = pattern;
    while let Some(open) = rest.find(['[', '{']) {
        let (literal, tail) = rest.split_at(open);
        let close = if tail.starts_with('[') { ']' } else { '}' };
        let Some(end) = tail.find(close) else {
            return Err(Error::input(format!(
                "`{pattern}` has an opening bracket without its `{close}`"
            )));
        };
        let inside = &tail[1..end];
        let parts = if close == ']' { range(inside)? } else { alternatives(inside)? };
        if names.len() * parts.len() > MOST_NODES {
            return Err(Error::input(format!(
                "`{pattern}` expands to more than {MOST_NODES} nodes"
            )));
        }
        names = names
            .iter()
            .flat_map(|name| parts.iter().map(move |part| format!("{name}{literal}{part}")))
            .collect();
        rest = &tail[end + 1..];
    }
    for name in &mut names {
        name.push_str(rest);
    }
    Ok(names)
}

/// `0-4`, or `08-11` with leading zeros kept.
fn range(inside: &str) -> Result<Vec<String>> {
    let fault = || {
        Error::input(format!("`[{inside}]` is not a range of numbers"))
            .hint("a range is `[0-4]`; to list names write `{a,b}`")
    };
    let (first, last) = inside.split_once('-').ok_or_else(fault)?;
    let number = |text: &str| -> Option<usize> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    };
    let (from, to) = number(first).zip(number(last)).ok_or_else(fault)?;
    if from > to {
        return Err(Error::input(format!("`[{inside}]` runs backwards"))
            .hint(format!("write `[{last}-{first}]`")));
    }
    if to - from >= MOST_NODES {
        return Err(Error::input(format!("`[{inside}]` expands to more than {MOST_NODES} nodes")));
    }
    let width = if first.starts_with('0') && first.len() > 1 { first.len() } else { 0 };
    // Longer names than any label would only fill the memory.
    let width = width.min(64);
    Ok((from..=to).map(|number| format!("{number:0width$}")).collect())
}

/// `a,b`
fn alternatives(inside: &str) -> Result<Vec<String>> {
    let parts: Vec<String> = inside.split(',').map(|part| part.trim().to_owned()).collect();
    if parts.iter().any(String::is_empty) {
        return Err(Error::input(format!("`{{{inside}}}` has an empty part"))
            .hint("alternatives are written `{a,b}`"));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_names() {
        let expand = |pattern| expand(pattern).unwrap_or_else(|error| vec![error.to_string()]);
        assert_eq!(expand("server1"), ["server1"]);
        assert_eq!(expand("node[0-2]"), ["node0", "node1", "node2"]);
        assert_eq!(expand("node[08-10]"), ["node08", "node09", "node10"]);
        assert_eq!(expand("{a,b}[1-2]x"), ["a1x", "a2x", "b1x", "b2x"]);
        assert_eq!(expand("node[4-0]"), ["`[4-0]` runs backwards"]);
        assert_eq!(expand("n[0-10000]"), ["`[0-10000]` expands to more than 10000 nodes"]);
        assert_eq!(
            expand("n[0-999][0-999]"),
            ["`n[0-999][0-999]` expands to more than 10000 nodes"]
        );
        assert_eq!(expand("n[0-"), ["`n[0-` has an opening bracket without its `]`"]);
        assert_eq!(expand("n[a-b]"), ["`[a-b]` is not a range of numbers"]);
        assert_eq!(expand("n{a,}"), ["`{a,}` has an empty part"]);
    }

    #[test]
    fn labels_are_those_of_dns() {
        for good in ["a", "node-1", "0", &"x".repeat(63)] {
            assert_eq!(label_fault(good), None, "{good}");
        }
        for bad in ["", "-a", "a-", "a_b", "A", "a.b", "ä", &"x".repeat(64)] {
            assert!(label_fault(bad).is_some(), "{bad}");
        }
        assert_eq!(domain_fault("home.arpa"), None);
        assert!(domain_fault("home..arpa").is_some());
    }
}
