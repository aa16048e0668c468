//! `[[secret]]`: what is made once for each cluster.

use super::{is_identifier, owned};
use crate::config::base::choice;
use crate::config::reader::Table;
use crate::config::{Profile, SecretKind, SecretSpec, suggest};

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
    let kind = table.require("kind", "kind = \"hex\"").and_then(|value| {
        choice(
            &value,
            &[
                ("kubeadm-token", SecretKind::KubeadmToken),
                ("hex", SecretKind::Hex),
                ("password", SecretKind::Password),
            ],
        )
    });
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
    Some(SecretSpec { name: owned(name)?, kind: kind?, roles })
}
