use std::fs;
use std::path::Path;

use super::{Person, Run};

const UNIT: &str =
    "[Unit]\nDescription=Says how it went\n[Service]\nExecStart=/usr/local/sbin/nodeforge-test\n";
const WANTS: &str = "[Unit]\nWants=nodeforge-test.service\n";
/// systemd itself is the judge: `running` is what it calls a system without failed units.
const SCRIPT: &str = "#!/bin/sh\nstate=$(systemctl is-system-running --wait)\n\
    failed=$(systemctl list-units --failed --plain --no-legend | cut -d' ' -f1 | paste -sd' ')\n\
    systemctl status --no-pager $failed >/dev/console 2>&1 </dev/null\n\
    echo \"nodeforge-test: $state, failed: ${failed:-none}\" >/dev/console\n";

/// What [`says_when_up`] has an image say, as a pattern.
pub(crate) const SETTLED: &str = "nodeforge-test: .*, failed: ";

/// Has a raw image say on its console, once it is up, `nodeforge-test: STATE, failed: UNITS`.
pub(crate) fn says_when_up(person: &Person, image: &Path) {
    let folder = person.folder();
    let files = [
        ("unit", UNIT, "/etc/systemd/system/nodeforge-test.service"),
        ("wants", WANTS, "/etc/systemd/system/multi-user.target.d/nodeforge-test.conf"),
        ("script", SCRIPT, "/usr/local/sbin/nodeforge-test"),
    ];
    for (name, text, target) in files {
        let source = folder.path().join(name);
        fs::write(&source, text).expect("written");
        super::tool("chmod", ["755".as_ref(), source.as_os_str()]);
        let target = format!("{}:{target}", image.display());
        Run::by(person, ["cp".as_ref(), source.as_os_str(), target.as_ref()]).succeeds();
    }
}
