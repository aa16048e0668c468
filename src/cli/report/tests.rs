use std::sync::Arc;

use super::*;
use crate::util::error::Source;
use crate::util::printable::is_active;

fn plain(error: &Error) -> String {
    anstream::adapter::strip_str(&render(error)).to_string()
}

fn pointing(text: &str, culprit: &str) -> String {
    let source = Arc::new(Source { name: "cluster.toml".into(), text: text.into() });
    let start = text.find(culprit).expect("it is there");
    let problem = Problem::new("it is wrong").at(&source, start..start + culprit.len());
    plain(&Error::input(problem))
}

#[test]
fn message_causes_and_hints() {
    let error = Error::failure("connection refused")
        .context("downloading `x.img`")
        .hint("is there a network?")
        .hint("`--offline` does without");
    assert_eq!(
        plain(&error),
        "error: downloading `x.img`\n  cause: connection refused\nhint: is there a network?\n\
         hint: `--offline` does without\n"
    );
}

#[test]
fn the_line_is_shown_and_underlined() {
    assert_eq!(
        pointing("a = 1\nb = \"8X\" # size\n", "\"8X\""),
        "\
error: it is wrong
 --> cluster.toml:2:5
  |
2 | b = \"8X\" # size
  |     ^^^^
"
    );
}

#[test]
fn tabs_wide_characters_and_crlf_keep_the_underline_in_place() {
    assert_eq!(
        pointing("\tname = \"日本\" x\r\nnext\r\n", "x"),
        "\
error: it is wrong
 --> cluster.toml:1:14
  |
1 |     name = \"日本\" x
  |                   ^
"
    );
    assert_eq!(
        pointing("name = \"日本\"\r\n", "日本"),
        "\
error: it is wrong
 --> cluster.toml:1:9
  |
1 | name = \"日本\"
  |         ^^^^
"
    );
}

#[test]
fn several_places_are_shown_with_their_notes() {
    let text = "x\n".repeat(8) + "hostname = \"a\"\nhostname = \"a\"\n";
    let source = Arc::new(Source { name: "cluster.toml".into(), text });
    let problem = Problem::new("two nodes are called `a`").at(&source, 42..45).also_at(
        &source,
        27..30,
        "the first is here",
    );
    assert_eq!(
        plain(&Error::input(problem)),
        "\
error: two nodes are called `a`
  --> cluster.toml:10:12
   |
10 | hostname = \"a\"
   |            ^^^
   |
  ::: cluster.toml:9:12
   |
 9 | hostname = \"a\"
   |            --- the first is here
"
    );
}

#[test]
fn of_long_lines_and_many_lines_only_what_matters_is_shown() {
    let text = format!("{}CULPRIT{}", "a".repeat(500), "b".repeat(500));
    let shown = pointing(&text, "CULPRIT");
    let line = shown.lines().nth(3).unwrap_or_default();
    assert_eq!(line, format!("1 | ...{}CULPRIT{}...", "a".repeat(51), "b".repeat(52)));
    assert_eq!(shown.lines().nth(4), Some(&*format!("  | {}^^^^^^^", " ".repeat(54))));
    // A span of several lines is underlined to the end of its first.
    let shown = pointing("a = [\n1,\n]\n", "[\n1,\n]");
    assert_eq!(shown.lines().nth(4), Some("  |     ^"));
}

#[test]
fn the_end_of_a_file_is_a_place() {
    let source = Arc::new(Source { name: "f".into(), text: "ab\n".into() });
    for (span, expected) in [
        (3..3, "error: m\n --> f:2:1\n  |\n2 |\n  | ^\n"),
        (2..3, "error: m\n --> f:1:3\n  |\n1 | ab\n  |   ^\n"),
        (99..200, "error: m\n --> f:2:1\n  |\n2 |\n  | ^\n"),
    ] {
        let problem = Problem::new("m").at(&source, span);
        assert_eq!(plain(&Error::input(problem)), expected);
    }
}

#[test]
fn input_cannot_forge_lines_or_move_the_cursor() {
    let error = Error::input("`a\nerror: b` \u{1b}[2J\u{202e}");
    assert_eq!(plain(&error), "error: `a\n    error: b` \\u{1b}[2J\\u{202e}\n");
    assert!(pointing("x = \"\u{1b}[2J\"", "x").contains("1 | x = \"\u{fffd}[2J\""));
    let hostile: String = ('\0'..='\u{ffff}').filter(|c| is_active(*c) && *c != '\n').collect();
    let text = format!("{hostile}x{hostile}");
    let source = Arc::new(Source { name: format!("f{hostile}\n"), text: text.clone() });
    for span in [0..text.len(), hostile.len()..hostile.len() + 1] {
        let problem =
            Problem::new(&*hostile).at(&source, span.clone()).also_at(&source, span, &*hostile);
        let shown = plain(&Error::check(vec![problem]).expect_err("one problem"));
        let lines: String = shown.split('\n').collect();
        assert!(!lines.contains(is_active), "{lines:?}");
    }
}

#[test]
fn problems_beyond_a_hundred_are_counted() {
    let problems = (0..150).map(|number| Problem::new(number.to_string())).collect();
    let shown = plain(&Error::check(problems).expect_err("many"));
    assert!(shown.ends_with("error: 99\n\nerror: and 50 problems more\n"), "{shown}");
}
