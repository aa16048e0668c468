//! Hashes of passwords as `/etc/shadow` holds them. One that is cut short locks its user out.
//!
//! Source: crypt(5), the regular expressions there.

use std::sync::LazyLock;

use regex::Regex;

/// Methods that are still safe: yescrypt, gost-yescrypt, scrypt, bcrypt, SHA-512 and SHA-256. What
/// crypt(5) leaves out: bcrypt's cost is from 4 to 31, SHA's rounds from 1,000 to 999,999,999.
static SAFE: LazyLock<Regex> = LazyLock::new(|| {
    const B64: &str = "[./A-Za-z0-9]";
    const ROUNDS: &str = "(rounds=[1-9][0-9]{3,8}\\$)?";
    let methods = [
        format!("\\$g?y\\${B64}+\\${B64}{{0,86}}\\${B64}{{43}}"),
        format!("\\$7\\${B64}{{11,97}}\\${B64}{{43}}"),
        format!("\\$2[aby]\\$(0[4-9]|[12][0-9]|3[01])\\${B64}{{53}}"),
        format!("\\$6\\${ROUNDS}[^$:\\\\]{{1,16}}\\${B64}{{86}}"),
        format!("\\$5\\${ROUNDS}[^$:\\\\]{{1,16}}\\${B64}{{43}}"),
    ];
    Regex::new(&format!("^({})$", methods.join("|"))).expect("a regular expression")
});

/// What the methods' hashes begin with.
const PREFIXES: [&str; 8] = ["$y$", "$gy$", "$7$", "$2a$", "$2b$", "$2y$", "$6$", "$5$"];

/// What is wrong with a hash; `None` when a password can match it, and is not found out by trying.
pub(super) fn fault(hash: &str) -> Option<&'static str> {
    if hash.starts_with("$1$") {
        return Some("MD5 hashes of passwords can be cracked in minutes");
    }
    if hash.bytes().all(|byte| byte.is_ascii_graphic()) && SAFE.is_match(hash) {
        return None;
    }
    Some(if PREFIXES.iter().any(|prefix| hash.starts_with(prefix)) {
        "this is not a whole crypt(3) hash: no password matches it"
    } else {
        "this is not a crypt(3) hash of a password"
    })
}
