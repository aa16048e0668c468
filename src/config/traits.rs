//! What a node has of its own, and what `[defaults]` gives to all.

use std::collections::BTreeMap;

use super::kubelet::{self, Taint};
use super::reader::{Spanned, Table};

/// What `[defaults]` gives to all nodes, and a node has of its own.
#[derive(Clone, Default)]
pub(super) struct NodeTraits {
    pub(super) interface: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) taints: Vec<Taint>,
    pub(super) cmdline: Vec<String>,
    pub(super) config_txt: Vec<String>,
    /// Sorted, none twice.
    pub(super) packages: Vec<String>,
}

impl NodeTraits {
    pub(super) fn read(table: &Table<'_>) -> Self {
        let interface = table.string("interface").and_then(|text| {
            if is_mac(text.value) {
                return Some(text.value.to_lowercase());
            }
            // Upper and lower case are different names to Linux: `enP1p1s0`.
            if is_interface(text.value) {
                return Some(text.value.to_owned());
            }
            let message = format!("`{}` is neither a network card's name nor its MAC", text.value);
            table.reader.wrong_hint(
                &text.span,
                message,
                "for example `eth0` or `d8:3a:dd:01:02:03`",
            );
            None
        });
        let cmdline = table.table("kernel").map(|table| {
            let hint = "for example `cgroup_enable=memory`, each word an element of its own";
            let words = checked(&table, "cmdline", is_word, "not one word", hint);
            table.finish();
            words
        });
        let hint = "for example `lvm2`, or with its version `lvm2=2.03.31-2`";
        let mut packages = checked(table, "packages", is_package, "not a package's name", hint);
        packages.sort();
        packages.dedup();
        Self {
            packages,
            interface,
            labels: kubelet::read_labels(table),
            taints: kubelet::read_taints(table),
            cmdline: cmdline.unwrap_or_default(),
            config_txt: checked(table, "config_txt", is_line, "not one line", LINE_HINT),
        }
    }

    /// A node's own count where both say something; lists grow.
    pub(super) fn over(self, defaults: &Self) -> Self {
        let mut all = defaults.clone();
        all.interface = self.interface.or(all.interface);
        all.labels.extend(self.labels);
        all.taints.retain(|taint| {
            !self.taints.iter().any(|own| (&own.key, own.effect) == (&taint.key, taint.effect))
        });
        all.taints.extend(self.taints);
        all.cmdline.extend(self.cmdline);
        all.config_txt.extend(self.config_txt);
        let bare = |package: &str| package.split('=').next().unwrap_or_default().to_owned();
        all.packages.retain(|it| !self.packages.iter().any(|own| bare(own) == bare(it)));
        all.packages.extend(self.packages);
        all.packages.sort();
        all.packages.dedup();
        all
    }
}

/// As Linux takes it: IFNAMSIZ with its zero byte is 16.
fn is_interface(name: &str) -> bool {
    (1..16).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !matches!(name, "." | "..")
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    parts.len() == 6
        && parts.iter().all(|it| it.len() == 2 && it.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

const LINE_HINT: &str = "for example `dtparam=pciex1`, each line an element of its own";

fn checked(
    table: &Table<'_>,
    key: &'static str,
    is_good: fn(&str) -> bool,
    fault: &str,
    hint: &str,
) -> Vec<String> {
    let is_good = |text: &Spanned<&str>| {
        let good = is_good(text.value);
        if !good {
            let message = format!("`{}` is {fault}", text.value.escape_debug());
            table.reader.wrong_hint(&text.span, message, hint);
        }
        good
    };
    let texts = table.strings(key).into_iter().filter(is_good);
    texts.map(|text| text.value.to_owned()).collect()
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Debian Policy, 5.6.7 and 5.6.12: `NAME`, or `NAME=VERSION` as apt takes it.
fn is_package(text: &str) -> bool {
    let (name, version) = text.split_once('=').unwrap_or((text, "0"));
    let is_lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (2..100).contains(&name.len())
        && name.bytes().next().is_some_and(is_lower)
        && name.bytes().all(|byte| is_lower(byte) || b"+-.".contains(&byte))
        && (1..100).contains(&version.len())
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+~:*-".contains(&byte))
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}
