//! JSON schemas of cluster files and profiles, for editors; draft 2020-12.
//!
//! What the reader knows of a table and what stands here is compared by a test, which makes the
//! reader tell all keys of every table.

use serde_json::{Map, Value, json};

use super::formats::FormatRule;
use super::secret_spec::SecretKind;
use super::setting_types::SettingKind;
use super::types::{Arch, Dhcp, Layout};
use crate::versions;

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Of `cluster.toml`, with the artifact formats there are.
///
/// Nothing is required of it: it may be one of several layers.
pub fn cluster(formats: &[FormatRule]) -> Value {
    let node = node();
    let defaults = table(&[], traits());
    let access = table(
        &[],
        [
            ("user", text("Login name")),
            ("ssh_authorized_keys", texts("Public keys, or files of them")),
            (
                "login",
                switch(
                    "Whether somebody is meant to log in; without keys or a password, only `false` is built",
                ),
            ),
            ("password_hash", text("crypt(3) hash, as mkpasswd prints it")),
            ("password_file", text("A file with such a hash")),
            ("passwordless_sudo", switch("Whether sudo asks for no password")),
        ],
    );
    let header = table(
        &[],
        [
            ("name", text("The cluster's name, a DNS label")),
            ("profile", text("A profile in nodeforge, or the path of a profile's folder")),
            ("domain", text("The domain of the nodes' names")),
        ],
    );
    let locale = table(
        &[],
        [
            ("timezone", text("Europe/Berlin")),
            ("keyboard", text("XKB layout, or layout and variant: de, us(intl)")),
            ("locale", text("C.UTF-8")),
        ],
    );
    let vm = table(
        &[],
        [
            (
                "memory",
                json!({ "type": ["integer", "string"], "description": "MiB, or a size: 2G" }),
            ),
            ("cpus", whole("Virtual processors", 1, 256)),
            (
                "network",
                json!({
                    "type": "string",
                    "pattern": "^(nat|bridged|hostonly|vmnet1?[0-9])$",
                    "description": "What the network card is plugged into",
                }),
            ),
            ("hardware_version", whole("VMware's virtual hardware", 18, 22)),
        ],
    );
    let names: Vec<_> = formats.iter().map(|it| it.name).collect();
    let variants = formats
        .iter()
        .filter(|it| !it.variants.is_empty())
        .map(|it| (it.name, choice(&format!("What a {} is made of", it.name), it.variants)));
    let keys = [
        ("directory", text("Where artifacts go")),
        ("formats", list(choice("A format of artifact", &names))),
    ];
    let output = table(&[], keys.into_iter().chain(variants));
    let settings = json!({ "type": "object", "description": "The profile's own settings" });
    let secrets =
        table(&[], [("recipients", texts("For whom the store of secrets is encrypted: age1…"))]);
    document(
        "cluster.toml of nodeforge",
        &[],
        [
            ("cluster", header),
            ("base", base()),
            ("disk", disk()),
            ("access", access),
            (
                "ssh",
                table(&[], [("host_keys", choice("Who makes them", &["build", "first-boot"]))]),
            ),
            ("secrets", secrets),
            ("locale", locale),
            ("settings", settings),
            ("files", list(file())),
            ("vm", vm),
            ("cache", cache()),
            ("output", output),
            ("defaults", defaults),
            ("node", list(node)),
        ],
    )
}

/// `[cache]`.
fn cache() -> Value {
    table(
        &[],
        [
            ("registry", text("A repository for prepared bases: ghcr.io/me/nodeforge")),
            ("push", switch("Whether what is prepared is pushed")),
        ],
    )
}

/// `[disk]`.
fn disk() -> Value {
    let partition = table(
        &["name"],
        [
            ("name", text("Its label")),
            ("size", text("64G; all that is left when absent")),
            ("filesystem", choice("What is made in it", &["ext4", "xfs", "raw"])),
            ("mount", text("The folder that it is")),
            ("disk", text("Another disk, as a whole: /dev/nvme0n1")),
            ("roles", texts("Roles of the nodes that have it; all when absent")),
        ],
    );
    table(
        &[],
        [
            ("size", text("Virtual size of every disk: 8G")),
            ("root_size", text("How far the root grows on first boot: 32G")),
            ("nvme", choice("A Raspberry Pi's connector for NVMe drives", &["gen2", "gen3"])),
            ("partition", list(partition)),
        ],
    )
}

/// `[[node]]`
fn node() -> Value {
    table(
        &["hostname"],
        [
            ("hostname", text("A host name, or a pattern: node[0-4], node{a,b}")),
            ("role", text("The role, instead of the one that the host name says")),
            ("addresses", texts("Static addresses with their prefix; none: DHCP and RA")),
            ("gateway", texts("Routers")),
            ("dhcp", choice("What it asks DHCP for besides", &Dhcp::names().collect::<Vec<_>>())),
            ("dns", texts("Name servers")),
            ("files", list(file())),
        ]
        .into_iter()
        .chain(traits()),
    )
}

