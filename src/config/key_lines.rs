//! Lines of `authorized_keys`, as sshd reads them: what it takes is taken, and nothing that it would
//! pass over in silence.
//!
//! Source: sshd(8), its section on the format of the file.

use crate::util::error::{Error, Result};

/// Kinds of keys that sshd has in its own list, without those it does not accept any more.
const KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// What the name of a kind begins with, known or not.
const PREFIXES: [&str; 4] = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"];

/// Options that are a word; all but the first three also with `no-` before them.
const FLAGS: [&str; 8] = [
    "restrict",
    "cert-authority",
    "verify-required",
    "port-forwarding",
    "agent-forwarding",
    "x11-forwarding",
    "pty",
    "user-rc",
];

/// How a line begins: `restrict,command="ls -l" ssh-ed25519 AAAA… comment`.
const EXAMPLE: &str =
    "for example `restrict,command=\"/usr/bin/uptime\" ssh-ed25519 AAAA… me@laptop`";

/// Whether a text is meant as a line with a key, and not as the name of a file.
pub(super) fn is_line(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let first = words.next().unwrap_or_default();
    let is_kind = |word: &str| PREFIXES.iter().any(|prefix| word.starts_with(prefix));
    let has_more = words.clone().next().is_some();
    has_more && (is_kind(first) || words.any(|word| KINDS.contains(&word)))
}

/// The line as it goes to `authorized_keys`, options and comment kept.
pub(super) fn check_line(line: &str) -> Result<String> {
    let line = line.trim();
    // A second line in one string would be a second key that was not checked.
    if line.contains(['\n', '\r', '\0']) {
        return Err(Error::input(format!("`{}` is not one SSH public key", shortened(line))));
    }
    let Some((options, key)) = split_options(line) else {
        let message = format!("`{}` has options without their closing `\"`", shortened(line));
        return Err(Error::input(message).hint(EXAMPLE));
    };
    check_options(options)?;
    check_key(key).map_err(|why| {
        Error::input(format!("`{}` is not an SSH public key: {why}", shortened(key)))
            .hint("is it cut short? a `.pub` file holds the whole line")
    })?;
    Ok(line.to_owned())
}

/// The options, empty when there are none, and the key behind them; `None` when a quotation in the
/// options has no end.
fn split_options(line: &str) -> Option<(&str, &str)> {
    if PREFIXES.iter().any(|prefix| line.starts_with(prefix)) {
        return Some(("", line));
    }
    let mut is_quoted = false;
    let mut bytes = line.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if line[at..].starts_with("\\\"") => _ = bytes.next(),
            b'"' => is_quoted = !is_quoted,
            b' ' | b'\t' if !is_quoted => return Some((&line[..at], line[at..].trim_start())),
            _ => {}
        }
    }
    if is_quoted { None } else { Some(("", line)) }
}

/// A kind and a key of that kind; what is behind them is a comment.
fn check_key(text: &str) -> Result<(), String> {
    let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
    let (kind, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if kind == "ssh-dss" {
        return Err("sshd does not accept DSA keys any more".into());
    }
    if kind.contains("-cert-v0") {
        return Err(
            "it is a certificate; write its key, or its authority's behind `cert-authority`".into(),
        );
    }
    if !KINDS.contains(&kind) {
        return Err(format!("sshd knows no kind `{}`", shortened(kind)));
    }
    let parsed = ssh_key::PublicKey::from_openssh(&format!("{kind} {key}"));
    parsed.map(|_| ()).map_err(|error| error.to_string())
}

/// sshd passes over a line with an option that it does not know.
fn check_options(options: &str) -> Result<()> {
    let mut seen: Vec<String> = Vec::new();
    let mut rest = options;
    while !rest.is_empty() {
        let end = rest.find([',', '=']).unwrap_or(rest.len());
        let name = rest[..end].to_ascii_lowercase();
        let mut value = None;
        rest = &rest[end..];
        if let Some(quoted) = rest.strip_prefix('=') {
            let (text, behind) =
                unquote(quoted).ok_or_else(|| wrong(&name, "needs its value in double quotes"))?;
            (value, rest) = (Some(text), behind);
        }
        if let Some(fault) = option_fault(&name, value.as_deref()) {
            return Err(wrong(&name, &fault));
        }
        if is_single(&name) && seen.contains(&name) {
            return Err(wrong(&name, "is given twice"));
        }
        seen.push(name);
        rest = match rest.strip_prefix(',') {
            Some("") => return Err(wrong("", "is missing behind the last comma")),
            Some(more) => more,
            None if rest.is_empty() => rest,
            None => return Err(wrong(rest, "does not begin with a comma")),
        };
    }
    Ok(())
}

fn wrong(name: &str, fault: &str) -> Error {
    Error::input(format!("the option `{}` of an SSH key {fault}", shortened(name))).hint(EXAMPLE)
}

/// A text in double quotes, in which `\"` stands for one, and what is behind it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.strip_prefix('"')?.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 2..])),
            '\\' if text[at + 1..].starts_with("\\\"") => {
                value.push('"');
                characters.next();
            }
            other => value.push(other),
        }
    }
    None
}

/// Options of which a second one makes sshd pass over the line.
fn is_single(name: &str) -> bool {
    matches!(name, "command" | "from" | "principals" | "tunnel")
}

