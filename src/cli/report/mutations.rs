//! Randomly changed files: no input may cause a panic.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::render;
use crate::config;
use crate::util::error::Result;

/// How many mutated files are read: about 11 seconds of one core without optimisation.
const COUNT: usize = 100_000;

/// Pieces that mean something in a cluster file.
const PIECES: [&str; 24] = [
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    "#",
    "\\u0000",
    "node",
    "[0-9999]",
    "{a,b}",
    "-1",
    "99999999999999999999",
    "1e400",
    "::/0",
    "{{ node }}",
    "\u{202e}日",
];

/// xorshift64: the same mutations each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap_or_default()
    }

    fn mutate(&mut self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=self.below(3) {
            let (one, other) = (self.below(bytes.len()), self.below(bytes.len()));
            let range = one.min(other)..one.max(other).min(one.min(other) + 40);
            match self.below(6) {
                0 => bytes[one] = u8::try_from(self.below(256)).unwrap_or_default(),
                1 => drop(bytes.drain(range)),
                2 => {
                    let copy = bytes[range].to_vec();
                    bytes.splice(other..other, copy);
                }
                3 => bytes.truncate(one.max(1)),
                4 => {
                    // A line somewhere else.
                    let lines: Vec<_> = text.lines().collect();
                    let line = format!("\n{}\n", lines[self.below(lines.len())]);
                    bytes.splice(one..one, line.into_bytes());
                }
                _ => {
                    let piece = PIECES[self.below(PIECES.len())];
                    bytes.splice(one..one, piece.bytes());
                }
            }
            if bytes.is_empty() {
                bytes.push(b'a');
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[test]
fn mutated_files_never_panic() -> Result<()> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart");
    let seed = fs::read_to_string(example.join("cluster.toml"))?;
    let run = |random: Random| {
        let mut random = random;
        let fine = (0..COUNT / 2).filter(|_| {
            let text = random.mutate(&seed);
            match config::parse(Path::new("cluster.toml"), text, example.clone()) {
                Ok(_) => true,
                Err(error) => {
                    assert!(render(&error).contains("error"));
                    false
                }
            }
        });
        fine.count()
    };
    let fine = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(Random(0xf00d)));
        run(Random(0x5eed)) + other.join().expect("no panic in the other half either")
    });
    assert!((COUNT / 100..COUNT / 2).contains(&fine), "{fine} were fine: what is being tested?");
    Ok(())
}

#[test]
fn deep_and_endless_files_are_refused() {
    let nested = format!("a = {}", "[".repeat(100_000));
    let dotted = format!("{}b = 1", "a.".repeat(100_000));
    let tables = format!("[{}b]", "a.".repeat(100_000));
    let inline = format!("a = {}", "{a=".repeat(100_000));
    for text in [nested, dotted, tables, inline] {
        let error = config::parse(Path::new("f"), text, ".".into()).err();
        assert!(error.is_some_and(|error| !render(&error).is_empty()));
    }
}

#[test]
fn ten_thousand_nodes_take_no_time() {
    let mut text = String::from(
        "[cluster]\nname = \"home\"\nprofile = \"quickstart\"\n[access]\nuser = \"admin\"\n\
         [[node]]\nhostname = \"server1\"\n",
    );
    for number in 1..10_000 {
        let (high, low) = (number / 250, number % 250 + 2);
        write!(
            text,
            "[[node]]\nhostname = \"agent{number}\"\naddresses = [\"10.0.{high}.{low}/16\"]\n\
             gateway = [\"10.0.0.1\"]\n"
        )
        .expect("writing to a string");
    }
    let start = Instant::now();
    let cluster = config::parse(Path::new("f"), text, ".".into());
    let took = start.elapsed();
    assert_eq!(cluster.map(|cluster| cluster.nodes.len()).ok(), Some(10_000));
    // A twentieth of a second on an idle machine; anything quadratic takes minutes.
    assert!(took < Duration::from_secs(5), "it took {took:?}");
}
