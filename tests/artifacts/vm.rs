//! `nodeforge vm` with a stand-in for VMware's `vmrun`: it writes down what it is called with.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;

use crate::support::{Arch, Machines, Run, tool};

/// A cluster's bundles, and the stand-in beside them.
struct Vmware {
    machines: Machines,
}

impl Vmware {
    /// `deletes` is what `vmrun deleteVM "$vmx"` does.
    fn new(deletes: &str) -> Self {
        let machines =
            Machines::new(Arch::Arm64, &["server1", "agent[1-2]"], "formats = [\"vmwarevm\"]");
        let _ = machines.run(["build"]).succeeds();
        let bin = machines.path("bin");
        fs::create_dir(&bin).expect("made");
        let script = format!(
            "#!/bin/sh\necho \"$*\" >>{calls}\nvmx=$4\ncase $3 in\n\
             list) echo Total running VMs: 7; cat {running} ;;\n\
             start) echo \"$vmx\" >>{running} ;;\n\
             stop) [ \"$5\" = hard ] || {{ echo Error: VMware Tools are not running; exit 255; }}\n\
             \x20 grep -vxF \"$vmx\" {running} >{running}.new; mv {running}.new {running} ;;\n\
             readVariable) cat {guests}/\"$(basename \"$vmx\" .vmx).$6\" 2>/dev/null ||\n\
             \x20 {{ echo Error: The VMware Tools are not running; exit 255; }} ;;\n\
             deleteVM) {deletes} ;;\nesac\n",
            guests = machines.path("guests").display(),
            calls = machines.path("calls").display(),
            running = machines.path("running").display(),
        );
        fs::write(bin.join("vmrun"), script).expect("written");
        fs::set_permissions(bin.join("vmrun"), fs::Permissions::from_mode(0o755)).expect("set");
        fs::write(machines.path("running"), "").expect("written");
        fs::create_dir(machines.path("guests")).expect("made");
        Self { machines }
    }

    fn run<const N: usize>(&self, arguments: [&str; N]) -> Run {
        let path = format!("{}:/usr/bin:/bin", self.machines.path("bin").display());
        self.machines.run(["vm"].into_iter().chain(arguments)).env("PATH", path)
    }

    fn vmx(&self, name: &str) -> PathBuf {
        let output = self.machines.path("out").canonicalize().expect("there");
        output.join(format!("{name}.vmwarevm/{name}.vmx"))
    }

    /// A machine's guest sets a variable.
    fn guest_says(&self, name: &str, variable: &str, value: &str) {
        let path = self.machines.path("guests").join(format!("{name}.{variable}"));
        fs::write(path, format!("{value}\n")).expect("written");
    }

    /// What `vmrun` was called with since the last look, but for lists.
    fn calls(&self) -> Vec<String> {
        let path = self.machines.path("calls");
        let text = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, "").expect("written");
        let calls = text.lines().filter(|it| *it != "-T ws list");
        calls.map(str::to_owned).collect()
    }

    /// The template's files with their bytes.
    fn template(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let folder = fs::read_dir(self.machines.artifact("small-template.vmwarevm"));
        let files = folder.expect("there").map(|it| it.expect("readable").path());
        files.map(|path| (path.clone(), fs::read(path).expect("readable"))).collect()
    }

    fn sums_are_right(&self) {
        let script = "cd \"$1\" && sha256sum --check --strict --quiet SHA256SUMS";
        let output = self.machines.path("out");
        tool("sh", ["-c", script, "sh", output.to_str().expect("plain")]);
    }
}

#[test]
fn without_vmrun_the_bundles_are_listed_and_nothing_else_is_done() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"vmwarevm\"]");
    let _ = machines.run(["build"]).succeeds();
    let run = |arguments: &[&str]| machines.run(arguments).env("PATH", "/usr/bin:/bin");
    let _ = run(&["vm", "list"])
        .succeeds()
        .stdout(
            "NAME            STATE  ROLE    ADDRESS  FIRST BOOT  TEMPLATE\n\
             server1         -      server  -        -           small-template\n\
             small-template  -      -       -        -           -\n",
        )
        .stderr("note: `vmrun` is not installed, so which machines run is not known\n");
    let json = run(&["vm", "list", "--json"]).succeeds().stdout_text();
    let listed: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&listed[0]["running"], &listed[0]["role"]), (&().into(), &"server".into()));
    let _ = run(&["vm", "start"]).exits(1).stdout("").stderr(
        "error: `vmrun` is not installed\n\
         hint: it comes with VMware Fusion and VMware Workstation\n",
    );
}