/// What is wrong with an option, in words that follow its name.
fn option_fault(name: &str, value: Option<&str>) -> Option<String> {
    let plain = name.strip_prefix("no-").unwrap_or(name);
    let is_flag = FLAGS.contains(&name)
        || plain != name && (FLAGS[3..].contains(&plain) || plain == "touch-required");
    let is_good: fn(&str) -> bool = match name {
        _ if is_flag => return value.map(|_| "takes no value".into()),
        "command" => |_| true,
        "from" | "principals" => |it| !it.is_empty(),
        "environment" => is_assignment,
        "expiry-time" => is_time,
        "permitopen" => {
            |it| it.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && is_port(port))
        }
        "permitlisten" => |it| is_port(it.rsplit_once(':').map_or(it, |(_, port)| port)),
        "tunnel" => |it| it == "any" || it.split(':').all(|it| it.parse::<u16>().is_ok()),
        _ => return Some("is not one that sshd knows".into()),
    };
    match value {
        None => Some("needs a value".into()),
        Some(value) if !is_good(value) => Some(format!("cannot be `{}`", shortened(value))),
        Some(_) => None,
    }
}

fn is_port(text: &str) -> bool {
    text == "*" || text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// `NAME=value`
fn is_assignment(text: &str) -> bool {
    let is_name = |it: &str| it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
    text.split_once('=').is_some_and(|(name, _)| !name.is_empty() && is_name(name))
}

/// `YYYYMMDD` or `YYYYMMDDHHMM[SS]`, `Z` for UTC.
fn is_time(text: &str) -> bool {
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let has_form =
        matches!(digits.len(), 8 | 12 | 14) && digits.bytes().all(|it| it.is_ascii_digit());
    let within = |range: std::ops::Range<usize>, least, most| {
        digits.get(range).is_none_or(|it| (least..=most).contains(&it.parse().unwrap_or(u32::MAX)))
    };
    has_form
        && within(4..6, 1, 12)
        && within(6..8, 1, 31)
        && within(8..10, 0, 23)
        && within(10..12, 0, 59)
        && within(12..14, 0, 60)
}

/// How to make lines of another program's key; `None` when it is not known as one.
pub(super) fn conversion(text: &str, shown: &str) -> Option<String> {
    let text = text.trim_start();
    let command = if text.starts_with("---- BEGIN SSH2 PUBLIC KEY") {
        format!("ssh-keygen -i -f {shown}")
    } else if text.starts_with("-----BEGIN PUBLIC KEY") {
        format!("ssh-keygen -i -m PKCS8 -f {shown}")
    } else if text.starts_with("-----BEGIN RSA PUBLIC KEY") {
        format!("ssh-keygen -i -m PEM -f {shown}")
    } else if text.starts_with("PuTTY-User-Key-File") {
        format!("puttygen {shown} -O public-openssh")
    } else {
        return None;
    };
    Some(format!("`{command}` prints it in OpenSSH's format"))
}

pub(super) fn shortened(line: &str) -> String {
    const MOST: usize = 40;
    let line = line.escape_debug().to_string();
    if line.chars().count() <= MOST {
        return line;
    }
    let start: String = line.chars().take(MOST).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqRRKt7qZ+7PAkXhbpA1tWiPCsw4oM/WAAYKXuoXMQS me";

    #[test]
    fn options_are_what_sshd_has() {
        for good in [
            "",
            "command=\"/bin/sh -c ls\"",
            "command=\"echo \\\"hi, all\\\" \"",
            "restrict",
            "Restrict,PTY,command=\"\"",
            "from=\"10.0.0.0/8,!10.0.0.1,*.home.arpa\"",
            "cert-authority,principals=\"root,me\"",
            "no-touch-required,verify-required,no-X11-forwarding,no-user-rc",
            "environment=\"A=b c\",environment=\"B=\"",
            "expiry-time=\"20301231\",expiry-time=\"203012312359Z\"",
            "permitopen=\"localhost:80\",permitopen=\"[::1]:*\",permitlisten=\"8080\"",
            "tunnel=\"0\"",
        ] {
            let line = format!("{good} {KEY}");
            assert_eq!(check_line(&line).map_err(|it| it.to_string()), Ok(line.trim().into()));
            assert!(is_line(&line), "{line}");
        }
        for bad in [
            "command",
            "command=ls",
            "command=\"ls",
            "command=\"a\",command=\"b\"",
            "restrict=\"yes\"",
            "no-restrict",
            "touch-required",
            "restrict,",
            ",restrict",
            "restrict,,pty",
            "restricted",
            "command=\"ls\"restrict",
            "environment=\"A\"",
            "environment=\"A-B=c\"",
            "expiry-time=\"2030\"",
            "expiry-time=\"20301301\"",
            "permitopen=\"localhost\"",
            "permitopen=\"localhost:0\"",
            "from=\"\"",
            "tunnel=\"x\"",
        ] {
            assert!(check_line(&format!("{bad} {KEY}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_what_sshd_has() {
        let blob = KEY.split(' ').nth(1).unwrap_or_default();
        for bad in [
            "ssh-ed25519".to_owned(),
            format!("ssh-rsa {blob}"),
            format!("ssh-dss {blob}"),
            format!("ssh-ed25519-cert-v01@openssh.com {blob}"),
            format!("ssh-ed448 {blob}"),
            format!("{KEY}\n{KEY}"),
            format!("restrict {blob}"),
            blob.to_owned(),
        ] {
            assert!(check_line(&bad).is_err(), "{bad}");
        }
        assert!(!is_line("~/my keys/id.pub") && !is_line("ssh-keys.pub"));
    }
}
