//! Language and keyboard: `/etc/locale.conf` (locale.conf(5)) and `/etc/default/keyboard` (keyboard(5)).
//! One that the image does not know would be without effect, so it is refused.

use std::path::Path;

use super::files::{self, names_in, read_lossy, read_text, root};
use super::first_boot;
use crate::fs::Tree;
use crate::util::error::{Error, Result};

/// Where glibc looks, and the file that holds many of them.
const LOCALES: &str = "/usr/lib/locale";
const ARCHIVE: &str = "/usr/lib/locale/locale-archive";
/// XKB's own list of what there is, of the package `xkb-data`.
const KEYBOARDS: &str = "/usr/share/X11/xkb/rules/base.lst";
/// Most of the names that an error lists.
const MOST: usize = 12;

/// Sets the language; the base must have it, when it has any.
pub(crate) fn set_locale(tree: &mut dyn Tree, name: &str) -> Result<()> {
    check_locale(tree, name)?;
    // Where systemd looks, and where Debian's login programs do.
    let text = format!("LANG={name}\n");
    files::write(tree, Path::new("/etc/locale.conf"), text.as_bytes(), root(0o644))?;
    files::symlink(tree, Path::new("/etc/default/locale"), Path::new("../locale.conf"))
}

/// Sets the layout of the keyboard, and a variant of it; the base must know them, when it knows any.
pub(crate) fn set_keyboard(tree: &mut dyn Tree, layout: &str, variant: Option<&str>) -> Result<()> {
    if let Some(list) = read_lossy(tree, KEYBOARDS)? {
        check_keyboard(&list, layout, variant)?;
    }
    let variant = variant.unwrap_or_default();
    let text = format!(
        "XKBMODEL=\"pc105\"\nXKBLAYOUT=\"{layout}\"\nXKBVARIANT=\"{variant}\"\nXKBOPTIONS=\"\"\n\
         BACKSPACE=\"guess\"\n"
    );
    files::write(tree, Path::new("/etc/default/keyboard"), text.as_bytes(), root(0o644))
}

fn check_locale(tree: &dyn Tree, name: &str) -> Result<()> {
    // glibc has these itself: locale(7).
    const BUILT_IN: [&str; 3] = ["C", "POSIX", "C.utf8"];
    let wanted = normal(name);
    if BUILT_IN.contains(&wanted.as_str()) || tree.resolve(Path::new(LOCALES))?.is_none() {
        return Ok(());
    }
    let mut known = names_in(tree, LOCALES)?;
    known.retain(|it| it != "locale-archive");
    known.extend(archived(tree)?);
    // Packages that the first boot installs may bring it.
    let later = read_text(tree, first_boot::PACKAGES)?.unwrap_or_default();
    if later.contains("locales") || known.iter().any(|it| normal(it) == wanted) {
        return Ok(());
    }
    known.sort();
    known.dedup();
    let shown: Vec<&str> = known.iter().take(MOST).map(String::as_str).collect();
    let more = if known.len() > MOST { ", …" } else { "" };
    let has = if known.is_empty() { "C.utf8".to_owned() } else { shown.join(", ") };
    Err(Error::input(format!("the base has no locale `{name}`"))
        .hint(format!("it has {has}{more}"))
        .hint("the package `locales-all` in the profile's `install` brings all there are"))
}

/// `de_DE.UTF-8` as `locale -a` has it: `de_DE.utf8`.
fn normal(name: &str) -> String {
    let (rest, modifier) = match name.split_once('@') {
        Some((rest, modifier)) => (rest, format!("@{modifier}")),
        None => (name, String::new()),
    };
    let Some((language, codeset)) = rest.split_once('.') else { return name.to_owned() };
    let codeset: String = codeset.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{language}.{}{modifier}", codeset.to_ascii_lowercase())
}

