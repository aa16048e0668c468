//! `boot` where KVM is missing, not for this user, or runs nothing.

use std::fs;
use std::process::Command;

use crate::support::{Arch, Machines, require_root, tool};

/// Runs nodeforge as an ordinary user with a `/dev` in which `$1` made `kvm` what it is.
const WITH_KVM: &str = r#"
make=$1 groups=$2
shift 2
mount -t tmpfs tmpfs /mnt && cd /mnt || exit 125
for device in null zero full random urandom; do
	: >"$device" && mount --bind "/dev/$device" "$device" || exit 125
done
eval "$make"
mount --move /mnt /dev && cd / || exit 125
exec setpriv --reuid 59999 --regid 59999 $groups -- "$@""#;

/// QEMU that runs the guest of a probe as `$PROBE` says, and else says what would accelerate it.
const STAND_IN: &str = r#"#!/bin/sh
case " $* " in
" --version ") echo 'QEMU emulator version 10.0.2' ;;
*' -bios '*) echo 'kvm: no such luck' >&2; exit "$PROBE" ;;
*) while [ $# -gt 0 ]; do [ "$1" != -accel ] || echo "accelerator: $2"; shift; done ;;
esac
"#;

#[test]
#[ignore = "needs root"]
fn kvm_without_rights_comes_with_what_helps() {
    require_root();
    let machines = Machines::new(Arch::Amd64, &["server1"], r#"formats = ["raw"]"#);
    let _ = machines.run(["-q", "build"]).succeeds();
    tool("chmod", ["-R", "a+rX", &machines.folder.path().display().to_string()]);
    let image = machines.artifact("server1.img");
    let boot = |make: &str, groups: &str, accelerator: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", WITH_KVM, "sh", make, groups]);
        command.args([env!("CARGO_BIN_EXE_nodeforge"), "-q", "boot", "--test", "--timeout", "5"]);
        command.args(["--accel", accelerator]).arg(&image).env_remove("NO_COLOR");
        let output = command.output().expect("unshare starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let denied = "error: opening `/dev/kvm`\n  cause: Permission denied\n";
    let emulated = "hint: `--accel tcg` emulates it: slow, and anywhere\n";
    let for_group = "hint: it is for its group: `sudo gpasswd -a \"$USER\" $(stat -c %G /dev/kvm)`, then log in again\n";
    let of_group = ": >kvm; chown 0:59998 kvm; chmod 660 kvm";
    let no_groups = "--clear-groups";
    for (make, error) in [
        (of_group, format!("{denied}{for_group}{emulated}")),
        (": >kvm; chmod 600 kvm", format!("{denied}hint: it is for root alone here\n{emulated}")),
        (
            ":",
            format!(
                "error: opening `/dev/kvm`\n  cause: No such file or directory\n\
                 hint: the processor's virtualisation is off in the firmware, or this is a machine that offers none\n\
                 {emulated}"
            ),
        ),
    ] {
        assert_eq!(boot(make, no_groups, "kvm"), (Some(1), error), "{make}");
    }
    // The hints help: its group gets as far as QEMU, and emulation needs none of it.
    let (_, said) = boot(of_group, "--groups 59998", "kvm");
    assert!(said.contains("qemu-system-x86_64: ") && !said.contains("Permission denied"), "{said}");
    let (_, said) = boot(of_group, no_groups, "tcg");
    assert!(said.contains("nothing on the console matched"), "{said}");
    let other = "error: `hvf` is not an accelerator of this system\n";
    assert_eq!(boot(of_group, no_groups, "hvf"), (Some(2), format!("{other}{emulated}")));

    // What is there and can be opened may still run nothing. Only QEMU is a stand-in here.
    let bin = machines.path("bin");
    fs::create_dir(&bin).expect("made");
    fs::write(bin.join("qemu-system-x86_64"), STAND_IN).expect("written");
    tool("chmod", ["-R", "a+rX,a+x", &bin.display().to_string()]);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("there"));
    let auto = |make: &str, probe: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", WITH_KVM, "sh", make, no_groups]);
        command.args([env!("CARGO_BIN_EXE_nodeforge"), "boot", "--test"]).arg(&image);
        command.env_remove("NO_COLOR").env("PATH", &path).env("PROBE", probe);
        let output = command.output().expect("unshare starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    let for_all = ": >kvm; chmod 666 kvm";
    let emulated = "accelerator: tcg,thread=multi\n";
    let (chosen, said) = auto(for_all, "85");
    assert_eq!(chosen, "accelerator: kvm\n", "{said}");
    assert!(!said.contains("note: "), "{said}");
    let (chosen, said) = auto(for_all, "1");
    assert_eq!(chosen, emulated);
    let note = "note: it is emulated, and slow: `kvm` ran no guest: kvm: no such luck\n";
    assert!(said.contains(note), "{said}");
    let (chosen, said) = auto(of_group, "85");
    assert_eq!(chosen, emulated);
    let note = "note: it is emulated, and slow: opening `/dev/kvm`: Permission denied\n";
    assert!(said.contains(&format!("{note}{for_group}")), "{said}");
}