/// A copy in the Finder: the folder has another name, and what is in it does not.
#[test]
fn a_copied_clone_is_told_to_be_a_twin_and_does_not_run_beside_its_original() {
    let vmware = Vmware::new("exit 1");
    let out = vmware.machines.path("out");
    let copy = out.join("agent1 copy.vmwarevm");
    tool("cp", ["-r".as_ref(), out.join("agent1.vmwarevm").as_os_str(), copy.as_os_str()]);
    let twin = "`agent1 copy` is a copy of `agent1`: same MAC address or UUID, machine-id, SSH host \
                keys and secrets\nhint: run one of them only; a `[[node]]` and `nodeforge build` make \
                another machine\n";
    let said = vmware.run(["list"]).succeeds().stderr(&format!("note: {twin}")).stdout_text();
    let line = said.lines().find(|line| line.starts_with("agent1 copy")).expect("it is listed");
    assert!(line.split("  ").any(|cell| cell.trim() == "small-template"), "{said}");

    // All: the originals.
    let _ = vmware.run(["start"]).succeeds();
    assert!(vmware.calls().iter().all(|call| !call.contains("copy")));
    let refused = format!("error: {twin}");
    let _ = vmware.run(["start", "agent1 copy"]).exits(2).stderr(&refused);
    let _ = vmware.run(["stop", "--hard", "agent1"]).succeeds();
    let _ = vmware.run(["start", "agent1", "agent1 copy"]).exits(2).stderr(&refused);
    assert_eq!(vmware.calls().len(), 1, "the stop");
    let _ = vmware.run(["start", "agent1 copy"]).succeeds();
    let called = format!("-T ws start {} nogui", copy.join("agent1.vmx").display());
    assert_eq!(vmware.calls(), [called.replace(&*out.to_string_lossy(), &real(&out))]);
    let _ = vmware.run(["start", "agent1"]).exits(2).stderr(&refused);
}

fn real(path: &std::path::Path) -> String {
    path.canonicalize().expect("there").display().to_string()
}

#[test]
fn machines_are_listed_started_and_stopped() {
    let vmware = Vmware::new("exit 1");
    let _ = vmware.run(["start"]).succeeds().stdout("");
    let start = |name: &str| format!("-T ws start {} nogui", vmware.vmx(name).display());
    assert_eq!(vmware.calls(), ["agent1", "agent2", "server1"].map(start));
    // Those that run are left alone.
    let _ = vmware.run(["start", "agent2"]).succeeds().stderr("");
    assert_eq!(vmware.calls(), Vec::<String>::new());

    let _ = vmware.run(["stop", "agent2"]).exits(1).stderr(&format!(
        "error: stopping `agent2`\n  cause: `{}` failed\n  \
         cause: Error: VMware Tools are not running\n\
         hint: `--hard` turns it off without asking the guest\n",
        vmware.machines.path("bin/vmrun").display()
    ));
    let _ = vmware.run(["stop", "--hard", "agent2"]).succeeds().stderr("agent2 is off\n");
    let stop = |how: &str| format!("-T ws stop {} {how}", vmware.vmx("agent2").display());
    assert_eq!(vmware.calls(), [stop("soft"), stop("hard")]);

    vmware.guest_says("agent1", "nodeforge.status", "agent failing 50-k3s-agent 3");
    vmware.guest_says("agent1", "ip", "192.168.7.9");
    // Whatever a guest says, a line of the list is what becomes of it.
    vmware.guest_says("server1", "nodeforge.status", "server \u{1b}[2J");
    vmware.guest_says("server1", "ip", "10.0.0.1\nagent9  running");
    let _ = vmware.run(["list"]).succeeds().stdout(
        "NAME            STATE    ROLE    ADDRESS      FIRST BOOT                   TEMPLATE\n\
         agent1          running  agent   192.168.7.9  50-k3s-agent fails, round 3  small-template\n\
         agent2          off      agent   -            -                            small-template\n\
         server1         running  server  -            -                            small-template\n\
         small-template  off      -       -            -                            -\n",
    );
    let read = |name: &str, variable: &str| {
        format!("-T ws readVariable {} guestVar {variable}", vmware.vmx(name).display())
    };
    let asked = ["agent1", "server1"].map(|it| [read(it, "nodeforge.status"), read(it, "ip")]);
    assert_eq!(vmware.calls(), asked.concat());
    let json = vmware.run(["list", "--json"]).succeeds().stdout_text();
    let listed: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(listed[1]["vmx"], vmware.vmx("agent2").display().to_string());
    assert_eq!((&listed[1]["running"], &listed[3]["template"]), (&false.into(), &().into()));

    let _ = vmware.run(["start", "agent9"]).exits(2).stderr(
        "error: cannot find a machine `agent9`\n\
         hint: there are agent1, agent2, server1, small-template\n",
    );
}