/// The names in the archive. Its head says where a table of them is, each entry of which has a hash,
/// where its name is, and where its record is: numbers are the machine's, little-endian here.
///
/// Source: glibc, `locale/locarchive.h`.
fn archived(tree: &dyn Tree) -> Result<Vec<String>> {
    const MAGIC: u32 = 0xde02_0109;
    const ENTRY: usize = 12;
    /// Table and names come first, and are small.
    const HEAD: usize = 4 << 20;
    let Some(path) = tree.resolve(Path::new(ARCHIVE))? else { return Ok(Vec::new()) };
    let mut head = vec![0; HEAD];
    let mut length = 0;
    while length < HEAD {
        match tree.read_at(&path, length as u64, &mut head[length..])? {
            0 => break,
            read => length += read,
        }
    }
    head.truncate(length);
    let number = |at: usize| {
        let bytes = head.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    if number(0) != usize::try_from(MAGIC).ok() {
        return Ok(Vec::new());
    }
    let (Some(table), Some(size)) = (number(8), number(16)) else { return Ok(Vec::new()) };
    let entries = (0..size.min(HEAD / ENTRY)).filter_map(|index| {
        let entry = table.checked_add(index * ENTRY)?;
        let name = number(entry + 4).filter(|at| *at > 0 && number(entry + 8) != Some(0))?;
        let name = head.get(name..)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(name).into_owned())
    });
    Ok(entries.collect())
}

/// Sections begin with `! layout`; of variants the second word is the layout, with a colon.
fn check_keyboard(list: &str, layout: &str, variant: Option<&str>) -> Result<()> {
    let section = |title: &'static str| {
        let mut lines = list.lines().skip_while(move |line| line.trim() != title).skip(1);
        std::iter::from_fn(move || lines.next().filter(|line| !line.starts_with('!')))
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
    };
    let layouts: Vec<&str> = section("! layout").filter_map(|it| it.first().copied()).collect();
    if !layouts.contains(&layout) {
        return Err(Error::input(format!("the base has no keyboard layout `{layout}`"))
            .hint("names are those of XKB, for example `us`, `de`, `gb`; a variant stands in brackets: `us(intl)`"));
    }
    let Some(variant) = variant else { return Ok(()) };
    let of_layout = format!("{layout}:");
    let variants: Vec<&str> = section("! variant")
        .filter(|it| it.get(1) == Some(&of_layout.as_str()))
        .filter_map(|it| it.first().copied())
        .collect();
    if variants.contains(&variant) {
        return Ok(());
    }
    let error = Error::input(format!(
        "the base has no variant `{variant}` of the keyboard layout `{layout}`"
    ));
    Err(error.hint(match variants.as_slice() {
        [] => "the layout has none".to_owned(),
        variants => format!("it has {}", variants.join(", ")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "! model\n  pc105  Generic\n\n! layout\n  us   English (US)\n  de   German\n\n\
        ! variant\n  intl   us: English (US, intl.)\n  nodeadkeys  de: German (no dead keys)\n\n\
        ! option\n  grp   Switching\n";

    #[test]
    fn layouts_and_variants_are_xkbs() {
        let said =
            |layout, variant| check_keyboard(LIST, layout, variant).map_err(|it| it.to_string());
        assert_eq!(said("us", None), Ok(()));
        assert_eq!(said("us", Some("intl")), Ok(()));
        assert_eq!(said("pc105", None), Err("the base has no keyboard layout `pc105`".into()));
        let wrong = "the base has no variant `nodeadkeys` of the keyboard layout `us`";
        assert_eq!(said("us", Some("nodeadkeys")), Err(wrong.into()));
    }

    #[test]
    fn codesets_have_many_spellings() {
        assert_eq!(normal("de_DE.UTF-8"), "de_DE.utf8");
        assert_eq!(normal("de_DE.ISO-8859-15@euro"), "de_DE.iso885915@euro");
        assert_eq!(normal("de_DE@euro"), "de_DE@euro");
        assert_eq!(normal("C.UTF-8"), normal("C.utf8"));
    }
}
