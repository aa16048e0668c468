use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::arguments::CLUSTER_FILE;
use super::output::{ask_for, is_interactive};
use super::ui::Ui;
use crate::config;
use crate::util::error::{Context, Error, Result};
use crate::util::new_files;

/// The profile that a first cluster is of.
const FIRST_PROFILE: &str = "quickstart";
/// What begins the line of a starting file where keys belong.
const KEYS_LINE: &str = "# ssh_authorized_keys = ";
/// What must not be committed: secrets, and images that hold them.
const IGNORED: [&str; 2] = ["/nodeforge.secrets", "/out/"];

/// Write a commented cluster file to begin with
///
/// It names the SSH keys found in ~/.ssh. Beside it, .gitignore keeps secrets and images out of git. On a
/// terminal, what no option says is asked for.
#[derive(Debug, Args)]
pub(super) struct InitCommand {
    /// The profile it is for [default: quickstart]
    #[arg(long)]
    profile: Option<String>,

    /// A node, or several as in `agent[1-3]` [default: those of the profile's example]
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<String>,

    /// Where to write it
    #[arg(default_value = ".")]
    directory: PathBuf,
}

impl InitCommand {
    pub(super) fn run(&self, ui: &Ui) -> Result<()> {
        let path = self.directory.join(CLUSTER_FILE);
        if path.symlink_metadata().is_ok() {
            return Err(exists(&path));
        }
        let profile = self.profile()?;
        let Some(text) = config::starting_file(&profile) else {
            return Err(Error::input(format!("there is no profile `{profile}`"))
                .hint(format!("the profiles are {}", config::shipped_profiles().join(", "))));
        };
        let text = std::str::from_utf8(text).expect("shipped files are text");
        let keys = config::own_keys();
        let text = with_keys(&with_nodes(text, &self.nodes(text)?), &keys);

        new_files::create_dir_all(&self.directory)
            .context(|| format!("making the folder `{}`", self.directory.display()))?;
        match File::create_new(&path) {
            Ok(mut file) => {
                new_files::give(&file);
                file.write_all(text.as_bytes())
                    .context(|| format!("writing `{}`", path.display()))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(exists(&path));
            }
            Err(error) => return Err(error).context(|| format!("writing `{}`", path.display())),
        }
        let ignore = self.directory.join(".gitignore");
        add_lines(&ignore).context(|| format!("writing `{}`", ignore.display()))?;
        ui.note(&format!("wrote {}; `nodeforge check` says what it describes", path.display()));
        if keys.is_empty() {
            ui.note("note: there is no SSH key in ~/.ssh, and without one nobody can log in");
            ui.note("hint: `ssh-keygen -t ed25519` makes one; name it in ssh_authorized_keys");
        } else {
            ui.note(&format!("who can log in: the owner of {}", keys.join(", ")));
        }
        Ok(())
    }

    fn profile(&self) -> Result<String> {
        if let Some(profile) = &self.profile {
            return Ok(profile.clone());
        }
        if !is_interactive() {
            return Ok(FIRST_PROFILE.to_owned());
        }
        let known = config::shipped_profiles().join(", ");
        ask_for(&format!("Profile ({known})"), FIRST_PROFILE)
    }

    /// The names of nodes, as a cluster file has them.
    fn nodes(&self, example: &str) -> Result<Vec<String>> {
        if !self.nodes.is_empty() {
            return Ok(self.nodes.clone());
        }
        let usual = nodes_of(example);
        // Who named the profile has made up their mind.
        if self.profile.is_some() || !is_interactive() {
            return Ok(usual);
        }
        let answer = ask_for("Nodes", &usual.join(" "))?;
        Ok(answer.split([' ', ',']).filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }
}

fn exists(path: &Path) -> Error {
    Error::input(format!("`{}` exists already", path.display()))
        .hint("nodeforge never overwrites a cluster file; move it away first")
}

/// The host names of a starting file, in its order.
fn nodes_of(text: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("hostname = \"")?.split_once('"')?.0.to_owned());
    text.lines().filter_map(name).collect()
}

/// The starting file with other nodes. What it says of its own ones, their addresses, is theirs.
fn with_nodes(text: &str, names: &[String]) -> String {
    let Some((head, _)) = text.split_once("[[node]]\n") else { return text.to_owned() };
    if nodes_of(text) == names {
        return text.to_owned();
    }
    let node =
        |name: &String| format!("[[node]]\nhostname = {}\n", toml::Value::from(name.as_str()));
    format!("{head}{}", names.iter().map(node).collect::<Vec<_>>().join("\n"))
}

/// The starting file with these keys in the line that is a comment until there are some.
fn with_keys(text: &str, keys: &[String]) -> String {
    if keys.is_empty() {
        return text.to_owned();
    }
    let own = format!("ssh_authorized_keys = {}\n", toml::Value::from(keys.to_vec()));
    let line = |line| if str::starts_with(line, KEYS_LINE) { own.as_str() } else { line };
    text.split_inclusive('\n').map(line).collect()
}

/// Adds what must not be committed to a `.gitignore` that may be there.
fn add_lines(path: &Path) -> std::io::Result<()> {
    let mut file = new_files::open_or_make(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let missing = |wanted: &&str| !text.lines().any(|line| line.trim() == *wanted);
    let mut more: Vec<&str> =
        IGNORED.into_iter().filter(missing).flat_map(|it| [it, "\n"]).collect();
    if !more.is_empty() && !text.is_empty() && !text.ends_with('\n') {
        more.insert(0, "\n");
    }
    file.seek(SeekFrom::End(0))?;
    file.write_all(more.concat().as_bytes())
}
