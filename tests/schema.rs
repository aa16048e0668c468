//! The schemas, checked by `check-jsonschema`, and compared with what the reader itself takes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::support::{Run, User, python_tool};

fn validator() -> PathBuf {
    python_tool(&["check-jsonschema==0.35.0"], "check-jsonschema")
}

fn schema(of: &str, folder: &Path) -> PathBuf {
    let path = folder.join(format!("{of}.json"));
    let text = Run::new(["schema", of]).succeeds().stdout_text();
    fs::write(&path, text).expect("written");
    path
}

/// Whether the validator accepts the files, and what it prints.
fn validate(validator: &Path, schema: &Path, files: &[PathBuf]) -> (bool, String) {
    let output = Command::new(validator).arg("--schemafile").arg(schema).args(files).output();
    let output = output.expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Files of this name in the folders of `folder`.
fn files(folder: &str, name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).expect("readable").flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path().join(name)).collect();
    paths.retain(|path| path.exists());
    paths.sort();
    paths
}

#[test]
fn the_schemas_take_what_nodeforge_takes_and_refuse_what_it_refuses() {
    let validator = validator();
    let folder = User::current().folder();
    let [cluster, profile, plan] =
        ["cluster", "profile", "plan"].map(|it| schema(it, folder.path()));
    for schema in [&cluster, &profile, &plan] {
        let output = Command::new(&validator).arg("--check-metaschema").arg(schema).output();
        assert!(output.expect("it starts").status.success(), "{}", schema.display());
    }
    let mut clusters = files("examples", "cluster.toml");
    clusters.extend(files("profiles", "cluster.toml"));
    let profiles = files("profiles", "profile.toml");
    assert!(clusters.len() >= 2 && !profiles.is_empty());
    for (schema, good) in [(&cluster, &clusters), (&profile, &profiles)] {
        let (is_good, said) = validate(&validator, schema, good);
        assert!(is_good, "{said}");
    }

    let printed: Vec<PathBuf> = files("examples", "cluster.toml")
        .into_iter()
        .enumerate()
        .map(|(index, example)| {
            let path = folder.path().join(format!("plan{index}"));
            let run = Run::new(["plan", "--json", example.to_str().expect("UTF-8")]);
            fs::write(&path, run.succeeds().stdout_text()).expect("written");
            path
        })
        .collect();
    let as_json = |files: &[PathBuf]| {
        let mut arguments = vec![PathBuf::from("--default-filetype"), "json".into()];
        arguments.extend_from_slice(files);
        validate(&validator, &plan, &arguments)
    };
    let (is_good, said) = as_json(&printed);
    assert!(is_good, "{said}");
    let text = fs::read_to_string(&printed[0]).expect("there");
    let spoilt = folder.path().join("spoilt");
    fs::write(&spoilt, text.replace("\"action\": \"unit\"", "\"action\": \"unitt\""))
        .expect("written");
    assert!(!as_json(&[spoilt]).0);

    for (schema, bad) in [
        (&cluster, "[disk]\nsise = \"8G\"\n"),
        (&cluster, "[disk]\nsize = 8\n"),
        (&cluster, "[output]\nformats = [\"qcow\"]\n"),
        (&cluster, "[base]\nimage = \"x\"\npath = \"y\"\n"),
        (&cluster, "[[node]]\nrole = \"x\"\n"),
        (&cluster, "[[files]]\npath = \"/x\"\n"),
        (&cluster, "[vm]\ncpus = 0\n"),
        (&profile, "overlays = []\n"),
        (&profile, "description = \"x\"\n[[secret]]\nname = \"x\"\nkind = \"y\"\n"),
        (&profile, "description = \"x\"\noverlays = [{ when = \"true\" }]\n"),
        (&profile, "description = \"x\"\n[settings.x]\ntype = \"text\"\n"),
        (&profile, "description = \"x\"\n[[handout]]\ncontent = \"x\"\n"),
    ] {
        let path = folder.path().join("bad.toml");
        fs::write(&path, bad).expect("written");
        let (is_good, said) = validate(&validator, schema, &[path]);
        assert!(!is_good && said.contains("Schema validation errors"), "{bad}\n{said}");
    }
}

