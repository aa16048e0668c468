//! One node without a cluster: what `nodeforge stamp` does to an image.

use super::list::List;
use crate::change::{Action, Change, Content, Owner, Requester, UnitState, User};
use crate::config;
use crate::util::error::{Error, Result};

const ROLES: &str = "/etc/nodeforge/roles";
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
    pub roles: Option<String>,
    /// Whether cloud-init is installed, which would undo what is done here.
    pub cloud_init: bool,
    /// Whether a wizard waits on the console for a first user to be made (Raspberry Pi OS).
    pub wizard: bool,
    /// Whether there is an SSH server.
    pub ssh: bool,
}

/// All changes that make an image into this node. Whatever the image was before, the node is itself:
/// it has no machine id and no host keys but its own, made on its first boot.
pub fn single(node: &Single, found: &Found) -> Result<Vec<Change>> {
    let origin = Requester::CommandLine;
    let own = Requester::Nodeforge;
    let mut list = List::default();
    let (name, domain, hosts) = (node.hostname.clone(), None, Vec::new());
    list.push(&origin, Action::Hostname { name, domain, hosts });
    list.push(&own, Action::MachineId { id: "uninitialized".into() });
    for path in
        ["/etc/ssh/ssh_host_*", "/var/lib/systemd/random-seed", "/var/lib/k8s-firstboot-done"]
    {
        list.push(&own, Action::Remove { path: path.into() });
    }
    if found.ssh {
        let bytes = config::firstboot(HOST_KEYS).expect("compiled in");
        list.file(&own, &format!("/etc/systemd/system/{HOST_KEYS}"), 0o644, bytes);
        list.unit(&own, HOST_KEYS, UnitState::Enabled);
        list.unit(&own, "ssh.service", UnitState::Enabled);
    }
    if found.cloud_init {
        list.file(&own, "/etc/cloud/cloud-init.disabled", 0o644, "disabled by nodeforge\n");
    }
    if found.wizard && node.user.is_some() {
        list.unit(&own, "userconfig.service", UnitState::Masked);
        let path = "/etc/ssh/sshd_config.d/rename_user.conf".to_owned();
        list.push(&own, Action::Remove { path });
    }
    if let Some(user) = &node.user {
        list.push(&origin, Action::User(user.clone()));
    }
    if let Some(role) = &node.role {
        let table = roles(found.roles.as_deref(), &node.hostname, role)?;
        list.file(&origin, ROLES, 0o644, table);
    }
    for (path, bytes, mode) in &node.files {
        let (path, content, owner) = (path.clone(), Content::public(bytes.clone()), Owner::root());
        list.push(&origin, Action::File { path, content, mode: *mode, owner });
    }
    Ok(list.finish())
}

/// The image's table, with a first line that gives this host name the role.
fn roles(table: Option<&str>, hostname: &str, role: &str) -> Result<String> {
    let table = table.ok_or_else(|| {
        Error::input("the image has no roles: no profile of nodeforge prepared it")
            .hint("leave `--role` out, or start from a template or a node that `build` made")
    })?;
    let lines = || table.lines().filter(|line| !line.starts_with('#'));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut names: Vec<String> =
        lines().filter_map(|line| words(line).into_iter().nth(1)).collect();
    let line = lines().map(words).find(|words| words.get(1).is_some_and(|name| name == role));
    let Some(line) = line else {
        names.sort();
        names.dedup();
        return Err(Error::input(format!("the image has no role `{role}`"))
            .hint(format!("its roles are {}", names.join(", "))));
    };
    Ok(format!("{hostname} {}\n{table}", line[1..].join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "# PATTERN ROLE STEP…\nserver[0-9]+ server 10-identity 20-report\n.* agent 10-identity\n";

    #[test]
    fn a_role_by_name_comes_first() -> Result<()> {
        let table = roles(Some(TABLE), "db", "server")?;
        assert_eq!(table.lines().next(), Some("db server 10-identity 20-report"));
        assert!(table.ends_with(TABLE));
        Ok(())
    }

    #[test]
    fn roles_that_are_not_there_are_said() {
        let error = roles(Some(TABLE), "db", "serve").expect_err("no such role");
        assert_eq!(error.to_string(), "the image has no role `serve`");
        assert!(roles(None, "db", "server").is_err());
    }
}
