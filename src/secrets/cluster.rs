//! The secrets of one cluster: read, made, replaced, told of.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;
use zeroize::Zeroizing;

use super::made::{MadeSecret, SshHostKey};
use super::secret::Secret;
use super::store::Store;
use super::stored::{NamedSecret, SecretRecord, Stored, StoredKind, StoredSecrets};
use crate::config::{Cluster, HostKeys, SecretKind, SecretRecipe, SecretSpec, file, suggest};
use crate::secrets::{generate, store};
use crate::util::error::{Context as _, Error, Result};
use crate::util::{calendar, hex};

/// What the names of host keys begin with.
const HOST_KEY: &str = "ssh_host_key/";
/// The name of what machine ids follow from.
const SEED: &str = "seed";

/// The secrets of one cluster. Nothing of it is ever printed: it has no `Debug`.
#[derive(Clone)]
pub struct Secrets {
    stored: StoredSecrets,
    /// The profile's secrets, as templates use them.
    ready: BTreeMap<String, Arc<Secret>>,
    /// Stands in for host keys that are not made yet.
    example: Option<SshHostKey>,
    is_stored: bool,
    /// Whether whoever asks is told names in place of values.
    are_names: bool,
}

impl Secrets {
    /// Where the cluster's store is.
    pub fn path(cluster: &Cluster) -> PathBuf {
        Self::store(cluster).path()
    }