/// A table of a file, how to reach its schema, and a file with an unknown key in it.
type Probe = (&'static str, &'static str);

/// What the reader says an unknown key could have been, against the schema's keys.
fn compare(schema: &Value, probes: &[Probe], run: impl Fn(&str) -> String) {
    for (pointer, text) in probes {
        let said = run(&text.replace('?', "zzzzzz = 1"));
        let listed = said.lines().skip_while(|line| !line.contains("unknown key `zzzzzz`"));
        let hint = listed.into_iter().find(|line| line.starts_with("hint: it may hold "));
        let hint = hint.unwrap_or_else(|| panic!("{pointer}\n{said}"));
        let known: BTreeSet<&str> = hint.split('`').skip(1).step_by(2).collect();
        let found = schema.pointer(&format!("{pointer}/properties"));
        let found = found.and_then(Value::as_object).unwrap_or_else(|| panic!("no {pointer}"));
        let listed: BTreeSet<&str> = found.keys().map(String::as_str).collect();
        // A plain password is known in order to be refused.
        let known: BTreeSet<&str> = known.into_iter().filter(|key| *key != "password").collect();
        assert_eq!(known, listed, "{pointer}");
    }
}

#[test]
fn the_schemas_have_the_keys_that_the_reader_takes() {
    let folder = User::current().folder();
    let read = |of: &str| -> Value {
        let path = schema(of, folder.path());
        serde_json::from_slice(&fs::read(path).expect("there")).expect("JSON")
    };
    let check = || Run::new(["check"]).folder(folder.path()).exits(2).stderr_text();
    let cluster: [Probe; 15] = [
        ("", "?"),
        ("/properties/cluster", "[cluster]\n?"),
        // What goes with an address is known where there is one.
        ("/properties/base", "[base]\nurl = \"https://example.org/x\"\n?"),
        ("/properties/base/properties/bootstrap", "[base.bootstrap]\n?"),
        ("/properties/disk", "[disk]\n?"),
        ("/properties/access", "[access]\n?"),
        ("/properties/ssh", "[ssh]\n?"),
        ("/properties/secrets", "[secrets]\n?"),
        ("/properties/locale", "[locale]\n?"),
        ("/properties/files/items", "[[files]]\n?"),
        ("/properties/vm", "[vm]\n?"),
        ("/properties/cache", "[cache]\n?"),
        ("/properties/output", "[output]\n?"),
        ("/properties/node/items", "[[node]]\n?"),
        ("/properties/node/items/properties/files/items", "[[node]]\n[[node.files]]\n?"),
    ];
    compare(&read("cluster"), &cluster, |text| {
        fs::write(folder.path().join("cluster.toml"), text).expect("written");
        check()
    });

    let file = "[cluster]\nname = \"lab\"\nprofile = \"./own\"\n[access]\nuser = \"me\"\n\
                [[node]]\nhostname = \"server1\"\n";
    fs::write(folder.path().join("cluster.toml"), file).expect("written");
    fs::create_dir(folder.path().join("own")).expect("made");
    let profile: [Probe; 15] = [
        ("", "?"),
        ("/properties/settings/additionalProperties", "[settings.x]\n?"),
        ("/properties/packages", "[packages]\n?"),
        ("/properties/packages/properties/install/items/anyOf/1", "[packages]\ninstall = [{ ? }]"),
        ("/properties/apt_source/items", "[[apt_source]]\n?"),
        ("/properties/kernel", "[kernel]\n?"),
        ("/properties/units", "[units]\n?"),
        ("/properties/artifact/items", "[[artifact]]\n?"),
        ("/properties/role/items", "[[role]]\n?"),
        ("/properties/role/items/properties/units", "[[role]]\n[role.units]\n?"),
        ("/properties/role/items/properties/files/items", "[[role]]\n[[role.files]]\n?"),
        ("/properties/secret/items", "[[secret]]\n?"),
        ("/properties/handout/items", "[[handout]]\n?"),
        ("/properties/host/items", "[[host]]\n?"),
        ("/properties/rule/items", "[[rule]]\n?"),
    ];
    compare(&read("profile"), &profile, |text| {
        fs::write(folder.path().join("own/profile.toml"), text).expect("written");
        check()
    });
}
