//! Checked types of a profile.

use std::collections::BTreeMap;
use std::path::PathBuf;

use regex::Regex;

use super::file_types::{Condition, ExtraFile, Lesson, SideFileSpec};
use super::secret_spec::SecretSpec;
use super::setting_types::SettingSpec;
use super::types::{Arch, Base};

/// What all nodes of a kind share.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its folder's name.
    pub name: String,
    /// One line.
    pub description: String,
    /// Used when the cluster file names none.
    pub base: Option<Base>,
    /// The settings it has.
    pub settings: BTreeMap<String, SettingSpec>,
    /// Packages by name.
    pub packages: Packages,
    /// Further apt repositories.
    pub apt_sources: Vec<AptSource>,
    /// Modules, sysctls, command line, config.txt.
    pub kernel: KernelSpec,
    /// Units of the prepared base.
    pub units: Units,
    /// Files of the prepared base, in order: a later one replaces an earlier one.
    pub overlays: Vec<OverlaySpec>,
    /// Downloads put into the prepared base.
    pub artifacts: Vec<ArtifactSpec>,
    /// Container images put into the prepared base.
    pub images: Option<ImagesSpec>,
    /// Further names that all nodes know before any DNS server does.
    pub hosts: Vec<HostEntry>,
    /// What makes no cluster of it.
    pub rules: Vec<Rule>,
    /// Secrets that are made once for each cluster.
    pub secrets: Vec<SecretSpec>,
    /// Files for people.
    pub handouts: Vec<SideFileSpec>,
    /// What a running cluster must learn of a node that joins it.
    pub lessons: Vec<Lesson>,
    /// Roles in the order in which hostnames are tried against them.
    pub roles: Vec<Role>,
    /// First-boot steps by name, of all roles; scripts.
    pub firstboot_steps: BTreeMap<String, FirstbootStep>,
}

/// A script of the first boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstbootStep {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The file of this machine that it was read from.
    pub source: Option<PathBuf>,
}

impl Profile {
    /// The role of this name.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.name == name)
    }
}

/// Something that makes no cluster, or a poor one, found before anything is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// When it is broken.
    pub broken: Condition,
    /// Whether a cluster that breaks it can be built all the same.
    pub only_warns: bool,
    /// What is wrong then; a template.
    pub message: String,
    /// What to do about it; a template.
    pub hint: Option<String>,
    /// The setting to blame.
    pub setting: Option<String>,
}

/// A line of `/etc/hosts`; both parts are templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// A DNS name.
    pub name: String,
    /// An address.
    pub address: String,
}

/// Packages by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages {
    /// To be installed.
    pub install: Vec<PackageSpec>,
    /// To be removed.
    pub remove: Vec<String>,
    /// To be kept at their version.
    pub hold: Vec<String>,
    /// Whether all that the base has is brought to its newest version.
    pub upgrade: bool,
}

/// A package to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageSpec {
    /// Its name, perhaps with `=VERSION`.
    pub name: String,
    /// Whether it is wanted; always without one.
    pub when: Option<Condition>,
}

/// A further apt repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AptSource {
    /// File name without ending.
    pub name: String,
    /// Base addresses.
    pub uris: Vec<String>,
    /// `trixie`, or a path ending in `/`.
    pub suites: Vec<String>,
    /// Empty for a flat repository.
    pub components: Vec<String>,
    /// Where its key is.
    pub key_url: String,
    /// The key's fingerprint, 40 hexadecimal digits. Without one the key that is found first is
    /// pinned in `nodeforge.lock`.
    pub fingerprint: Option<String>,
    /// Whether it is wanted; always without one.
    pub when: Option<Condition>,
}

/// What the kernel is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelSpec {
    /// Loaded at boot.
    pub modules: Vec<String>,
    /// Key → value.
    pub sysctl: BTreeMap<String, String>,
    /// Words of the command line.
    pub cmdline: Vec<String>,
    /// Lines of the Raspberry Pi's config.txt.
    pub config_txt: Vec<String>,
}

/// Units by name, with their ending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// To be enabled.
    pub enable: Vec<String>,
    /// To be disabled.
    pub disable: Vec<String>,
    /// To be masked.
    pub mask: Vec<String>,
}