    fn store(cluster: &Cluster) -> Store<'_> {
        Store { folder: &cluster.directory, recipients: &cluster.secret_recipients }
    }

    /// Reads the store and makes what the cluster needs and it lacks. What is there is never
    /// replaced. Two nodeforges at once wait for each other.
    pub fn load_or_create(cluster: &Cluster) -> Result<Self> {
        let store = Self::store(cluster);
        let _lock = store::lock(&cluster.directory)?;
        let found = store.read()?;
        let is_new = found.is_none();
        let mut secrets = Self::or_new(found, cluster, &store.path())?;
        let is_changed = secrets.make_missing(cluster)?;
        // Before it is written: what cannot be used must not be kept either.
        secrets.make_ready(cluster)?;
        if is_changed || is_new || store.is_to_be_sealed() {
            store.write(&secrets.stored)?;
        }
        secrets.is_stored = true;
        Ok(secrets)
    }

    /// Reads the store, and makes what it lacks in memory only: for commands that change nothing.
    /// What was made so is different each time; [`Secrets::is_stored`] tells.
    pub fn load_or_pretend(cluster: &Cluster) -> Result<Self> {
        let store = Self::store(cluster);
        let found = store.read()?;
        let is_new = found.is_none();
        let mut secrets = Self::or_new(found, cluster, &store.path())?;
        if is_new {
            // The same ids each time: whoever compares two plans looks for what changed.
            secrets.stored.seed = Zeroizing::new([0; 32]);
        }
        let is_changed = secrets.make_missing_named(cluster)?;
        secrets.make_ready(cluster)?;
        let lacks_host_key = secrets.lacking_host_key(cluster).next().is_some();
        if lacks_host_key {
            // Ten thousand would take their time.
            secrets.example = Some(generate::ssh_host_key("example")?);
        }
        secrets.is_stored = !is_changed && !is_new && !lacks_host_key;
        Ok(secrets)
    }

    /// Whether the cluster has a store already.
    pub fn exist(cluster: &Cluster) -> bool {
        Self::store(cluster).path().exists()
    }

    /// Makes all of them up, whatever the store has: for what must not depend on them.
    pub(crate) fn pretend(cluster: &Cluster) -> Result<Self> {
        let mut secrets = Self::or_new(None, cluster, &Self::store(cluster).path())?;
        secrets.make_missing_named(cluster)?;
        secrets.make_ready(cluster)?;
        secrets.example = Some(generate::ssh_host_key("example")?);
        secrets.is_stored = false;
        Ok(secrets)
    }

    /// Whether all of it will be the same the next time.
    pub fn is_stored(&self) -> bool {
        self.is_stored
    }

    /// The same, to be shown: plans made with it have the name of each secret where its value would
    /// be, as `<secret NAME>`. Ids and public halves stay what they are.
    #[must_use]
    pub fn as_names(&self) -> Self {
        Self { are_names: true, ..self.clone() }
    }

    /// Whether these were made by [`Secrets::as_names`].
    pub fn are_names(&self) -> bool {
        self.are_names
    }

    /// `/etc/machine-id` of a node: 32 hexadecimal digits, a version 4 UUID as systemd makes them.
    /// It follows from the seed, the cluster's name and the node's.
    pub fn machine_id(&self, hostname: &str) -> String {
        self.derived_id("machine-id", hostname).simple().to_string()
    }

    /// The id of a node's disk: two of one cluster may meet in one machine. It follows as the
    /// machine id does.
    pub fn disk_id(&self, hostname: &str) -> Uuid {
        self.derived_id("disk-id", hostname)
    }

    /// A version 4 UUID that cannot be guessed without the seed.
    fn derived_id(&self, purpose: &str, hostname: &str) -> Uuid {
        let name = format!("{purpose}/{}/{hostname}", self.stored.cluster);
        let derived = generate::derive(&self.stored.seed, &[&name]);
        let bytes = *derived.first_chunk().expect("32 bytes are more than 16");
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// What digests of everything that went into an artifact are keyed with, so that no secret can be
    /// guessed from them.
    pub fn inputs_key(&self) -> [u8; 32] {
        generate::derive(&self.stored.seed, &["artifact inputs", &self.stored.cluster])
    }

    /// A node's SSH host key; an error when `host_keys` is not `build`.
    pub fn ssh_host_key(&self, hostname: &str) -> Result<&SshHostKey> {
        let key = self.stored.host_keys.get(hostname).map(|stored| &stored.value);
        key.or(self.example.as_ref())
            .ok_or_else(|| Error::failure(format!("no SSH host key was made for `{hostname}`")))
    }

    /// A secret of the profile by name.
    pub fn get(&self, name: &str) -> Option<&Arc<Secret>> {
        self.ready.get(name)
    }

    /// Fails when the time of a certificate authority is over: what it signed is not trusted any more.
    pub fn check_expiry(&self, cluster: &Cluster) -> Result<()> {
        let shown = Self::path(cluster);
        for (name, secret) in &self.ready {
            let Secret::Ca(ca) = secret.as_ref() else { continue };
            let day = ca.expires().context(|| format!("the secret `{name}`"))?;
            if day < calendar::days_since_1970() {
                return Err(Error::input(format!(
                    "the certificate authority `{name}` in `{}` expired on {}",
                    shown.display(),
                    calendar::date(day)
                ))
                .hint(format!(
                    "`nodeforge secrets rotate {name}` makes a new one; all nodes must then be built again"
                )));
            }
        }
        Ok(())
    }

    /// What to tell of clients' certificates that are good for no more than 60 days, or not at all.
    pub fn expiring(&self) -> Result<Vec<String>> {
        const SOON: u64 = 60;
        let today = calendar::today_since_1970();
        let mut told = Vec::new();
        for (name, secret) in &self.ready {
            let Secret::Client(client) = secret.as_ref() else { continue };
            let day = client.expires().context(|| format!("the secret `{name}`"))?;
            if day <= today + SOON {
                let verb = if day < today { "expired" } else { "expires" };
                told.push(format!(
                    "the client certificate `{name}` {verb} on {}: `nodeforge secrets rotate {name}` renews it",
                    calendar::date(day)
                ));
            }
        }
        Ok(told)
    }

    /// All that is stored, without the values: the seed, the profile's, the nodes' host keys.
    pub fn records(&self) -> Vec<SecretRecord> {
        let record = |name: String, kind, created: &str| {
            let age_days = calendar::days_since(created);
            SecretRecord { name, kind, created: created.to_owned(), age_days }
        };
        let seed = record(SEED.to_owned(), StoredKind::Seed, &self.stored.seed_created);
        let named = self.stored.named.iter().map(|(name, it)| {
            record(name.clone(), StoredKind::Profile(it.value.kind), &it.created)
        });
        let keys = self.stored.host_keys.iter();
        let keys = keys
            .map(|(host, it)| record(host_key_name(host), StoredKind::NodeHostKey, &it.created));
        std::iter::once(seed).chain(named).chain(keys).collect()
    }

    /// The last day on which one of the profile's secrets was made: `2026-11-21`, UTC. `None` when
    /// there are none.
    pub fn newest(&self) -> Option<&str> {
        let days = self.stored.named.values().map(|it| it.created.as_str());
        days.filter(|day| calendar::days_since(day).is_some()).max()
    }

    /// The value of one that is stored, or of one part: `ca.cert`. `None` when there is none.
    pub fn reveal(&self, name: &str) -> Option<String> {
        if let Some(host) = name.strip_prefix(HOST_KEY) {
            return self.stored.host_keys.get(host).map(|it| it.value.private.to_string());
        }
        if name == SEED {
            return Some(hex::hex(&*self.stored.seed));
        }
        let (name, part) = name.split_once('.').unwrap_or((name, ""));
        let NamedSecret { kind, made } = &self.stored.named.get(name)?.value;
        if part.is_empty() {
            return Some(made.value.to_string());
        }
        match kind {
            SecretKind::Ca => {
                let ready = || match self.ready.get(name).map(AsRef::as_ref) {
                    Some(Secret::Ca(ca)) => Some(ca),
                    Some(
                        Secret::Text(_)
                        | Secret::Missing(_)
                        | Secret::Client(_)
                        | Secret::KeyPair(_)
                        | Secret::NodeKeys(_)
                        | Secret::WireGuard(_),
                    )
                    | None => None,
                };
                match part {
                    "key" => Some(made.value.to_string()),
                    "cert" => made.public.clone(),
                    "hash" => Some(ready()?.hash.to_string()),
                    "file_hash" => Some(ready()?.file_hash.to_string()),
                    _ => None,
                }
            }
            SecretKind::ClientCertificate => match part {
                "key" => Some(made.value.to_string()),
                "cert" => made.public.clone(),
                _ => None,
            },
            SecretKind::KeyPair | SecretKind::SshKey => match part {
                "private" => Some(made.value.to_string()),
                "public" => made.public.clone(),
                _ => None,
            },
            SecretKind::SshHostKey => made.public.clone().filter(|_| part == "public"),
            SecretKind::KubeadmToken
            | SecretKind::Hex
            | SecretKind::NodeKey
            | SecretKind::Password
            | SecretKind::WireGuard
            | SecretKind::File => None,
        }
    }

    /// Replaces secrets and stores them; nothing is changed when one of the names is unknown.
    /// What is told of them is returned.
    pub fn rotate(cluster: &Cluster, names: &[String]) -> Result<Vec<SecretRecord>> {
        let store = Self::store(cluster);
        let _lock = store::lock(&cluster.directory)?;
        let Some(found) = store.read()? else {
            return Err(
                Error::input("the cluster has no secrets yet").hint("the first build makes them")
            );
        };
        let mut secrets = Self::or_new(Some(found), cluster, &store.path())?;
        let mut renewed = names.to_vec();
        // What an authority signed is worth nothing without it.
        for spec in &cluster.profile.secrets {
            if let SecretRecipe::ClientCertificate(client) = &spec.recipe
                && names.contains(&client.ca)
                && !renewed.contains(&spec.name)
            {
                renewed.push(spec.name.clone());
            }
        }
        // An authority comes before what it signs.
        let rank = |name: &String| {
            let spec = cluster.profile.secrets.iter().find(|spec| spec.name == *name);
            spec.is_some_and(|spec| spec.recipe.kind() == SecretKind::ClientCertificate)
        };
        renewed.sort_by_key(rank);
        for name in &renewed {
            secrets.make_anew(cluster, name)?;
        }
        secrets.make_ready(cluster)?;
        store.write(&secrets.stored)?;
        let records = secrets.records().into_iter();
        Ok(records.filter(|record| renewed.contains(&record.name)).collect())
    }

    fn make(&self, recipe: &SecretRecipe) -> Result<MadeSecret> {
        let authority = if let SecretRecipe::ClientCertificate(client) = recipe {
            self.stored.named.get(&client.ca)
        } else {
            None
        };
        Secret::make(recipe, authority.map(|stored| &stored.value.made))
    }

    fn make_anew(&mut self, cluster: &Cluster, name: &str) -> Result<()> {
        let created = calendar::today();
        if name == SEED {
            self.stored.seed = Zeroizing::new(generate::random()?);
            self.stored.seed_created = created;
            return Ok(());
        }
        let host =
            name.strip_prefix(HOST_KEY).filter(|host| self.stored.host_keys.contains_key(*host));
        if let Some(host) = host {
            let value = generate::ssh_host_key(host)?;
            self.stored.host_keys.insert(host.to_owned(), Stored { value, created });
            return Ok(());
        }
        let Some(spec) = cluster.profile.secrets.iter().find(|spec| spec.name == name) else {
            let names: Vec<String> = self.records().into_iter().map(|record| record.name).collect();
            let hint = suggest::closest(name, names.iter().map(String::as_str))
                .unwrap_or_else(|| "`nodeforge secrets show` lists them".into());
            return Err(Error::input(format!("unknown secret `{name}`")).hint(hint));
        };
        if let SecretRecipe::File { path } = &spec.recipe {
            return Err(Error::input(format!("the secret `{name}` is your own file"))
                .hint(format!("write `{}` again", cluster.directory.join(path).display())));
        }
        let made = self.make(&spec.recipe)?;
        let value = NamedSecret { kind: spec.recipe.kind(), made };
        self.stored.named.insert(name.to_owned(), Stored { value, created });
        Ok(())
    }

    fn or_new(found: Option<StoredSecrets>, cluster: &Cluster, path: &Path) -> Result<Self> {
        let Some(stored) = found else { return Self::new(&cluster.name) };
        if stored.cluster != cluster.name {
            let message = format!(
                "`{}` holds the secrets of the cluster `{}`, not of `{}`",
                path.display(),
                stored.cluster,
                cluster.name
            );
            return Err(Error::input(message).hint(
                "each cluster has a folder of its own; after renaming one, write the new name \
                 into that file",
            ));
        }
        Ok(Self::from_stored(stored))
    }

    fn from_stored(stored: StoredSecrets) -> Self {
        Self { stored, ready: BTreeMap::new(), example: None, is_stored: false, are_names: false }
    }

    fn new(cluster: &str) -> Result<Self> {
        Ok(Self::from_stored(StoredSecrets {
            cluster: cluster.to_owned(),
            seed: Zeroizing::new(generate::random()?),
            seed_created: calendar::today(),
            named: BTreeMap::new(),
            host_keys: BTreeMap::new(),
        }))
    }

    /// Makes what is missing; whether anything was.
    fn make_missing(&mut self, cluster: &Cluster) -> Result<bool> {
        let mut changed = self.make_missing_named(cluster)?;
        let lacking: Vec<String> = self.lacking_host_key(cluster).map(str::to_owned).collect();
        for hostname in lacking {
            let value = generate::ssh_host_key(&hostname)?;
            self.stored.host_keys.insert(hostname, Stored { value, created: calendar::today() });
            changed = true;
        }
        Ok(changed)
    }

    fn make_missing_named(&mut self, cluster: &Cluster) -> Result<bool> {
        let mut changed = false;
        for spec in cluster.profile.secrets.iter().filter(|spec| spec.is_made()) {
            if !self.stored.named.contains_key(&spec.name) {
                let made = self.make(&spec.recipe)?;
                let value = NamedSecret { kind: spec.recipe.kind(), made };
                let stored = Stored { value, created: calendar::today() };
                self.stored.named.insert(spec.name.clone(), stored);
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Nodes that need a host key and have none.
    fn lacking_host_key<'a>(&'a self, cluster: &'a Cluster) -> impl Iterator<Item = &'a str> {
        let is_wanted = cluster.host_keys == HostKeys::Build;
        let names = cluster.nodes.iter().map(|node| node.hostname.as_str());
        names.filter(move |name| is_wanted && !self.stored.host_keys.contains_key(*name))
    }

    /// Brings the profile's secrets into the form that templates use.
    fn make_ready(&mut self, cluster: &Cluster) -> Result<()> {
        let hostnames = Arc::new(cluster.nodes.iter().map(|node| node.hostname.clone()).collect());
        for spec in &cluster.profile.secrets {
            let secret = self.usable(spec, cluster, &hostnames)?;
            self.ready.insert(spec.name.clone(), Arc::new(secret));
        }
        Ok(())
    }

    fn usable(
        &self,
        spec: &SecretSpec,
        cluster: &Cluster,
        hostnames: &Arc<HashSet<String>>,
    ) -> Result<Secret> {
        let name = &spec.name;
        if let SecretRecipe::File { path } = &spec.recipe {
            let path =
                cluster.below(path).context(|| format!("the secret `{name}` cannot be read"))?;
            // Only who asks for it needs it: what it is for may be switched off.
            if !path.exists() {
                return Ok(Secret::Missing(format!(
                    "the secret `{name}` is your own file, and there is no `{}`",
                    path.display()
                )));
            }
            return file::read_text(&path, file::MOST_KEY)
                .map(|text| Secret::Text(text.into()))
                .context(|| format!("the secret `{name}` cannot be read"))
                .map_err(|error| {
                    error.hint("the profile wants you to write this file; keep it to yourself")
                });
        }
        let stored = &self.stored.named[name].value;
        let shown = Self::path(cluster);
        let shown = shown.display();
        let wanted = spec.recipe.kind();
        if stored.kind != wanted {
            let message = format!(
                "the secret `{name}` in `{shown}` is of kind `{}`, and the profile wants `{wanted}`",
                stored.kind
            );
            let hint = format!("`nodeforge secrets rotate {name}` makes a new one");
            return Err(Error::input(message).hint(hint));
        }
        Secret::from_made(wanted, &stored.made, hostnames)
            .context(|| format!("the secret `{name}` in `{shown}` is damaged"))
    }
}

/// `ssh_host_key/server1`
fn host_key_name(hostname: &str) -> String {
    format!("{HOST_KEY}{hostname}")
}
