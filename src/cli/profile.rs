use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{print, print_json};
use super::table::table;
use crate::config::{self, Profile, RoleKind, SecretSpec, SettingSpec};
use crate::util::error::Result;

/// List the profiles in nodeforge, or show what one of them has
#[derive(Debug, Args)]
pub(super) struct ProfileCommand {
    #[command(subcommand)]
    command: ProfileAction,
}

#[derive(Debug, Subcommand)]
enum ProfileAction {
    List(ProfileList),
    Show(ProfileShow),
}

/// List the profiles in nodeforge
#[derive(Debug, Args)]
struct ProfileList {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

/// Show a profile's settings, roles and secrets
#[derive(Debug, Args)]
struct ProfileShow {
    /// A profile in nodeforge, or the path of a profile's folder
    profile: String,

    /// Print the profile as JSON
    #[arg(long)]
    json: bool,
}

impl ProfileCommand {
    pub(super) fn run(&self) -> Result<()> {
        match &self.command {
            ProfileAction::List(command) => command.run(),
            ProfileAction::Show(command) => command.run(),
        }
    }
}

impl ProfileList {
    fn run(&self) -> Result<()> {
        let profiles = config::shipped_profiles()
            .into_iter()
            .map(config::load_profile)
            .collect::<Result<Vec<_>>>()?;
        if self.json {
            let profile = |it: &Profile| json!({ "name": it.name, "description": it.description });
            return print_json(&profiles.iter().map(profile).collect::<Vec<_>>());
        }
        let row = |it: &Profile| vec![it.name.clone(), it.description.clone()];
        let rows: Vec<_> = profiles.iter().map(row).collect();
        print(&table(&["NAME", "DESCRIPTION"], &[], &rows))
    }
}

impl ProfileShow {
    fn run(&self) -> Result<()> {
        let profile = config::load_profile(&self.profile)?;
        if self.json {
            return print_json(&as_json(&profile));
        }
        let base = profile.base.as_ref().map(super::check::describe_base);
        let mut text = format!("{}: {}\n", profile.name, profile.description);
        text.push_str(&format!("base: {}\n", base.unwrap_or_else(|| "the cluster file's".into())));
        let mut part = |headings: &[&str], rows: Vec<Vec<String>>| {
            if !rows.is_empty() {
                text.push('\n');
                text.push_str(&table(headings, &[], &rows));
            }
        };
        let setting = |(name, spec): (&String, &SettingSpec)| {
            let default = spec.default.as_ref().map_or_else(|| "(needed)".into(), config::show);
            vec![name.clone(), spec.kind.to_string(), default, spec.description.clone()]
        };
        let settings = profile.settings.iter().map(setting).collect();
        part(&["SETTING", "TYPE", "DEFAULT", "DESCRIPTION"], settings);
        let roles = profile.roles.iter().map(|role| {
            let kind = role.kind.map_or("", RoleKind::name);
            let steps = role.firstboot.join(" ");
            vec![role.name.clone(), role.pattern_text.clone(), kind.to_owned(), steps]
        });
        part(&["ROLE", "HOST NAMES", "KIND", "FIRST BOOT"], roles.collect());
        let secret = |it: &SecretSpec| {
            let roles = if it.roles.is_empty() { "all".into() } else { it.roles.join(" ") };
            vec![it.name.clone(), it.recipe.kind().to_string(), roles]
        };
        let secrets = profile.secrets.iter().map(secret).collect();
        part(&["SECRET", "KIND", "ROLES"], secrets);
        let when = |it: &Option<config::Condition>| {
            it.as_ref().map(|it| it.text.clone()).unwrap_or_default()
        };
        let handouts = profile.handouts.iter().map(|it| vec![it.path.clone(), when(&it.when)]);
        part(&["HANDOUT", "WHEN"], handouts.collect());
        let packages = profile.packages.install.iter();
        let packages = packages.map(|it| vec![it.name.clone(), when(&it.when)]);
        part(&["PACKAGE", "WHEN"], packages.collect());
        print(&text)
    }
}

fn as_json(profile: &Profile) -> Value {
    let settings = profile.settings.iter().map(|(name, spec)| {
        json!({
            "name": name, "type": spec.kind.to_string(), "description": spec.description,
            "default": spec.default.as_ref().map(config::show),
        })
    });
    let roles = profile.roles.iter().map(|it| {
        json!({
            "name": it.name, "pattern": it.pattern_text, "kind": it.kind.map(RoleKind::name),
            "firstboot": it.firstboot,
        })
    });
    let secrets = profile
        .secrets
        .iter()
        .map(|it| json!({ "name": it.name, "kind": it.recipe.kind().name(), "roles": it.roles }));
    let handouts = profile.handouts.iter().map(|it| it.path.clone());
    let packages = profile.packages.install.iter().map(|it| it.name.clone());
    json!({
        "name": profile.name,
        "description": profile.description,
        "base": profile.base.as_ref().map(super::check::describe_base),
        "settings": settings.collect::<Vec<_>>(),
        "roles": roles.collect::<Vec<_>>(),
        "secrets": secrets.collect::<Vec<_>>(),
        "handouts": handouts.collect::<Vec<_>>(),
        "packages": packages.collect::<Vec<_>>(),
    })
}
