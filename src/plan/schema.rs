//! The JSON schema of `nodeforge plan --json`; draft 2020-12.

use serde_json::{Map, Value, json};

/// Of what `plan --json` prints.
pub fn schema() -> Value {
    let (text, mode) =
        (json!({ "type": "string" }), json!({ "type": "string", "pattern": "^[0-7]{4}$" }));
    let (whole, switch) = (json!({ "type": "integer" }), json!({ "type": "boolean" }));
    let texts = json!({ "type": "array", "items": text });
    let perhaps = json!({ "type": ["string", "null"] });
    let owned = [("owner", &text), ("group", &text)];
    let content = [("size?", &whole), ("content?", &perhaps), ("secrets", &texts)];
    let state = |states: &[&str]| json!({ "enum": states });
    let (units, packages) = (
        state(&["enabled", "disabled", "masked"]),
        state(&["installed", "removed", "held", "upgraded"]),
    );
    let host = object(&[("address", &text), ("name", &text)]);
    let hosts = json!({ "type": "array", "items": host });
    let path = [("path", &text), ("mode", &mode)];
    let actions = [
        action("grow", &[("size", &whole)]),
        action(
            "apt-source",
            &[("name", &text), ("text", &text), ("key_url", &text), ("fingerprint", &perhaps)],
        ),
        action("package", &[("name", &text), ("state", &packages)]),
        action(
            "download",
            &join(
                &path,
                &[("url", &text), ("sha256?", &perhaps), ("sha256_url?", &text), ("arch?", &text)],
            ),
        ),
        action(
            "images",
            &[
                ("path", &text),
                ("images", &texts),
                ("charts", &texts),
                ("lists", &texts),
                ("tags", &texts),
                ("mirror", &perhaps),
            ],
        ),
        action("file", &join(&join(&path, &owned), &content)),
        action("directory", &join(&path, &owned)),
        action("symlink", &[("path", &text), ("target", &text)]),
        action("remove", &[("path", &text)]),
        action("unit", &[("name", &text), ("state", &units)]),
        action(
            "user",
            &[
                ("name", &text),
                ("ssh_authorized_keys", &texts),
                ("has_password", &switch),
                ("passwordless_sudo", &switch),
            ],
        ),
        action("kernel-argument", &[("argument", &text)]),
        action("config-txt", &[("line", &text)]),
        action("hostname", &[("name", &text), ("domain", &perhaps), ("hosts", &hosts)]),
        action("machine-id", &[("id", &text)]),
        action("disk-id", &[("id", &text)]),
        action("locale", &[("name", &text)]),
        action("keyboard", &[("layout", &text), ("variant", &perhaps)]),
        action("timezone", &[("name", &text)]),
    ];
    let changes = json!({ "type": "array", "items": { "$ref": "#/$defs/change" } });
    let node = object(&[("hostname", &text), ("changes", &changes)]);
    let nodes = json!({ "type": "array", "items": node });
    let base_states = state(&["cached", "new", "changed", "unknown"]);
    let base = object(&[
        ("name", &text),
        ("packages", &texts),
        ("nodes", &texts),
        ("changes", &changes),
        ("state", &base_states),
        ("key?", &text),
        ("occupied?", &whole),
    ]);
    let bases = json!({ "type": "array", "items": base });
    let artifact_states = state(&["kept", "missing", "outdated", "edited", "left"]);
    let artifact = object(&[("name", &text), ("state", &artifact_states)]);
    let artifacts = json!({ "type": "array", "items": artifact });
    let handouts = json!({ "type": "array", "items": object(&join(&join(&path, &content), &[("sources", &texts)])) });
    let sandbox = json!({ "enum": ["loop", "userns", "vm", "none"] });
    let mut schema = object(&[
        ("prepare", &changes),
        ("sandbox", &sandbox),
        ("bases", &bases),
        ("nodes", &nodes),
        ("handouts", &handouts),
        ("artifacts", &artifacts),
    ]);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "nodeforge plan --json".into();
    schema["$defs"] = json!({ "change": { "oneOf": actions } });
    schema
}

type SchemaKey<'a> = (&'a str, &'a Value);

fn action(name: &str, keys: &[SchemaKey<'_>]) -> Value {
    let origin = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["kind"],
        "properties": {
            "kind": { "enum": ["nodeforge", "profile", "overlay", "role", "cluster-file", "command-line"] },
            "name": { "type": "string" },
        },
    });
    let sources = json!({ "type": "array", "items": { "type": "string" } });
    let of_all =
        [("action", &json!({ "const": name })), ("origin", &origin), ("sources", &sources)];
    object(&join(keys, &of_all))
}

fn join<'a>(one: &[SchemaKey<'a>], other: &[SchemaKey<'a>]) -> Vec<SchemaKey<'a>> {
    one.iter().chain(other).copied().collect()
}

/// An object with these keys and no others; those that end in `?` may be missing.
fn object(keys: &[SchemaKey<'_>]) -> Value {
    let required: Vec<&str> =
        keys.iter().map(|(key, _)| *key).filter(|key| !key.ends_with('?')).collect();
    let properties: Map<String, Value> = keys
        .iter()
        .map(|(key, value)| (key.trim_end_matches('?').to_owned(), (*value).clone()))
        .collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}
