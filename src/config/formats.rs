//! What a cluster file may say of artifact formats. Which formats there are is known to the room that
//! writes them; it hands its rules in.

/// What a cluster file may say of one artifact format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatRule {
    /// Its name in `[output] formats`.
    pub name: &'static str,
    /// What the key of the same name in `[output]` may say; none when there is no such key.
    pub variants: &'static [&'static str],
    /// What the names of its artifacts in the output folder end in.
    pub endings: Vec<&'static str>,
    /// What follows the cluster's name in the name that no node may have, because the artifact of all
    /// nodes has it.
    pub reserved: Option<&'static str>,
}

/// A few rules, for tests of rooms that do not write artifacts.
#[cfg(test)]
pub(crate) fn example_rules() -> &'static [FormatRule] {
    static RULES: std::sync::LazyLock<[FormatRule; 3]> = std::sync::LazyLock::new(|| {
        let rule = |name, variants, endings: &[_], reserved| {
            let endings = endings.to_vec();
            FormatRule { name, variants, endings, reserved }
        };
        [
            rule("raw", &[], &[".img"], None),
            rule("qcow2", &["overlay", "standalone"], &[".qcow2"], Some("-base")),
            rule("vmwarevm", &[], &[".vmwarevm"], Some("-template")),
        ]
    });
    &*RULES
}
