//! `[cache]`: where prepared bases are kept for others.

use super::cluster_types::RegistryUse;
use super::reader::Table;
use super::registry_reference::RegistryReference;
use crate::util::error::{Error, Result};

/// Reads the table.
pub(super) fn read(table: Table<'_>) -> RegistryUse {
    let registry = table
        .string("registry")
        .and_then(|text| table.reader.accept(&text.span, repository(text.value)));
    let push = table.get("push").and_then(|value| {
        let push = value.boolean()?;
        if push && registry.is_none() {
            let hint = "for example `registry = \"ghcr.io/me/nodeforge\"`";
            table.reader.wrong_hint(&value.span(), "`push` in [cache] needs a registry", hint);
        }
        Some(push)
    });
    table.finish();
    RegistryUse { registry, push: push.unwrap_or_default() }
}

/// A repository, and nothing in it.
fn repository(text: &str) -> Result<RegistryReference> {
    let reference: RegistryReference = text.parse()?;
    match reference.target() {
        None => Ok(reference),
        Some(_) => Err(Error::input(format!("`{text}` names more than a repository"))
            .hint("leave out the tag and the digest: each base has its own")),
    }
}
