//! A user who may log in: lines of `/etc/passwd`, `shadow`, `group` and `gshadow`, and a home.

use std::path::Path;

use super::accounts::{GROUP, GSHADOW, PASSWD, PEOPLE, SHADOW, field, records};
use super::files::{self, root};
use crate::change::User;
use crate::fs::{Attributes, FileType, Tree};
use crate::util::error::{Error, Result};

/// Groups whose members may read logs and use sudo.
const ADMINISTRATORS: [&str; 2] = ["adm", "sudo"];

/// Makes the user with a home directory, or changes the one that is there.
pub(crate) fn set_user(tree: &mut dyn Tree, user: &User) -> Result<()> {
    let (uid, gid, home) = match find_user(tree, &user.name)? {
        // root may log in; a daemon may not become somebody.
        Some((uid, ..)) if uid != 0 && !PEOPLE.contains(&uid) => {
            return Err(Error::input(format!("`{}` is a system account of the image", user.name))
                .hint("choose another name: who logs in gets a shell, and perhaps sudo"));
        }
        Some(found) => found,
        None => create_user(tree, &user.name)?,
    };
    set_password(tree, &user.name, user.password_hash.as_deref())?;
    join_groups(tree, &user.name)?;
    allow_login(tree, &user.name)?;

    let own = |mode| Attributes { mode, uid, gid };
    let home = Path::new(&home);
    files::create_parents(tree, home)?;
    if tree.metadata(home)?.is_none() {
        tree.create_dir(home, own(0o700))?;
        copy_skeleton(tree, home, uid, gid)?;
    }
    if !user.ssh_authorized_keys.is_empty() {
        tree.create_dir(&home.join(".ssh"), own(0o700))?;
        let mut keys = user.ssh_authorized_keys.join("\n");
        keys.push('\n');
        tree.write(&home.join(".ssh/authorized_keys"), keys.as_bytes(), Some(own(0o600)))?;
    }
    if user.passwordless_sudo {
        let rule = format!("{} ALL=(ALL:ALL) NOPASSWD: ALL\n", user.name);
        let path = Path::new("/etc/sudoers.d/90-nodeforge");
        files::write(tree, path, rule.as_bytes(), root(0o440))?;
    }
    Ok(())
}

fn find_user(tree: &dyn Tree, name: &str) -> Result<Option<(u32, u32, String)>> {
    let passwd = read_text(tree, PASSWD)?;
    let number = |index| field(&passwd, name, index).and_then(|id| id.parse().ok());
    Ok(match (number(2), number(3), field(&passwd, name, 5)) {
        (Some(uid), Some(gid), Some(home)) => Some((uid, gid, home.to_owned())),
        (None, _, _) | (_, None, _) | (_, _, None) => None,
    })
}

fn create_user(tree: &mut dyn Tree, name: &str) -> Result<(u32, u32, String)> {
    let passwd = read_text(tree, PASSWD)?;
    let group = read_text(tree, GROUP)?;
    let taken = |text: &str, id: u32| {
        records(text).any(|fields| fields.get(2) == Some(&id.to_string().as_str()))
    };
    let id = PEOPLE
        .into_iter()
        .find(|&id| !taken(&passwd, id) && !taken(&group, id))
        .ok_or_else(|| Error::failure("the base has no free user id"))?;
    if field(&group, name, 2).is_some() {
        return Err(Error::input(format!("the base has a group `{name}` but no such user"))
            .hint("choose another `user` in [access]"));
    }
    let home = format!("/home/{name}");
    append(tree, PASSWD, &format!("{name}:x:{id}:{id}::{home}:/bin/bash"), 0o644)?;
    append(tree, GROUP, &format!("{name}:x:{id}:"), 0o644)?;
    if !read_text(tree, GSHADOW)?.is_empty() {
        append(tree, GSHADOW, &format!("{name}:!::"), 0o640)?;
    }
    Ok((id, id, home))
}

/// Adds a line. The file's owner and mode stay; a missing file is made with `mode`.
fn append(tree: &mut dyn Tree, path: &str, line: &str, mode: u32) -> Result<()> {
    let mut text = read_text(tree, path)?;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
    replace(tree, path, &text, mode)
}

fn replace(tree: &mut dyn Tree, path: &str, text: &str, mode: u32) -> Result<()> {
    let path = Path::new(path);
    let attributes = tree.metadata(path)?.is_none().then_some(root(mode));
    tree.write(path, text.as_bytes(), attributes)
}

/// Without a hash the password is locked, and keys alone let the user in.
fn set_password(tree: &mut dyn Tree, name: &str, hash: Option<&str>) -> Result<()> {
    let shadow = read_text(tree, SHADOW)?;
    let hash = hash.unwrap_or("!");
    if field(&shadow, name, 1).is_none() {
        // The empty third field: no date of the last change, which would make builds differ by day.
        return append(tree, SHADOW, &format!("{name}:{hash}::0:99999:7:::"), 0o640);
    }
    let text = edit_line(&shadow, name, |fields| hash.clone_into(&mut fields[1]));
    replace(tree, SHADOW, &text, 0o640)
}

/// Makes the user a member of those administrators' groups that the base has.
fn join_groups(tree: &mut dyn Tree, name: &str) -> Result<()> {
    for (database, mode) in [(GROUP, 0o644), (GSHADOW, 0o640)] {
        let mut text = read_text(tree, database)?;
        for group in ADMINISTRATORS {
            text = edit_line(&text, group, |fields| {
                let Some(members) = fields.get_mut(3) else { return };
                if !members.split(',').any(|member| member == name) {
                    let separator = if members.is_empty() { "" } else { "," };
                    members.push_str(separator);
                    members.push_str(name);
                }
            });
        }
        if !text.is_empty() {
            replace(tree, database, &text, mode)?;
        }
    }
    Ok(())
}

/// A user whose shell is `nologin`, as Raspberry Pi OS ships its `pi`, gets one.
fn allow_login(tree: &mut dyn Tree, name: &str) -> Result<()> {
    let passwd = read_text(tree, PASSWD)?;
    let shell = field(&passwd, name, 6).unwrap_or_default();
    if !(shell.ends_with("/nologin") || shell.ends_with("/false")) {
        return Ok(());
    }
    let text = edit_line(&passwd, name, |fields| {
        if let Some(shell) = fields.get_mut(6) {
            "/bin/bash".clone_into(shell);
        }
    });
    replace(tree, PASSWD, &text, 0o644)
}

/// The text with `name`'s line edited.
fn edit_line(text: &str, name: &str, edit: impl Fn(&mut Vec<String>)) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if line.split(':').next() == Some(name) {
            let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
            edit(&mut fields);
            out.push_str(&fields.join(":"));
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

/// What `/etc/skel` holds: plain files, as adduser copies them.
fn copy_skeleton(tree: &mut dyn Tree, home: &Path, uid: u32, gid: u32) -> Result<()> {
    let skeleton = Path::new("/etc/skel");
    if tree.metadata(skeleton)?.is_none() {
        return Ok(());
    }
    for entry in tree.read_dir(skeleton)? {
        if entry.file_type != FileType::File {
            continue;
        }
        let from = skeleton.join(&entry.name);
        let Some(from) = from.to_str() else { continue };
        let text = read_text(tree, from)?;
        let attributes = Attributes { mode: 0o644, uid, gid };
        tree.write(&home.join(&entry.name), text.as_bytes(), Some(attributes))?;
    }
    Ok(())
}

/// A database; empty when the image has none.
fn read_text(tree: &dyn Tree, path: &str) -> Result<String> {
    Ok(files::read_text(tree, path)?.unwrap_or_default())
}
