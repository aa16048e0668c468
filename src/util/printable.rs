//! Text from strangers, made safe for a terminal: labels, file names, other programs' words.

use std::borrow::Cow;

/// Whether a terminal acts upon the character, or turns around what stands beside it: control
/// characters, and those that change the direction of writing.
pub fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}')
}

/// One line of it: each character that a terminal would act upon becomes `?`, as with `ls -q`.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_active(c) { '?' } else { c }).collect()
}

/// Lines of it, with their ends and tabs.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    let acts = |c: char| !matches!(c, '\n' | '\t') && is_active(c);
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if acts(c) { '?' } else { c }).collect())
}

/// JSON with such characters escaped: they stand inside its texts only.
pub fn printable_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_active(c) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\x1b[2Jb\u{202e}c\u{9b}ä漢\t\x7f\r\n";

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(printable(HOSTILE), "a?[2Jb?c?ä漢????");
        assert_eq!(printable_lines(HOSTILE), "a?[2Jb?c?ä漢\t??\n");
        assert!(matches!(printable_lines("ä\tb\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_means_the_same() {
        let text = serde_json::to_string(HOSTILE).expect("a text");
        let escaped = printable_json(&text);
        assert!(!escaped.contains(is_active), "{escaped}");
        let meant: Option<String> = serde_json::from_str(&escaped).ok();
        assert_eq!(meant.as_deref(), Some(HOSTILE));
    }
}
