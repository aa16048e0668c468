//! `[[secret]]`: what is made once for each cluster.

use std::path::Path;

use super::fields::{is_identifier, owned};
use crate::config::profile_types::Profile;
use crate::config::reader::Table;
use crate::config::secret_spec::{SecretKind, SecretRecipe, SecretSpec};
use crate::config::{file, suggest};

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
        let message = format!("`{}` is not a valid name of a secret", name.value);
        let hint = "templates write `secrets.join_token`: lower case letters, digits and `_`";
        reader.wrong_hint(&name.span, message, hint);
    }
    let name = owned(name);
    let recipe = read_recipe(&table, name.as_deref());
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
    let after_rotation = owned(table.string("after_rotation"));
    table.finish();
    let roles = roles.into_iter().map(|role| role.value.to_owned()).collect();
    Some(SecretSpec { name: name?, recipe: recipe?, roles, after_rotation })
}

fn read_recipe(table: &Table<'_>, name: Option<&str>) -> Option<SecretRecipe> {
    let reader = table.reader;
    let word = table.require("kind", "kind = \"hex\"").and_then(|value| value.string());
    let common_name = table.string("common_name");
    let path = table.string("path");
    let word = word?;
    let Some(kind) = SecretKind::from_name(word.value) else {
        let hint = suggest::closest(word.value, SecretKind::names())
            .unwrap_or_else(|| format!("it may be {}", suggest::any(SecretKind::names())));
        let message = format!("`{}` is not a kind of secret", word.value);
        reader.wrong_hint(&word.span, message, hint);
        return None;
    };
    for (key, given, owner) in
        [("common_name", &common_name, SecretKind::Ca), ("path", &path, SecretKind::File)]
    {
        if let Some(other) = given.as_ref().filter(|_| kind != owner) {
            let message = format!("a secret of kind `{kind}` has no `{key}`");
            reader.wrong_hint(&other.span, message, format!("it is for the kind `{owner}`"));
        }
    }
    Some(match kind {
        SecretKind::KubeadmToken => SecretRecipe::KubeadmToken,
        SecretKind::Hex => SecretRecipe::Hex,
        SecretKind::NodeKey => SecretRecipe::NodeKey,
        SecretKind::Password => SecretRecipe::Password,
        SecretKind::KeyPair => SecretRecipe::KeyPair,
        SecretKind::WireGuard => SecretRecipe::WireGuard,
        SecretKind::SshHostKey => SecretRecipe::SshHostKey,
        SecretKind::Ca => {
            let text = common_name.as_ref().map(|text| text.value).or(name)?;
            // RFC 5280, ub-common-name.
            if text.is_empty() || text.len() > 64 || text.chars().any(char::is_control) {
                let span = common_name.map_or(word.span, |text| text.span);
                reader.wrong(&span, "a common name is one line of at most 64 characters");
                return None;
            }
            SecretRecipe::Ca { common_name: text.to_owned() }
        }
        SecretKind::File => {
            let Some(path) = path else {
                let hint = "for example `path = \"tsig.key\"`, from the cluster file's folder";
                reader.wrong_hint(&table.span(), "a secret of kind `file` needs `path`", hint);
                return None;
            };
            if let Some(fault) = file::plain_fault(Path::new(path.value)) {
                let hint = "the user's own file lies below the cluster file's folder";
                reader.wrong_hint(&path.span, format!("`{}` {fault}", path.value), hint);
                return None;
            }
            SecretRecipe::File { path: path.value.into() }
        }
    })
}
