//! Secrets as templates see them: who asks for a private part is noted, and who may not have it is
//! refused.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value};

use super::scope::Reach;
use super::values::{Guarded, Used, Watched};
use crate::config::{Profile, SecretKind, SecretSpec, SecretText, recipients_of};
use crate::secrets::{NodeKeys, Secret, Secrets, WireGuard};

/// `secrets`
pub(super) fn all(profile: &Profile, secrets: &Secrets, reach: &Reach<'_>, used: &Used) -> Value {
    let values: BTreeMap<_, _> = profile
        .secrets
        .iter()
        .filter_map(|spec| {
            let secret = secrets.get(&spec.name)?;
            Some((spec.name.clone(), one(spec, secret, reach, used)))
        })
        .collect();
    Value::from_object(Watched { values, used: used.clone() })
}

fn one(spec: &SecretSpec, secret: &Arc<Secret>, reach: &Reach<'_>, used: &Used) -> Guarded {
    let refusal = reach.refusal(spec);
    let whole = match secret.as_ref() {
        Secret::Text(text) => Some(Ok(Value::from(text.as_str()))),
        // Its name is known.
        Secret::Missing(_) if used.are_names() => Some(Ok(Value::from(""))),
        Secret::Missing(why) => Some(Err(why.clone())),
        Secret::Ca(_)
        | Secret::Client(_)
        | Secret::KeyPair(_)
        | Secret::NodeKeys(_)
        | Secret::WireGuard(_) => None,
    };
    if let Some(value) = whole {
        return Guarded { value: refusal.map_or(value, Err), is_secret: true };
    }
    let own = match reach {
        Reach::Node(node) => Some(node.hostname.clone()),
        Reach::People => None,
    };
    let object = Parts {
        name: spec.name.clone(),
        secret: Arc::clone(secret),
        refusal,
        own,
        used: used.clone(),
    };
    Guarded { value: Ok(Value::from_object(object)), is_secret: false }
}

/// What a template may write after `secrets.NAME.`; nothing when it is a text as a whole.
pub(super) fn parts_of(kind: SecretKind) -> &'static str {
    match kind {
        SecretKind::Ca => "cert, key, hash, file_hash",
        SecretKind::ClientCertificate => "cert, key",
        SecretKind::KeyPair | SecretKind::SshKey => "private, public",
        SecretKind::NodeKey => "own, of(name)",
        SecretKind::WireGuard => {
            "private, public, public_of(name), preshared(name), private_of(name)"
        }
        SecretKind::KubeadmToken
        | SecretKind::Hex
        | SecretKind::Password
        | SecretKind::SshHostKey
        | SecretKind::File => "",
    }
}

/// A secret of several parts.
struct Parts {
    name: String,
    secret: Arc<Secret>,
    /// Why the private ones may not be had.
    refusal: Option<String>,
    /// The node that asks; none when it is for people.
    own: Option<String>,
    used: Used,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parts({})", self.name)
    }
}

impl Parts {
    /// Notes that a private part is used, unless it may not be. `part` is what it is called where
    /// values are not shown.
    fn private(&self, part: &str, text: impl FnOnce() -> String) -> Result<Value, Error> {
        if let Some(why) = &self.refusal {
            return Err(refused(why.clone()));
        }
        self.used.add(&self.name);
        Ok(self.used.value(&format!("{} {part}", self.name), || Value::from(text())))
    }

    fn own(&self) -> Result<&str, Error> {
        self.own.as_deref().ok_or_else(|| {
            refused(format!(
                "a side file is not a node: say whose key, as in `secrets.{}.{}(\"server1\")`",
                self.name,
                if matches!(*self.secret, Secret::NodeKeys(_)) { "of" } else { "public_of" }
            ))
        })
    }

