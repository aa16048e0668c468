//! Cluster files: any text gives a checked cluster or errors with places in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nodeforge::artifact::format_rules;
use nodeforge::config::load;

fuzz_target!(|text: &str| {
    let folder = std::env::temp_dir().join(format!("nodeforge-fuzz-{}", std::process::id()));
    let path = folder.join("cluster.toml");
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, text));
    if written.is_err() {
        return;
    }
    if let Err(error) = load(&path, format_rules()) {
        assert!(!error.to_string().is_empty());
    }
});
