//! One node without a cluster: what `nodeforge stamp` does to an image.

use super::list::ChangeList;
use crate::change::{Action, Change, Content, Owner, Requester, UnitState, User};
use crate::config;
use crate::guest::first_boot;
use crate::guest::identity::UNINITIALIZED;
use crate::guest::roles::{ROLES, RoleTable};
use crate::util::error::{Error, Result};

const HOST_KEYS: &str = "nodeforge-host-keys.service";

/// A node that no cluster file describes.
#[derive(Clone, Debug)]
pub struct Single {
    /// Its host name.
    pub hostname: String,
    /// A role of the image's own table.
    pub role: Option<String>,
    /// Who may log in.
    pub user: Option<User>,
    /// Files, with where they go and their permission bits.
    pub files: Vec<(String, Vec<u8>, u32)>,
}

/// What the image is, as far as it decides what is to be done.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Its table of roles; `None` when no profile prepared it.
    pub roles: Option<RoleTable>,
    /// Whether there is an SSH server.
    pub ssh: bool,
}

/// All changes that make an image into this node. Whatever the image was before, the node is itself:
/// it has no machine id and no host keys but its own, made on its first boot.
pub fn single(node: &Single, found: &Found) -> Result<Vec<Change>> {
    let origin = Requester::CommandLine;
    let own = Requester::Nodeforge;
    let mut list = ChangeList::default();
    let (name, domain, hosts) = (node.hostname.clone(), None, Vec::new());
    list.push(&origin, Action::Hostname { name, domain, hosts });
    list.push(&own, Action::MachineId { id: UNINITIALIZED.into() });
    let of_another = ["/etc/ssh/ssh_host_*", "/var/lib/systemd/random-seed"];
    for path in of_another.into_iter().chain(first_boot::PROGRESS) {
        list.push(&own, Action::Remove { path: path.into() });
    }
    if found.ssh {
        let bytes = config::firstboot(HOST_KEYS).expect("compiled in");
        list.file(&own, &format!("/etc/systemd/system/{HOST_KEYS}"), 0o644, bytes);
        list.unit(&own, HOST_KEYS, UnitState::Enabled);
        list.unit(&own, "ssh.service", UnitState::Enabled);
    }
    if let Some(user) = &node.user {
        list.push(&origin, Action::User(user.clone()));
    }
    if let Some(role) = &node.role {
        let mut table = found.roles.clone().ok_or_else(|| {
            Error::input("the image has no roles: it was not prepared with a profile")
                .hint("leave `--role` out, or start from a template or a node that `build` made")
        })?;
        table.assign(&node.hostname, role)?;
        list.file(&origin, ROLES, 0o644, table.to_string());
    }
    for (path, bytes, mode) in &node.files {
        let (path, content, owner) = (path.clone(), Content::public(bytes.clone()), Owner::root());
        list.push(&origin, Action::File { path, content, mode: *mode, owner });
    }
    Ok(list.finish())
}