#[test]
fn a_clone_goes_and_its_template_stays() {
    // The worst that can be thought of: it takes the parent's disk, and everything beside it.
    for deletes in ["rm -r \"${vmx%/*}\"", "rm -r \"${vmx%/*}\" \"${vmx%/*/*}\"/small-template.*"] {
        let vmware = Vmware::new(deletes);
        let before = vmware.template();
        let _ = vmware.run(["delete", "agent1"]).exits(2).stderr(
            "error: cannot ask whether to delete agent1: standard input is not a terminal\n\
             hint: `--yes` goes ahead without asking\n",
        );
        assert_eq!(vmware.calls(), Vec::<String>::new());

        let said = vmware.run(["delete", "--yes", "agent1"]).succeeds().stderr_text();
        assert!(said.ends_with("agent1 is deleted\n"), "{said}");
        assert_eq!(said.contains("were put back"), deletes.contains("small-template"), "{said}");
        assert_eq!(vmware.calls(), [format!("-T ws deleteVM {}", vmware.vmx("agent1").display())]);
        assert!(!vmware.vmx("agent1").parent().expect("a folder").exists());
        assert!(vmware.template() == before);
        vmware.sums_are_right();
        let left = fs::read_dir(vmware.machines.path("out")).expect("there");
        assert!(left.flatten().all(|it| !it.file_name().to_string_lossy().starts_with('.')));
    }
}

/// `vmrun` refuses, or everything ends in the middle of it.
#[test]
fn checksums_are_right_whatever_becomes_of_a_clone() {
    let refuses = "echo Error: The virtual machine is locked; exit 255";
    for (deletes, is_killed) in [(refuses, false), ("rm \"${vmx%/*}\"/*.vmdk; kill -9 $PPID", true)]
    {
        let vmware = Vmware::new(deletes);
        let before = fs::read(vmware.machines.artifact("SHA256SUMS")).expect("there");
        let mut run = vmware.run(["delete", "--yes", "agent1"]);
        let ended = run.command().output().expect("nodeforge starts");
        assert_eq!(ended.status.code(), (!is_killed).then_some(1));
        vmware.sums_are_right();
        let after = fs::read(vmware.machines.artifact("SHA256SUMS")).expect("there");
        assert_eq!(after == before, !is_killed);
        let said = String::from_utf8(ended.stderr).expect("text");
        if !is_killed {
            assert!(said.starts_with("error: deleting `agent1`\n  cause: "), "{said}");
            assert!(said.ends_with("  cause: Error: The virtual machine is locked\n"), "{said}");
        }
    }
}

/// The only copies of the template are in a folder that the next run clears away.
#[test]
fn a_template_is_put_back_after_a_kill() {
    let once = "rm -r \"${vmx%/*}\"; test ! -e killed || exit 0; : >killed
        rm -r \"${vmx%/*/*}\"/small-template.*; kill -9 $PPID";
    let vmware = Vmware::new(once);
    let before = vmware.template();
    let run = vmware.run(["delete", "--yes", "agent1"]).command().status().expect("it starts");
    assert_eq!(run.signal(), Some(9));
    // Even if the folder was moved meanwhile.
    let (out, moved) = (vmware.machines.path("out"), vmware.machines.path("moved"));
    fs::rename(&out, &moved).expect("moved");
    let _ = vmware.run(["-o", "moved", "delete", "--yes", "agent2"]).succeeds();
    fs::rename(&moved, &out).expect("moved back");
    assert!(vmware.template() == before);
}

#[test]
fn a_template_goes_only_after_its_clones() {
    let vmware = Vmware::new("rm -r \"${vmx%/*}\"");
    let _ = vmware.run(["delete", "--yes", "small-template", "agent1"]).exits(2).stderr(
        "error: `small-template` is the template of agent2, server1, which would lose their disks\n\
         hint: delete the clones as well, or first\n",
    );
    let _ = vmware.run(["start", "agent1"]).succeeds();
    let _ = vmware
        .run(["delete", "--yes", "agent1"])
        .exits(2)
        .stderr("error: `agent1` is running\nhint: `nodeforge vm stop agent1` shuts it down\n");
    let _ = vmware.run(["stop", "--hard"]).succeeds();
    let _ = vmware.calls();
    let all = ["delete", "--yes", "small-template", "agent1", "agent2", "server1"];
    let _ = vmware.run(all).succeeds();
    let delete = |name: &str| format!("-T ws deleteVM {}", vmware.vmx(name).display());
    assert_eq!(vmware.calls(), ["agent1", "agent2", "server1", "small-template"].map(delete));
    vmware.sums_are_right();
}
