//! What a kubelet may say of its own node: labels and taints.
//!
//! Source: `k8s.io/kubelet/pkg/apis/well_known_labels.go`, `k8s.io/apimachinery`'s validation of labels, and
//! the admission plugin `NodeRestriction`.

use std::collections::BTreeMap;
use std::fmt;

use super::hostname;
use super::reader::{Reader, Spanned, Table};

/// What keeps pods off a node that do not tolerate it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Like a label's.
    pub key: String,
    /// Like a label's; may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: &'static str,
}

/// As kubelet and k3s take it: `KEY=VALUE:EFFECT`, `KEY:EFFECT`.
impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let equals = if self.value.is_empty() { "" } else { "=" };
        write!(f, "{}{equals}{}:{}", self.key, self.value, self.effect)
    }
}

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Labels of Kubernetes' own domains that a kubelet may give its node.
const KUBELETS_OWN: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// `labels = { "example.org/disk" = "nvme" }`
pub(super) fn read_labels(table: &Table<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (key, value) in table.table("labels").map(|it| it.entries()).unwrap_or_default() {
        let reader = table.reader;
        let is_key = check_key(reader, &key, "label") && check_restricted(reader, &key);
        let Some(value) = value.string() else { continue };
        if is_key && check_value(reader, &value, value.value) {
            labels.insert(key.value.to_owned(), value.value.to_owned());
        }
    }
    labels
}

/// `taints = ["example.org/edge=true:NoSchedule"]`
pub(super) fn read_taints(table: &Table<'_>) -> Vec<Taint> {
    let reader = table.reader;
    let read = |text: &Spanned<&str>| {
        let wrong = |message: String| {
            let hint = "for example `taints = [\"example.org/edge=true:NoSchedule\"]`";
            reader.wrong_hint(&text.span, message, hint);
        };
        let Some((rest, effect)) = text.value.rsplit_once(':') else {
            wrong(format!("the taint `{}` has no effect", text.value));
            return None;
        };
        let Some(effect) = EFFECTS.into_iter().find(|it| *it == effect) else {
            let [effects @ .., last] = EFFECTS;
            let effects = effects.join(", ");
            wrong(format!("`{effect}`: a taint's effect is one of {effects} and {last}"));
            return None;
        };
        let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
        let spanned = Spanned::new(key, text.span.clone());
        let is_good = check_key(reader, &spanned, "taint") && check_value(reader, text, value);
        is_good.then(|| Taint { key: key.to_owned(), value: value.to_owned(), effect })
    };
    table.strings("taints").iter().filter_map(read).collect()
}

/// A name, perhaps with a domain before it: `example.org/disk`.
fn check_key(reader: &Reader, key: &Spanned<&str>, what: &str) -> bool {
    let (domain, name) = match key.value.rsplit_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key.value),
    };
    let is_good = !name.is_empty()
        && is_word(name)
        && domain.is_none_or(|domain| {
            hostname::domain_fault(domain).is_none() && !domain.chars().any(char::is_uppercase)
        });
    if !is_good {
        let message = format!("`{}` is not a valid key of a {what}", key.value);
        reader.wrong_hint(&key.span, message, "for example `example.org/disk`, or `disk`");
    }
    is_good
}

fn check_value(reader: &Reader, place: &Spanned<&str>, value: &str) -> bool {
    let is_good = is_word(value);
    if !is_good {
        let message = format!("`{value}` is not a valid value of a label or taint");
        let hint =
            "at most 63 letters, digits, `-`, `_` and `.`, the first and last a letter or digit";
        reader.wrong_hint(&place.span, message, hint);
    }
    is_good
}

fn is_word(text: &str) -> bool {
    let is_end = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && is_end(text.bytes().next())
        && is_end(text.bytes().last())
}

/// A node that could give itself any label could attract pods that are meant for others.
fn check_restricted(reader: &Reader, key: &Spanned<&str>) -> bool {
    let domain = key.value.rsplit_once('/').map_or("", |(domain, _)| domain);
    let is_below = |parent: &str| {
        domain == parent || domain.strip_suffix(parent).is_some_and(|it| it.ends_with('.'))
    };
    let is_kubernetes = is_below("kubernetes.io") || is_below("k8s.io");
    let is_allowed = KUBELETS_OWN.contains(&key.value)
        || is_below("kubelet.kubernetes.io")
        || is_below("node.kubernetes.io");
    if is_kubernetes && !is_allowed {
        let message = format!("a kubelet may not give its node the label `{}`", key.value);
        let hint = "use a domain of your own, or `node.kubernetes.io/…`; an administrator may: \
                    `kubectl label node NAME KEY=VALUE`";
        reader.wrong_hint(&key.span, message, hint);
        return false;
    }
    true
}