/// What a node has of its own, or all have by default.
fn traits() -> [(&'static str, Value); 6] {
    let labels = json!({
        "type": "object",
        "description": "Labels that its kubelet registers it with",
        "additionalProperties": { "type": "string" },
    });
    [
        ("interface", text("The wired card that has the addresses, by name or MAC address")),
        ("labels", labels),
        ("taints", texts("Taints that its kubelet registers it with: KEY=VALUE:EFFECT")),
        ("kernel", table(&[], [("cmdline", texts("Words of the kernel's command line"))])),
        ("packages", texts("Packages that its disk has beside the profile's, perhaps =VERSION")),
        ("config_txt", texts("Lines of the Raspberry Pi's config.txt")),
    ]
}

/// Of `profile.toml`.
pub fn profile() -> Value {
    let any = json!({ "description": "A value of the setting's type" });
    let setting = table(
        &["type"],
        [
            ("type", choice("What its values are", &SettingKind::names().collect::<Vec<_>>())),
            ("default", any),
            ("description", text("One line")),
            ("values", texts("The choices of an enum")),
            (
                "of",
                choice(
                    "The type of a list's elements",
                    &["string", "int", "cidr", "ip", "host", "host-pattern"],
                ),
            ),
            ("overlap", switch("Whether a network may share addresses with others")),
            ("optional", switch("Whether it may be missing: none in templates")),
            (
                "program",
                choice(
                    "The program whose version it is",
                    &versions::programs().collect::<Vec<_>>(),
                ),
            ),
        ],
    );
    let packages = table(
        &[],
        [
            ("install", list(named("A package, perhaps =VERSION"))),
            ("remove", texts("Packages")),
            ("hold", texts("Packages kept at their version")),
            ("upgrade", switch("Whether all packages of the base are upgraded")),
        ],
    );
    let scalar = json!({ "type": ["string", "integer"] });
    let kernel = table(
        &[],
        [
            ("modules", texts("Loaded at boot")),
            ("sysctl", json!({ "type": "object", "additionalProperties": scalar })),
            ("cmdline", texts("Words of the command line")),
            ("config_txt", texts("Lines of the Raspberry Pi's config.txt")),
        ],
    );
    document(
        "profile.toml of nodeforge",
        &["description"],
        [
            ("description", text("One line")),
            ("extends", text("The profile it adds to")),
            ("base", json!({ "anyOf": [{ "type": "string" }, base()] })),
            ("settings", json!({ "type": "object", "additionalProperties": setting })),
            ("packages", packages),
            ("apt_source", list(apt_source())),
            ("kernel", kernel),
            ("units", units()),
            ("overlays", overlays()),
            ("artifact", list(artifact())),
            ("images", images()),
            ("role", list(role())),
            ("secret", list(secret())),
            ("handout", list(handout())),
            ("host", list(host())),
            ("learn", list(learn())),
            ("rule", list(rule())),
        ],
    )
}

fn apt_source() -> Value {
    table(
        &["name", "uris", "suites", "key_url"],
        [
            ("name", text("Name of its file")),
            ("uris", texts("Base addresses")),
            ("suites", texts("Suites, or paths that end in /")),
            ("components", texts("None for a flat repository")),
            ("key_url", text("Where its key is")),
            ("fingerprint", text("The key's fingerprint; without one the first key is pinned")),
            ("when", when()),
        ],
    )
}

fn artifact() -> Value {
    table(
        &["url", "path"],
        [
            ("url", text("https")),
            ("sha256", text("What it must hash to")),
            ("sha256_url", text("Where a file of checksums is")),
            ("path", text("Where it goes on the node")),
            ("mode", mode()),
            ("arch", arch()),
            ("when", when()),
        ],
    )
}

fn images() -> Value {
    let chart = table(
        &["path", "values"],
        [
            ("path", text("Where nodes have the chart")),
            ("values", texts("Where its values name images: controller.image")),
            ("by_helm", switch("Whether first boot installs it with helm, not k3s by a manifest")),
            ("with", text("The file of values that helm is given, as nodes have it")),
            ("when", when()),
        ],
    );
    let tag = table(
        &["image", "url", "pattern"],
        [
            ("image", text("The name of an image: registry.k8s.io/etcd")),
            ("url", text("A text in which its tag stands: https")),
            ("pattern", text("A regular expression whose group is the tag")),
        ],
    );
    let manifests =
        table(&["url"], [("url", text("Manifests elsewhere: https")), ("when", when())]);
    table(
        &["path"],
        [
            ("path", text("Where the archive of container images goes")),
            ("manifests", texts("Folders of manifests whose images are wanted")),
            ("names", texts("Images that no manifest names")),
            ("tag", list(tag)),
            ("mirror", text("A registry that has the images of all others: https")),
            ("chart", list(chart)),
            ("list", list(manifests)),
            ("when", when()),
        ],
    )
}

fn role() -> Value {
    table(
        &["name", "pattern"],
        [
            ("name", text("Its name")),
            ("pattern", text("POSIX extended regular expression for whole host names")),
            ("kind", choice("Its side of the cluster", &["control-plane", "worker"])),
            (
                "first",
                json!({ "type": ["boolean", "string"], "description": "Who forms the cluster" }),
            ),
            ("overlays", overlays()),
            ("units", units()),
            ("files", list(file())),
            ("firstboot", texts("First-boot steps, in order")),
        ],
    )
}

fn secret() -> Value {
    table(
        &["name", "kind"],
        [
            ("name", text("Its name in templates")),
            ("kind", choice("What it is", &SecretKind::names().collect::<Vec<_>>())),
            ("roles", texts("Roles whose nodes may hold its private part")),
            ("common_name", text("Of a ca, or of a client's certificate")),
            ("ca", text("Of a client's certificate: the secret that signs it")),
            ("organization", text("Of a client's certificate")),
            ("days", whole("Of a client's certificate: how long it is good", 1, 3650)),
            ("path", text("Of a file, from the cluster file's folder")),
            ("missing", text("How the user comes by a file that is not there; a template")),
            (
                "after_rotation",
                text("What to do about nodes that run with the old one; a template"),
            ),
        ],
    )
}

fn handout() -> Value {
    table(
        &["path"],
        [
            ("path", text("From the output folder")),
            ("content", text("A template")),
            ("source", text("A file; a template when it ends in .j2")),
            ("when", when()),
        ],
    )
}

fn host() -> Value {
    table(
        &["name", "address"],
        [("name", text("A name that all nodes resolve")), ("address", text("Its address"))],
    )
}

fn learn() -> Value {
    table(
        &[],
        [
            ("about", text("What a running cluster must learn of a node that joins; a template")),
            ("content", text("A manifest for its API, a template")),
            ("source", text("A file; a template when it ends in .j2")),
            ("path", text("Or a file of nodes that run, of which `about` says what to do")),
            ("when", when()),
        ],
    )
}

fn rule() -> Value {
    table(
        &["message"],
        [
            ("refuse", text("A condition under which the cluster file is wrong")),
            ("warn", text("A condition under which it is worth a warning")),
            ("message", text("What is wrong")),
            ("hint", text("What to do about it")),
            ("setting", text("The setting to blame")),
        ],
    )
}

fn base() -> Value {
    let bootstrap = table(
        &["suite", "arch", "layout"],
        [
            ("suite", text("A Debian release: trixie")),
            ("arch", arch()),
            ("layout", choice("How the disk boots", &Layout::names().collect::<Vec<_>>())),
            ("mirror", text("A Debian mirror")),
        ],
    );
    let mut base = table(
        &[],
        [
            ("image", text("A name in the catalogue")),
            ("path", text("An image on this machine")),
            ("url", text("An image elsewhere")),
            ("sha256", text("What the download must hash to")),
            ("sha512", text("What the download must hash to")),
            ("signature", text("A detached OpenPGP signature")),
            ("key", text("The key that made it")),
            ("arch", arch()),
            ("bootstrap", bootstrap),
        ],
    );
    base["oneOf"] = ["image", "path", "url", "bootstrap"]
        .map(|key| json!({ "required": [key] }))
        .to_vec()
        .into();
    base
}

fn file() -> Value {
    let mut file = table(
        &["path"],
        [
            ("path", text("Absolute path on the node")),
            ("content", text("A template")),
            ("source", text("A file; a template when it ends in .j2")),
            ("mode", mode()),
            ("owner", text("USER or USER:GROUP")),
            ("when", when()),
        ],
    );
    file["oneOf"] = json!([{ "required": ["content"] }, { "required": ["source"] }]);
    file
}

fn units() -> Value {
    table(
        &[],
        [
            ("enable", texts("Units, with their ending")),
            ("disable", texts("Units, with their ending")),
            ("mask", texts("Units, with their ending")),
        ],
    )
}

fn overlays() -> Value {
    list(named("A folder of files laid over the root"))
}

/// A name, or one with a condition.
fn named(description: &str) -> Value {
    let conditional = table(&["name"], [("name", text(description)), ("when", when())]);
    json!({ "anyOf": [text(description), conditional] })
}

fn when() -> Value {
    text("A condition: settings.mode == 'bgp'")
}

fn mode() -> Value {
    json!({ "type": "string", "pattern": "^[0-7]{3,4}$", "description": "Octal digits: 0644" })
}

fn arch() -> Value {
    choice("Processors", &[Arch::Amd64, Arch::Arm64].map(Arch::name))
}

fn document<const N: usize>(title: &str, required: &[&str], keys: [(&str, Value); N]) -> Value {
    let mut schema = table(required, keys);
    schema["$schema"] = DRAFT.into();
    schema["title"] = title.into();
    schema
}

fn table<'a>(required: &[&str], keys: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let properties: Map<String, Value> =
        keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let mut schema =
        json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn texts(description: &str) -> Value {
    list(text(description))
}

fn switch(description: &str) -> Value {
    json!({ "type": "boolean", "description": description })
}

fn whole(description: &str, least: u32, most: u32) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most, "description": description })
}

fn choice(description: &str, choices: &[&str]) -> Value {
    json!({ "enum": choices, "description": description })
}

fn list(items: impl Into<Value>) -> Value {
    json!({ "type": "array", "items": items.into() })
}
