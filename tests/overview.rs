//! `report` and `build --report`: a page that is whole, valid, escaped, and without a secret.

use std::fs;

use super::support::{Arch, Machines, python_tool, tool};

/// What a browser would ask the network for, or run.
const ACTIVE: [&str; 6] = ["<script", "<link", "src=", "href=\"http", "url(", "@import"];

/// Reads a page as strictly as a browser's validator would.
const STRICT: &str = "import html5lib, sys
html5lib.HTMLParser(strict=True).parse(open(sys.argv[1], 'rb').read())";

#[test]
fn a_report_is_valid_html_and_holds_no_secret() {
    let extra = "formats = [\"raw\"]\n[[files]]\npath = \"/etc/<b>a&b</b>\"\ncontent = \"x\"\n";
    let machines = Machines::new(Arch::Amd64, &["server1", "agent[1-2]"], extra);
    let _ = machines.run(["build", "--report"]).succeeds();
    let text = fs::read_to_string(machines.artifact("report.html")).expect("there");
    let python = python_tool(&["html5lib==1.1"], "python3");
    let page = machines.artifact("report.html").display().to_string();
    tool(&python.display().to_string(), ["-c", STRICT, &page]);
    for part in ["<h1>small</h1>", "server, control plane", "agent2.img", "libstdc++6", "ext4"] {
        assert!(text.contains(part), "{part} is missing");
    }
    for part in ACTIVE {
        assert!(!text.contains(part), "{part} is there");
    }
    let secrets = fs::read_to_string(machines.path("nodeforge.secrets")).expect("there");
    let values = secrets.split('"').skip(1).step_by(2).filter(|it| it.len() >= 16);
    let values: Vec<_> = values.flat_map(str::lines).filter(|it| it.len() >= 16).collect();
    assert!(!values.is_empty());
    for value in values {
        assert!(!text.contains(value), "a secret is there");
    }
    // Nothing was there before.
    assert!(!text.contains("Changed since"), "nothing to compare with");

    let cluster = fs::read_to_string(machines.path("cluster.toml")).expect("there");
    let one_more = "[[node]]\nhostname = \"agent3\"\n[[node.files]]\npath = \"/etc/<i>c</i>\"\ncontent = \"y\"\n";
    fs::write(machines.path("cluster.toml"), format!("{cluster}{one_more}")).expect("written");
    let _ = machines.run(["build", "--report"]).succeeds();
    let text = fs::read_to_string(machines.artifact("report.html")).expect("there");
    assert!(text.contains("Changed since the build before"));
    assert!(text.contains("<td>node</td><td>agent3</td>"), "{text}");
    assert!(text.contains("&lt;i&gt;c&lt;"), "{text}");
    assert!(!text.contains("<i>"));
    let report = machines.artifact("report.html").display().to_string();
    let told = format!("the report is in {report}\n");
    let _ = machines.run(["report"]).succeeds().stderr(&told);
}

#[test]
fn a_report_is_of_a_build_and_replaces_nobody_elses_file() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let _ = machines.run(["report"]).exits(2).stderr(&format!(
        "error: no build of `small` is in `{}`\nhint: `nodeforge build` makes one; `-o` says where it is\n",
        machines.path("out").display()
    ));
    fs::create_dir(machines.path("out")).expect("made");
    fs::write(machines.artifact("report.html"), "mine").expect("written");
    let _ = machines.run(["report"]).exits(2).stderr(&format!(
        "error: `{}` was not written by nodeforge, and would be replaced\nhint: move it away\n",
        machines.artifact("report.html").display()
    ));
}
