use std::path::PathBuf;

use super::{python_tool, tool};

/// Stands in for k3s, and checks what it is given.
pub(crate) const K3S: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/k3s");

/// Wants every object in the files to be one that Kubernetes 1.36, or the definition of its kind,
/// knows.
#[track_caller]
pub(crate) fn resources_are_known(files: &[PathBuf]) {
    let checker = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/resources.py");
    let mut command = vec![PathBuf::from(checker)];
    command.extend(files.iter().cloned());
    let built_in = tool("python3", command);
    let files: Vec<&str> = built_in.lines().collect();
    if !files.is_empty() {
        validate_built_in(&files);
    }
}

fn validate_built_in(files: &[&str]) {
    let validate = python_tool(&["kubernetes-validate==1.36.0"], "kubernetes-validate");
    let mut arguments = vec!["-k", "1.36", "--strict", "--quiet"];
    arguments.extend(files);
    tool(validate.to_str().expect("UTF-8"), arguments);
}
