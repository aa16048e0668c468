//! Text from a stranger's image, made safe for a terminal.

/// The text without characters that a terminal would act upon: each becomes `?`, as ls(1) does it.
pub fn printable(text: &str) -> String {
    // Besides control characters: those that reorder the text around them.
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if acts(c) { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\u{202e}c\u{9b}ä漢"), "a?[2Jb?c?ä漢");
    }
}
