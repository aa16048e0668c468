//! The time zone: `/etc/localtime` (localtime(5)), and `/etc/timezone`, which Debian's tools read.

use std::path::Path;

use super::files::{self, root};
use crate::fs::Tree;
use crate::util::error::{Error, Result};

/// Links `/etc/localtime`; the zone must be one the base knows, when it has any.
pub(crate) fn set(tree: &mut dyn Tree, name: &str) -> Result<()> {
    let zones = Path::new("/usr/share/zoneinfo");
    if tree.metadata(zones)?.is_some() && tree.metadata(&zones.join(name))?.is_none() {
        return Err(Error::input(format!("the base has no time zone `{name}`"))
            .hint("names are those of tzselect(8): `Europe/Berlin`"));
    }
    let target = format!("../usr/share/zoneinfo/{name}");
    tree.symlink(Path::new("/etc/localtime"), Path::new(&target))?;
    let text = format!("{name}\n");
    files::write(tree, Path::new("/etc/timezone"), text.as_bytes(), root(0o644))
}
