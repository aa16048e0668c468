//! Stage 1: what turns a base into a prepared base, which nodes with the same packages share.

use std::fmt::Write as _;

use super::list::ChangeList;
use super::render::{Renderer, Scope};
use crate::change::{Action, Change, Checksum, PackageState, Requester};
use crate::config::{
    AptSource, ArtifactSpec, Base, ChecksumSpec, Cluster, FIRST_USE, FileSystemChoice, NvmeLink,
    PackageSpec, path_problem,
};
use crate::plan::{images, rules};
use crate::util::error::{Error, Problem, Result};

/// All changes of stage 1, with packages beside the profile's. Nothing of a single node and no secret is in them.
pub fn prepare(cluster: &Cluster, packages: &[String]) -> Result<Vec<Change>> {
    rules::check(cluster)?;
    let profile = &cluster.profile;
    let origin = Requester::Profile(profile.name.clone());
    let renderer = Renderer::new(cluster, Scope::Shared);
    let mut list = ChangeList::default();

    if let Some(size) = cluster.disk.size {
        list.push(&Requester::ClusterFile, Action::Grow { size });
    }
    for source in &profile.apt_sources {
        if renderer.holds(source.when.as_ref())? {
            list.push(&origin, apt_source(source, &renderer)?);
        }
    }
    let package = |name: &String, state| Action::Package { name: name.clone(), state };
    for name in &profile.packages.remove {
        list.push(&origin, package(name, PackageState::Removed));
    }
    if profile.packages.upgrade {
        list.push(&origin, package(&"*".to_owned(), PackageState::Upgraded));
    }
    for PackageSpec { name, when } in &profile.packages.install {
        if renderer.holds(when.as_ref())? {
            let name = renderer.render_word(&format!("the package `{name}`"), name)?;
            list.push(&origin, package(&name, PackageState::Installed));
        }
    }
    for name in packages {
        list.push(&Requester::ClusterFile, package(name, PackageState::Installed));
    }
    for name in disk_tools(cluster) {
        list.push(&Requester::ClusterFile, package(&name.to_owned(), PackageState::Installed));
    }
    for name in &profile.packages.hold {
        list.push(&origin, package(name, PackageState::Held));
    }
    for overlay in &profile.overlays {
        list.overlay(overlay, &renderer)?;
    }
    for artifact in profile.artifacts.iter().filter(|artifact| is_for(artifact, &cluster.base)) {
        if renderer.holds(artifact.when.as_ref())? {
            list.push(&origin, download(artifact, &renderer)?);
        }
    }
    if let Some(spec) = &profile.images
        && let Some(archive) = images::archive(cluster, spec, &renderer)?
    {
        list.push(&origin, Action::Images(archive));
    }
    if !profile.kernel.modules.is_empty() {
        let lines = profile.kernel.modules.join("\n") + "\n";
        list.file(&origin, "/etc/modules-load.d/nodeforge.conf", 0o644, lines);
    }
    if !profile.kernel.sysctl.is_empty() {
        let mut lines = String::new();
        for (key, value) in &profile.kernel.sysctl {
            writeln!(lines, "{key} = {value}").expect("writing to a string");
        }
        list.file(&origin, "/etc/sysctl.d/90-nodeforge.conf", 0o644, lines);
    }
    for argument in &profile.kernel.cmdline {
        list.push(&origin, Action::KernelArgument { argument: argument.clone() });
    }
    for line in &profile.kernel.config_txt {
        list.push(&origin, Action::ConfigTxt { line: line.clone() });
    }
    if let Some(nvme) = cluster.disk.nvme {
        list.push(&Requester::ClusterFile, Action::ConfigTxt { line: "dtparam=pciex1".into() });
        if nvme == NvmeLink::Gen3 {
            let line = "dtparam=pciex1_gen=3".into();
            list.push(&Requester::ClusterFile, Action::ConfigTxt { line });
        }
    }
    list.units(&origin, &profile.units);
    Ok(list.finish())
}

/// The packages that first boot needs for the disks that the cluster file asks for.
fn disk_tools(cluster: &Cluster) -> Vec<&'static str> {
    let disk = &cluster.disk;
    let has = |kind| disk.partitions.iter().any(|it| it.file_system == kind);
    let is_divided = disk.root_size.is_some() || !disk.partitions.is_empty();
    let tools = [("fdisk", is_divided), ("xfsprogs", has(FileSystemChoice::Xfs))];
    tools.into_iter().filter(|(_, is_needed)| *is_needed).map(|(name, _)| name).collect()
}

/// A repository in deb822. Source: sources.list(5).
fn apt_source(source: &AptSource, renderer: &Renderer<'_>) -> Result<Action> {
    let name = &source.name;
    let words = |key: &str, words: &[String]| -> Result<String> {
        let title = format!("{key} of the apt source {name}");
        let words: Result<Vec<_>> =
            words.iter().map(|word| renderer.render_word(&title, word)).collect();
        Ok(words?.join(" "))
    };
    let mut text = format!(
        "Types: deb\nURIs: {}\nSuites: {}\n",
        words("uris", &source.uris)?,
        words("suites", &source.suites)?
    );
    // A flat repository, whose suite is a path, has none.
    if !source.components.is_empty() {
        let components = words("components", &source.components)?;
        writeln!(text, "Components: {components}").expect("writing to a string");
    }
    writeln!(text, "Signed-By: /etc/apt/keyrings/{name}.asc").expect("writing to a string");
    Ok(Action::AptSource {
        name: name.clone(),
        text,
        key_url: words("key_url", std::slice::from_ref(&source.key_url))?,
        fingerprint: source.fingerprint.clone(),
    })
}

fn download(artifact: &ArtifactSpec, renderer: &Renderer<'_>) -> Result<Action> {
    let title = format!("the artifact for `{}`", artifact.path);
    let checksum = match &artifact.checksum {
        ChecksumSpec::Sha256(hash) => {
            let hash = renderer.render_word(&title, hash)?;
            if hash == FIRST_USE {
                Checksum::FirstUse
            } else {
                Checksum::Sha256(hash.parse().map_err(|problem: Problem| {
                    Error::input(problem)
                        .context(format!("{title}: `{hash}` is not a valid `sha256`"))
                })?)
            }
        }
        ChecksumSpec::Sha256Url(url) => Checksum::Sha256Url(renderer.render_word(&title, url)?),
    };
    let path = renderer.render_word(&title, &artifact.path)?;
    if let Some((problem, hint)) = path_problem(&path) {
        return Err(Error::input(format!("{title}: `{path}` {problem}")).hint(hint));
    }
    Ok(Action::Download {
        url: renderer.render_word(&title, &artifact.url)?,
        checksum,
        arch: artifact.arch,
        path,
        mode: artifact.mode,
    })
}

/// Of artifacts for one architecture, those of the base's.
fn is_for(artifact: &ArtifactSpec, base: &Base) -> bool {
    match (artifact.arch, base.arch()) {
        (Some(wanted), Some(arch)) => wanted == arch,
        _ => true,
    }
}
