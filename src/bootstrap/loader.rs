//! GRUB for a bootstrapped disk: Debian's own image, and menus that find the root.

use super::layout::BootstrapLayout;
use crate::config::Arch;

/// What differs between architectures.
pub(super) struct LoaderNames {
    /// The package that brings GRUB's image.
    pub package: &'static str,
    /// That image, in the root. It looks for `/EFI/debian/grub.cfg` on the disk it came from.
    pub image: &'static str,
    /// Where firmware looks by itself (UEFI specification, 3.5.1.1).
    pub fallback: &'static str,
    /// The package of the kernel for all machines, virtual and real.
    pub kernel: &'static str,
    /// The consoles the kernel talks to; the last is `/dev/console`.
    consoles: &'static str,
}

pub(super) fn names(arch: Arch) -> LoaderNames {
    match arch {
        Arch::Amd64 => LoaderNames {
            package: "grub-efi-amd64-bin",
            image: "usr/lib/grub/x86_64-efi/monolithic/grubx64.efi",
            fallback: "BOOTX64.EFI",
            kernel: "linux-image-amd64",
            consoles: "console=tty0 console=ttyS0,115200",
        },
        Arch::Arm64 => LoaderNames {
            package: "grub-efi-arm64-bin",
            image: "usr/lib/grub/arm64-efi/monolithic/grubaa64.efi",
            fallback: "BOOTAA64.EFI",
            kernel: "linux-image-arm64",
            consoles: "console=tty0 console=ttyAMA0,115200",
        },
    }
}

/// On the ESP: goes on to the root's own menu.
pub(super) fn esp_menu(layout: &BootstrapLayout) -> String {
    format!(
        "search --no-floppy --fs-uuid {} --set=root\n\
         set prefix=($root)/boot/grub\n\
         configfile $prefix/grub.cfg\n",
        layout.root_uuid
    )
}

/// In the root, until `update-grub` runs on the node: boots whatever kernel was installed last,
/// through the links that Debian keeps in `/`.
pub(super) fn root_menu(layout: &BootstrapLayout) -> String {
    format!(
        "set timeout=0\n\
         menuentry 'Debian GNU/Linux' {{\n\
         \tsearch --no-floppy --fs-uuid {} --set=root\n\
         \tlinux /vmlinuz root=PARTUUID={} ro {}\n\
         \tinitrd /initrd.img\n\
         }}\n",
        layout.root_uuid,
        layout.root_id(),
        names(layout.arch).consoles
    )
}

/// What `update-grub` makes the same of.
pub(super) fn defaults(layout: &BootstrapLayout) -> String {
    format!(
        "GRUB_DEFAULT=0\n\
         GRUB_TIMEOUT=0\n\
         GRUB_DISTRIBUTOR=Debian\n\
         GRUB_DISABLE_OS_PROBER=true\n\
         GRUB_TERMINAL_INPUT=console\n\
         GRUB_TERMINAL_OUTPUT=console\n\
         GRUB_CMDLINE_LINUX_DEFAULT=\"\"\n\
         GRUB_CMDLINE_LINUX=\"{}\"\n",
        names(layout.arch).consoles
    )
}

/// The publisher's, but for `nofail`: a machine that is too slow at finding the boot loader's partition still starts.
pub(super) fn fstab(layout: &BootstrapLayout) -> String {
    format!(
        "PARTUUID={} / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1\n\
         PARTUUID={} /boot/efi vfat defaults,umask=077,nofail 0 2\n",
        layout.root_id(),
        layout.firmware_id()
    )
}
