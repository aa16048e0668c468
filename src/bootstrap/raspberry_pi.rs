//! What makes a bootstrapped disk look like Raspberry Pi OS: fstab, cmdline.txt, config.txt, and settings
//! of its own that a customiser meets.
//!
//! The kernel is Debian's own and stays on the root: the Pi's firmware does not start it. Such a
//! base is for tests.

use super::layout::BootstrapLayout;

/// The package of the kernel.
pub(super) const KERNEL: &str = "linux-image-arm64";

/// The publisher's, to the letter.
pub(super) fn fstab(layout: &BootstrapLayout) -> String {
    format!(
        "proc            /proc           proc    defaults          0       0\n\
         PARTUUID={}  /boot/firmware  vfat    defaults          0       2\n\
         PARTUUID={}  /               ext4    defaults,noatime  0       1\n",
        layout.firmware_id(),
        layout.root_id()
    )
}

/// The publisher's, to the letter.
pub(super) fn command_line(layout: &BootstrapLayout) -> String {
    format!(
        "console=serial0,115200 console=tty1 root=PARTUUID={} rootfstype=ext4 fsck.repair=yes \
         rootwait resize\n",
        layout.root_id()
    )
}

/// What of the publisher's matters to a node.
pub(super) const CONFIG: &str = "# For more options and information see\n\
    # http://rptl.io/configtxt\n\
    # Some settings may impact device functionality. See link above for details\n\n\
    # Enable audio (loads snd_bcm2835)\n\
    dtparam=audio=on\n\n\
    # Automatically load initramfs files, if found\n\
    auto_initramfs=1\n\n\
    # Run in 64-bit mode\n\
    arm_64bit=1\n\n\
    [all]\n";

/// Where pi-gen's export-image/05-finalise sets `MODULES=dep`. The publisher's file has the other keys of
/// Debian's, and no type of the root's file system anywhere.
pub(super) const INITRAMFS: (&str, &str) = (
    "/etc/initramfs-tools/initramfs.conf",
    "MODULES=dep\nBUSYBOX=auto\nCOMPRESS=zstd\nDEVICE=\nNFSROOT=auto\nRUNSIZE=10%\nFSTYPE=auto\n",
);
/// What the bootstrap itself told the first initramfs, which the publisher does not.
pub(super) const FSTYPE_FILE: &str = "/etc/initramfs-tools/conf.d/root";

/// Files of packages that only the publisher has: raspberrypi-sys-mods and rpi-swap.
pub(super) const SETTINGS: [(&str, &str); 3] = [
    (
        "/usr/lib/systemd/journald.conf.d/40-rpi-volatile-storage.conf",
        "[Journal]\nStorage=volatile\n",
    ),
    (
        "/usr/lib/systemd/system.conf.d/70-rpi-enable-watchdog.conf",
        "[Manager]\nRuntimeWatchdogSec=16\nRebootWatchdogSec=1m\n",
    ),
    // Grows the file system, which the initramfs gave a larger partition.
    (
        "/usr/lib/systemd/system/rpi-resize.service",
        "[Unit]\nDescription=Grow and trim root filesystem on first boot\n\
         Before=first-boot-complete.target fstrim.service shutdown.target\n\
         After=systemd-remount-fs.service systemd-growfs-root.service\n\
         Wants=first-boot-complete.target systemd-growfs-root.service fstrim.service\n\
         ConditionFirstBoot=yes\nDefaultDependencies=no\nConflicts=shutdown.target\n\n\
         [Service]\nType=oneshot\nExecStart=/usr/bin/true\n\
         ExecStartPost=/usr/bin/systemctl disable %n\nRemainAfterExit=yes\n\n\
         [Install]\nWantedBy=sysinit.target\n",
    ),
];
/// Of them, what the publisher has enabled.
pub(super) const ENABLED: &str = "rpi-resize.service";
