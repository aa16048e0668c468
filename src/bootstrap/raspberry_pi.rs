//! What makes a bootstrapped disk look like Raspberry Pi OS: fstab, cmdline.txt, config.txt.
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