    fn call_node_keys(
        &self,
        keys: &NodeKeys,
        method: &str,
        names: &[&str],
    ) -> Result<Value, Error> {
        match (method, names) {
            ("of", [name]) if self.own.is_some() => {
                Err(refused(format!("the key of `{name}` is for side files only")))
            }
            ("of", [name]) if keys.is_node(name) => self.private(name, || keys.of(name)),
            ("of", [name]) => Err(refused(format!("there is no node `{}`", name.escape_debug()))),
            ("of", _) => Err(refused("of(…) takes the name of one node".into())),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn wireguard(&self, keys: &WireGuard, part: &str) -> Option<Result<Value, Error>> {
        Some(match part {
            "private" => self.own().and_then(|own| self.private(own, || keys.private(own))),
            "public" => self.own().map(|own| Value::from(keys.public(own))),
            _ => return None,
        })
    }

    fn call_wireguard(
        &self,
        keys: &WireGuard,
        method: &str,
        names: &[&str],
    ) -> Result<Value, Error> {
        if let Some(bad) = names.iter().find(|name| !is_machine(name)) {
            return Err(refused(format!(
                "`{}` is not a valid name of a machine",
                bad.escape_debug()
            )));
        }
        match (method, names) {
            ("public_of", [name]) => Ok(Value::from(keys.public(name))),
            ("preshared", [other]) if self.own.is_some() => {
                let own = self.own()?;
                self.private(&pair(own, other), || keys.preshared(own, other))
            }
            ("preshared", [one, other]) if self.own.is_none() => {
                if keys.is_node(one) && keys.is_node(other) {
                    let message = format!("`{one}` and `{other}` are nodes, and share their key");
                    return Err(refused(message));
                }
                self.private(&pair(one, other), || keys.preshared(one, other))
            }
            ("private_of", [name]) => {
                if self.own.is_some() {
                    return Err(refused(format!("the key of `{name}` is for side files only")));
                }
                if keys.is_node(name) {
                    let message = format!("`{name}` is a node, and keeps its key");
                    return Err(refused(message));
                }
                self.private(name, || keys.private(name))
            }
            ("public_of" | "preshared" | "private_of", _) => {
                let wanted = match (method, self.own.is_some()) {
                    ("preshared", false) => "the names of two machines",
                    ("preshared", true) => "the name of the other machine",
                    _ => "the name of one machine",
                };
                Err(refused(format!("{method}(…) takes {wanted}")))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// Not enumerable, so that no filter finds the private parts by itself.
impl Object for Parts {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let part = key.as_str()?;
        let result = match self.secret.as_ref() {
            Secret::Ca(ca) => match part {
                "cert" => Ok(Value::from(&ca.cert)),
                "hash" => Ok(Value::from(ca.hash.to_string())),
                "file_hash" => Ok(Value::from(ca.file_hash.to_string())),
                "key" => self.private("key", || ca.key.to_string()),
                _ => return None,
            },
            Secret::Client(client) => match part {
                "cert" => Ok(Value::from(&client.cert)),
                "key" => self.private("key", || client.key.to_string()),
                _ => return None,
            },
            Secret::KeyPair(pair) => match part {
                "public" => Ok(Value::from(&pair.public)),
                "private" => self.private("private", || pair.private.to_string()),
                _ => return None,
            },
            Secret::NodeKeys(keys) => match part {
                "own" => self.own().and_then(|own| self.private(own, || keys.of(own))),
                _ => return None,
            },
            Secret::WireGuard(keys) => self.wireguard(keys, part)?,
            Secret::Text(_) | Secret::Missing(_) => return None,
        };
        Some(result.unwrap_or_else(Value::from))
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        arguments: &[Value],
    ) -> Result<Value, Error> {
        let names: Option<Vec<&str>> = arguments.iter().map(Value::as_str).collect();
        // What is not a text is not a name: the method says what it takes.
        let names = names.unwrap_or_default();
        match self.secret.as_ref() {
            Secret::NodeKeys(keys) => self.call_node_keys(keys, method, &names),
            Secret::WireGuard(keys) => self.call_wireguard(keys, method, &names),
            Secret::Text(_)
            | Secret::Missing(_)
            | Secret::Ca(_)
            | Secret::Client(_)
            | Secret::KeyPair(_) => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Err(fmt::Error)
    }
}

/// What two machines' key is called: the same from both ends.
fn pair(one: &str, other: &str) -> String {
    let (first, second) = if one < other { (one, other) } else { (other, one) };
    format!("{first} and {second}")
}

/// A name of which keys can be told apart.
fn is_machine(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// `age_recipients("age_key")`: for whom that setting's keys open secrets. Anybody may know it.
pub(super) fn age_recipients(name: &str, keys: Option<&SecretText>) -> Result<String, Error> {
    let keys = keys.ok_or_else(|| refused(format!("the setting `{name}` holds no secret")))?;
    match recipients_of(&keys.text) {
        Ok(recipients) if recipients.is_empty() => {
            Err(refused(format!("the setting `{name}` holds no key of age")))
        }
        Ok(recipients) => Ok(recipients.join(",")),
        Err(why) => Err(refused(format!("the setting `{name}`: {why}"))),
    }
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
