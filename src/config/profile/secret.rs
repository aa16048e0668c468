//! `[[secret]]`: what is made once for each cluster.

use super::{is_identifier, owned};
use crate::config::profile_types::Profile;
use crate::config::reader::Table;
use crate::config::secret_spec::{SecretKind, SecretSpec};
use crate::config::suggest;

pub(super) fn read_all(root: &Table<'_>, profile: &mut Profile) {
    for table in root.tables("secret") {
        if let Some(secret) = read(table, profile) {
            profile.secrets.retain(|other| other.name != secret.name);
            profile.secrets.push(secret);
        }
    }
}

fn read(table: Table<'_>, profile: &Profile) -> Option<SecretSpec> {
    let reader = table.reader;
    let name = table.require("name", "name = \"join_token\"").and_then(|value| value.string());
    for name in name.iter().filter(|name| !is_identifier(name.value)) {
        let message = format!("`{}` is no name of a secret", name.value);
        let hint = "templates write `secrets.join_token`: lower case letters, digits and `_`";
        reader.wrong_hint(&name.span, message, hint);
    }
    let name = owned(name);
    let kind = read_kind(&table, name.as_deref());
    let roles = table.strings("roles");
    for role in &roles {
        let known = || profile.roles.iter().map(|role| role.name.as_str());
        if !known().any(|name| name == role.value) {
            let hint = suggest::closest(role.value, known())
                .unwrap_or_else(|| format!("roles are {}", suggest::all(known())));
            let message = format!("the profile has no role `{}`", role.value);
            reader.wrong_hint(&role.span, message, hint);
        }
    }
    table.finish();
    let roles = roles.into_iter().map(|role| role.value.to_owned()).collect();
    Some(SecretSpec { name: name?, kind: kind?, roles })
}

fn read_kind(table: &Table<'_>, name: Option<&str>) -> Option<SecretKind> {
    let reader = table.reader;
    let word = table.require("kind", "kind = \"hex\"").and_then(|value| value.string());
    let common_name = table.string("common_name");
    let path = table.string("path");
    let word = word?;
    if let Some(other) = common_name.as_ref().filter(|_| word.value != "ca") {
        let message = format!("a secret of kind `{}` has no `common_name`", word.value);
        reader.wrong_hint(&other.span, message, "it is for the kind `ca`");
    }
    if let Some(other) = path.as_ref().filter(|_| word.value != "file") {
        let message = format!("a secret of kind `{}` has no `path`", word.value);
        reader.wrong_hint(&other.span, message, "it is for the kind `file`");
    }
    Some(match word.value {
        "kubeadm-token" => SecretKind::KubeadmToken,
        "hex" => SecretKind::Hex,
        "node-key" => SecretKind::NodeKey,
        "password" => SecretKind::Password,
        "keypair" => SecretKind::KeyPair,
        "wireguard" => SecretKind::WireGuard,
        "ssh-host-key" => SecretKind::SshHostKey,
        "ca" => {
            let text = common_name.as_ref().map(|text| text.value).or(name)?;
            // RFC 5280, ub-common-name.
            if text.is_empty() || text.len() > 64 || text.chars().any(char::is_control) {
                let span = common_name.map_or(word.span, |text| text.span);
                reader.wrong(&span, "a common name is one line of at most 64 characters");
                return None;
            }
            SecretKind::Ca { common_name: text.to_owned() }
        }
        "file" => {
            let Some(path) = path else {
                let hint = "for example `path = \"tsig.key\"`, from the cluster file's folder";
                reader.wrong_hint(&table.span(), "a secret of kind `file` needs `path`", hint);
                return None;
            };
            SecretKind::File { path: path.value.into() }
        }
        unknown => {
            let hint = suggest::closest(unknown, SecretKind::NAMES)
                .unwrap_or_else(|| format!("it may be {}", suggest::any(SecretKind::NAMES)));
            let message = format!("`{unknown}` is no kind of secret");
            reader.wrong_hint(&word.span, message, hint);
            return None;
        }
    })
}
