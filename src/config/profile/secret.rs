//! `[[secret]]`: what is made once for each cluster.

use std::path::Path;

use super::fields::{is_identifier, owned};
use crate::config::profile_types::Profile;
use crate::config::reader::{Spanned, Table, Value};
use crate::config::secret_spec::{ClientRecipe, SecretKind, SecretRecipe, SecretSpec};
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
    let recipe = read_recipe(&table, name.as_deref(), profile);
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
    let missing = table.string("missing");
    let is_file = recipe.as_ref().is_none_or(|recipe| recipe.kind() == SecretKind::File);
    for text in missing.iter().filter(|_| !is_file) {
        let message = "only a secret of kind `file` can be missing";
        reader.wrong_hint(&text.span, message, "the others are made");
    }
    let missing = owned(missing);
    table.finish();
    let roles = roles.into_iter().map(|role| role.value.to_owned()).collect();
    Some(SecretSpec { name: name?, recipe: recipe?, roles, after_rotation, missing })
}

fn read_recipe(table: &Table<'_>, name: Option<&str>, profile: &Profile) -> Option<SecretRecipe> {
    let reader = table.reader;
    let word = table.require("kind", "kind = \"hex\"").and_then(|value| value.string());
    let common_name = table.string("common_name");
    let path = table.string("path");
    let (ca, organization) = (table.string("ca"), table.string("organization"));
    let days = table.get("days");
    let word = word?;
    let Some(kind) = SecretKind::from_name(word.value) else {
        let hint = suggest::closest(word.value, SecretKind::names())
            .unwrap_or_else(|| format!("it may be {}", suggest::any(SecretKind::names())));
        let message = format!("`{}` is not a kind of secret", word.value);
        reader.wrong_hint(&word.span, message, hint);
        return None;
    };
    let days_span = days.as_ref().map(Value::span);
    let span = |text: &Option<Spanned<&str>>| text.as_ref().map(|it| it.span.clone());
    for (key, given, owners) in [
        ("common_name", span(&common_name), &[SecretKind::Ca, SecretKind::ClientCertificate][..]),
        ("path", span(&path), &[SecretKind::File]),
        ("ca", span(&ca), &[SecretKind::ClientCertificate]),
        ("organization", span(&organization), &[SecretKind::ClientCertificate]),
        ("days", days_span, &[SecretKind::ClientCertificate]),
    ] {
        if let Some(span) = given.filter(|_| !owners.contains(&kind)) {
            let message = format!("a secret of kind `{kind}` has no `{key}`");
            reader.wrong_hint(&span, message, format!("it is for the kind `{}`", owners[0]));
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
        SecretKind::SshKey => SecretRecipe::SshKey,
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
        SecretKind::ClientCertificate => {
            let client = ClientKeys { ca, common_name, organization, days };
            SecretRecipe::ClientCertificate(read_client(table, &word, &client, profile)?)
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

/// The keys of a client's certificate.
struct ClientKeys<'a> {
    ca: Option<Spanned<&'a str>>,
    common_name: Option<Spanned<&'a str>>,
    organization: Option<Spanned<&'a str>>,
    days: Option<Value<'a>>,
}

fn read_client(
    table: &Table<'_>,
    word: &Spanned<&str>,
    client: &ClientKeys<'_>,
    profile: &Profile,
) -> Option<ClientRecipe> {
    let reader = table.reader;
    let (Some(ca), Some(common_name), Some(organization)) =
        (&client.ca, &client.common_name, &client.organization)
    else {
        let hint = "for example `ca = \"cluster_ca\"`, `common_name = \"admin\"`, `organization = \"system:masters\"`";
        let message = "a client's certificate needs `ca`, `common_name` and `organization`";
        reader.wrong_hint(&word.span, message, hint);
        return None;
    };
    let is_authority =
        |spec: &&SecretSpec| spec.name == ca.value && spec.recipe.kind() == SecretKind::Ca;
    if !profile.secrets.iter().any(|spec| is_authority(&spec)) {
        let message = format!("`{}` is no certificate authority of the profile", ca.value);
        reader.wrong_hint(&ca.span, message, "it is a `[[secret]]` of kind `ca` above this one");
        return None;
    }
    for text in [common_name, organization] {
        // RFC 5280, ub-common-name and ub-organization-name.
        if text.value.is_empty()
            || text.value.len() > 64
            || text.value.chars().any(char::is_control)
        {
            reader
                .wrong(&text.span, "a name in a certificate is one line of at most 64 characters");
            return None;
        }
    }
    let days = match &client.days {
        None => 365,
        Some(value) => {
            let number = value.integer()?;
            let days = u16::try_from(number).ok().filter(|days| (1..=3650).contains(days));
            if days.is_none() {
                reader.wrong(&value.span(), "a certificate is good for 1 to 3650 days");
            }
            days?
        }
    };
    let own = |text: &Spanned<&str>| text.value.to_owned();
    Some(ClientRecipe {
        ca: own(ca),
        common_name: own(common_name),
        organization: own(organization),
        days,
    })
}
