//! Stage 2: what turns the prepared base into one node, or into a template of machines.

use super::list::ChangeList;
use super::render::{Renderer, Scope};
use crate::change::{Action, Change, Content, Owner, Requester, User};
use crate::config::{Cluster, ExtraFile, HostKeys, Keyboard, Locale, Node, OverlaySpec};
use crate::guest::first_boot::NOT_BEFORE;
use crate::guest::identity::UNINITIALIZED;
use crate::plan::{firstboot, network, rules};
use crate::secrets::Secrets;
use crate::util::error::{Error, Result};

/// All changes that make the prepared base into `node`.
pub fn node(cluster: &Cluster, node: &Node, secrets: &Secrets) -> Result<Vec<Change>> {
    rules::check(cluster)?;
    let role = cluster
        .profile
        .role(&node.role)
        .ok_or_else(|| Error::input(format!("the profile has no role `{}`", node.role)))?;
    let renderer = Renderer::new(cluster, Scope::Node(node, secrets));
    let mut list = ChangeList::default();

    let hostname = Action::Hostname {
        name: node.hostname.clone(),
        domain: cluster.domain.clone(),
        hosts: hosts(cluster, node, &renderer)?,
    };
    list.push(&Requester::ClusterFile, hostname);
    let id = secrets.machine_id(&node.hostname);
    list.push(&Requester::Nodeforge, Action::MachineId { id });
    let id = secrets.disk_id(&node.hostname);
    list.push(&Requester::Nodeforge, Action::DiskId { id });
    let overlays = || cluster.profile.overlays.iter().chain(&role.overlays);
    for (path, text) in
        network::files(node, cluster.domain.as_deref(), &wanted(overlays(), &renderer)?)
    {
        list.file(&Requester::ClusterFile, &path, 0o644, text);
    }
    if cluster.host_keys == HostKeys::Build {
        host_key(&mut list, node, secrets)?;
    }
    // A machine whose clock has no battery must not think that it is before its certificates' time. A
    // step of the profile may set the clock by it.
    if let Some(day) = secrets.newest() {
        list.file(&Requester::Nodeforge, NOT_BEFORE, 0o644, format!("{day}\n"));
    }
    common(&mut list, cluster, Some(node));
    for argument in &node.cmdline {
        list.push(&Requester::ClusterFile, Action::KernelArgument { argument: argument.clone() });
    }
    for line in &node.config_txt {
        list.push(&Requester::ClusterFile, Action::ConfigTxt { line: line.clone() });
    }

    let origin = Requester::Role(role.name.clone());
    for overlay in &role.overlays {
        list.overlay(overlay, &renderer)?;
    }
    for file in &role.files {
        list.extra(&origin, file, &renderer)?;
    }
    list.units(&origin, &role.units);
    for file in cluster.files.iter().chain(&node.files) {
        list.extra(&Requester::ClusterFile, file, &renderer)?;
    }
    Ok(list.finish())
}

/// The overlays whose conditions hold.
fn wanted<'a>(
    overlays: impl Iterator<Item = &'a OverlaySpec>,
    renderer: &Renderer<'_>,
) -> Result<Vec<&'a OverlaySpec>> {
    let holds = |it: &'a OverlaySpec| Ok(renderer.holds(it.when.as_ref())?.then_some(it));
    overlays.filter_map(|it| holds(it).transpose()).collect()
}

/// All changes that make the prepared base into a template of machines, which get their name and
/// role when they first boot. What differs from node to node is left out.
pub fn template(cluster: &Cluster) -> Result<Vec<Change>> {
    let renderer = Renderer::new(cluster, Scope::Shared);
    let mut list = ChangeList::default();
    list.push(&Requester::Nodeforge, Action::MachineId { id: UNINITIALIZED.into() });
    common(&mut list, cluster, None);
    let is_shared = |file: &&ExtraFile| {
        let text = std::str::from_utf8(&file.bytes).unwrap_or_default();
        renderer.is_shared_condition(file.when.as_ref())
            && (!file.is_template || renderer.is_shared(&file.template_name, text))
    };
    for file in cluster.files.iter().filter(is_shared) {
        list.extra(&Requester::ClusterFile, file, &renderer)?;
    }
    Ok(list.finish())
}

/// User, time zone, language and first boot.
fn common(list: &mut ChangeList, cluster: &Cluster, node: Option<&Node>) {
    let access = &cluster.access;
    let user = User {
        name: access.user.clone(),
        ssh_authorized_keys: access.ssh_authorized_keys.clone(),
        password_hash: access.password_hash.clone(),
        passwordless_sudo: access.passwordless_sudo,
    };
    let sources = access.sources.iter().map(|path| cluster.shown(path)).collect();
    list.push_from(&Requester::ClusterFile, Action::User(user), sources);
    locale(list, &cluster.locale);
    firstboot::add(list, cluster, node);
}

fn locale(list: &mut ChangeList, locale: &Locale) {
    let origin = Requester::ClusterFile;
    if let Some(name) = &locale.timezone {
        list.push(&origin, Action::Timezone { name: name.clone() });
    }
    if let Some(name) = &locale.locale {
        list.push(&origin, Action::Locale { name: name.clone() });
    }
    if let Some(Keyboard { layout, variant }) = &locale.keyboard {
        let (layout, variant) = (layout.clone(), variant.clone());
        list.push(&origin, Action::Keyboard { layout, variant });
    }
}

/// The other nodes' names and static addresses, and the profile's own names.
fn hosts(
    cluster: &Cluster,
    own: &Node,
    renderer: &Renderer<'_>,
) -> Result<Vec<(ipnet::IpNet, String)>> {
    let others = cluster.nodes.iter().filter(|node| node.hostname != own.hostname);
    let mut pairs: Vec<_> = others
        .flat_map(|node| node.addresses.iter().map(|address| (*address, node.hostname.clone())))
        .collect();
    for entry in &cluster.profile.hosts {
        let name = renderer.render_word("the `name` of a host", &entry.name)?;
        let address = renderer.render_word("the `address` of a host", &entry.address)?;
        let address: std::net::IpAddr = address.parse().map_err(|_| {
            Error::input(format!("`{address}`, where `{name}` should be, is not an address"))
        })?;
        pairs.push((address.into(), name));
    }
    Ok(pairs)
}

fn host_key(list: &mut ChangeList, node: &Node, secrets: &Secrets) -> Result<()> {
    const PATH: &str = "/etc/ssh/ssh_host_ed25519_key";
    let key = secrets.ssh_host_key(&node.hostname)?;
    let name = format!("ssh_host_key/{}", node.hostname);
    let content = if secrets.are_names() {
        Content::secret_name(&name)
    } else {
        Content::secret(name, key.private.as_bytes())
    };
    let (path, owner) = (PATH.into(), Owner::root());
    list.push(&Requester::Nodeforge, Action::File { path, content, mode: 0o600, owner });
    list.file(&Requester::Nodeforge, &format!("{PATH}.pub"), 0o644, format!("{}\n", key.public));
    Ok(())
}
