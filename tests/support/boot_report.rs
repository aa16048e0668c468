use std::fs;
use std::path::Path;

use super::{Run, User};

const UNIT: &str =
    "[Unit]\nDescription=Says how it went\n[Service]\nExecStart=/usr/local/sbin/nodeforge-test\n";
const WANTS: &str = "[Unit]\nWants=nodeforge-test.service\n";
/// `running` is what systemd calls a system without failed units. On a busy
/// host it may not answer in time, which `systemctl` calls `unknown`.
const SCRIPT: &str = "#!/bin/sh\n\
    while state=$(systemctl is-system-running --wait); [ \"${state:-unknown}\" = unknown ]; do sleep 5; done\n\
    failed=$(systemctl list-units --failed --plain --no-legend | cut -d' ' -f1 | paste -sd' ')\n\
    systemctl status --no-pager $failed >/dev/console 2>&1 </dev/null\n\
    echo \"nodeforge-test: $state, failed: ${failed:-none}\" >/dev/console\n\
    echo 'nodeforge-test: that is all' >/dev/console\n";

/// What [`report_when_up`] has an image say last, as a pattern. A line may be matched before all of it
/// has come, so the verdict is in the one before.
pub(crate) const BOOT_REPORT_END: &str = "nodeforge-test: that is all";

/// Has a raw image say on its console, once it is up, `nodeforge-test: STATE, failed: UNITS`.
pub(crate) fn report_when_up(user: &User, image: &Path) {
    let folder = user.folder();
    write_boot_report(folder.path());
    for top in ["etc", "usr"] {
        let (source, target) = (folder.path().join(top), format!("{}:/", image.display()));
        Run::by(user, ["cp".as_ref(), "-r".as_ref(), source.as_os_str(), target.as_ref()])
            .succeeds();
    }
}

/// Lays what has a machine say so into a folder that becomes part of its root.
pub(crate) fn write_boot_report(folder: &Path) {
    let files = [
        ("etc/systemd/system/nodeforge-test.service", UNIT),
        ("etc/systemd/system/multi-user.target.d/nodeforge-test.conf", WANTS),
        ("usr/local/sbin/nodeforge-test", SCRIPT),
    ];
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    super::tool("chmod", ["-R".as_ref(), "755".as_ref(), folder.as_os_str()]);
}