/// A folder of files laid over the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlaySpec {
    /// Its folder's name.
    pub name: String,
    /// Sorted by path.
    pub files: Vec<OverlayFile>,
    /// Whether it is wanted; always without one.
    pub when: Option<Condition>,
}

/// One file of an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayFile {
    /// Absolute path on the node, without `.j2`.
    pub path: String,
    /// Its bytes; of a template, UTF-8.
    pub bytes: Vec<u8>,
    /// Whether it is rendered.
    pub is_template: bool,
    /// The file of this machine that it was read from.
    pub source: Option<PathBuf>,
    /// Permission bits: `0o755` for scripts (those that begin with `#!`), else `0o644`.
    pub mode: u32,
}

/// A download put into the prepared base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactSpec {
    /// https, or http when its hash is given.
    pub url: String,
    /// What it must hash to.
    pub checksum: ChecksumSpec,
    /// Absolute path on the node, with expressions that are not rendered yet.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// For nodes of this architecture only.
    pub arch: Option<Arch>,
    /// Whether it is wanted; always without one.
    pub when: Option<Condition>,
}

/// Container images that nodes bring along, in one archive. Templates are not rendered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagesSpec {
    /// Where the archive goes.
    pub path: String,
    /// Folders of manifests, whose images are wanted.
    pub manifests: Vec<String>,
    /// Images by name: what no manifest has, as a program of its own deploys it.
    pub names: Vec<String>,
    /// Images whose tag stands in a text elsewhere.
    pub tags: Vec<ImageTagSpec>,
    /// A registry that has the images of all others; of its template's text, nothing means none.
    pub mirror: Option<String>,
    /// What the charts deploy that manifests install.
    pub charts: Vec<ChartImagesSpec>,
    /// Manifests elsewhere, whose images are wanted too.
    pub lists: Vec<ImageListSpec>,
    /// Whether they are wanted; always without one.
    pub when: Option<Condition>,
}

/// Where a chart names its images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartImagesSpec {
    /// The path of its file on nodes.
    pub path: String,
    /// Places in its values: `controller.image`.
    pub values: Vec<String>,
    /// Whether first boot installs it with helm, and k3s does not by a manifest.
    pub is_by_helm: bool,
    /// The path of the file of values that helm is given.
    pub with: Option<String>,
    /// Whether it is installed; always without one.
    pub when: Option<Condition>,
}

/// An image whose tag stands in a text elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageTagSpec {
    /// Its name: `registry.k8s.io/etcd`.
    pub image: String,
    /// Of the text; https.
    pub url: String,
    /// A regular expression, whose one group is the tag; first a template.
    pub pattern: String,
}

/// Manifests elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageListSpec {
    /// https.
    pub url: String,
    /// Whether they are deployed; always without one.
    pub when: Option<Condition>,
}

/// In place of a SHA-256: whatever comes first, which the lock file then pins.
pub const FIRST_USE: &str = "first-use";

/// What a download must hash to, with expressions that are not rendered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChecksumSpec {
    /// SHA-256: 64 hexadecimal digits, [`FIRST_USE`], or a template of either.
    Sha256(String),
    /// Where a file of SHA-256 checksums is.
    Sha256Url(String),
}

/// What a node does in the cluster.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Matched against the whole hostname.
    pub pattern: Regex,
    /// The pattern as the profile has it: a POSIX extended regular expression.
    pub pattern_text: String,
    /// Which side of the cluster its nodes are on, where it matters.
    pub kind: Option<RoleKind>,
    /// Which of its nodes form the cluster that others join.
    pub first: Option<First>,
    /// Files of this role's nodes.
    pub overlays: Vec<OverlaySpec>,
    /// Single files of this role's nodes.
    pub files: Vec<ExtraFile>,
    /// Units of this role's nodes.
    pub units: Units,
    /// Names of first-boot steps, the profile's own or shipped ones, in order.
    pub firstboot: Vec<String>,
}

/// Which side of the cluster a role's nodes are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// They run the cluster's API.
    ControlPlane,
    /// They need a control plane to join.
    Worker,
}

impl RoleKind {
    /// What a profile calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Worker => "worker",
        }
    }
}

/// Which of a role's nodes form the cluster that others join; one at most may.
#[derive(Clone, Debug)]
pub enum First {
    /// Any node of the role.
    Every,
    /// Those whose whole hostname matches.
    Pattern(Regex),
}
