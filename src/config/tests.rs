use std::fs;
use std::path::Path;

use super::*;
use crate::util::error::Result;

/// The quickstart example, loaded from a copy in `folder`.
pub(crate) fn quickstart_in(folder: &Path) -> Result<Cluster> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart");
    for name in ["cluster.toml", "demo.pub"] {
        fs::copy(example.join(name), folder.join(name))?;
    }
    load(&folder.join("cluster.toml"), example_rules())
}

#[test]
fn the_quickstart_example_loads() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = quickstart_in(folder.path())?;
    let nodes: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| (node.hostname.as_str(), node.role.as_str(), node.is_first))
        .collect();
    assert_eq!(
        nodes,
        [("server1", "server", true), ("agent1", "agent", false), ("agent2", "agent", false)]
    );
    assert_eq!(cluster.disk.size, Some(3 << 30));
    assert_eq!(cluster.output.formats, ["raw", "qcow2", "vmwarevm"]);
    Ok(())
}
