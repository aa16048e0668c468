//! `.vmx`: the machine's hardware, a line `key = "value"` each.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::DISK;
use crate::config::{Arch, Vm, VmNetwork};

/// The keys under which a node's bundle says what the build knows of it.
pub(super) const ROLE: &str = "guestinfo.nodeforge.role";
pub(super) const ADDRESS: &str = "guestinfo.nodeforge.address";

/// One machine's hardware.
pub(crate) struct Vmx<'a> {
    /// What Fusion's library shows.
    pub(crate) display_name: &'a str,
    /// The guest's processor.
    pub(crate) arch: Arch,
    /// Memory, processors, network.
    pub(crate) vm: &'a Vm,
    /// A static address; `None` lets VMware make one up, for a template.
    pub(crate) mac: Option<&'a str>,
    /// What the machine's firmware says it is; `None` lets VMware make one up.
    pub(crate) uuid: Option<[u8; 16]>,
    /// A node's role, for lists of machines.
    pub(crate) role: Option<&'a str>,
    /// A node's static address, for them too.
    pub(crate) address: Option<IpAddr>,
}

impl Vmx<'_> {
    /// The file's text.
    pub(crate) fn render(&self) -> String {
        let guest = match self.arch {
            // Products older than Debian 13 do not know its name; its hardware is the same.
            Arch::Amd64 => "debian12-64",
            Arch::Arm64 => "arm-debian12-64",
        };
        let mut text = String::new();
        let mut set = |key: &str, value: &str| {
            writeln!(text, "{key} = \"{}\"", escape(value)).expect("writing to a string");
        };
        set(".encoding", "UTF-8");
        set("config.version", "8");
        set("virtualHW.version", &self.vm.hardware_version.to_string());
        set("displayName", self.display_name);
        set("guestOS", guest);
        set("firmware", "efi");
        set("memsize", &self.vm.memory.to_string());
        set("numvcpus", &self.vm.cpus.to_string());
        set("pciBridge0.present", "TRUE");
        set("pciBridge4.present", "TRUE");
        set("pciBridge4.virtualDev", "pcieRootPort");
        set("pciBridge4.functions", "8");
        set("vmci0.present", "TRUE");
        set("nvme0.present", "TRUE");
        set("nvme0:0.present", "TRUE");
        set("nvme0:0.fileName", DISK);
        set("ethernet0.present", "TRUE");
        set("ethernet0.virtualDev", "vmxnet3");
        if let VmNetwork::Custom(_) = self.vm.network {
            set("ethernet0.connectionType", "custom");
            set("ethernet0.vnet", &self.vm.network.to_string());
        } else {
            set("ethernet0.connectionType", &self.vm.network.to_string());
        }
        match self.mac {
            Some(mac) => {
                set("ethernet0.addressType", "static");
                set("ethernet0.address", mac);
            }
            None => set("ethernet0.addressType", "generated"),
        }
        set("usb.present", "TRUE");
        set("usb_xhci.present", "TRUE");
        // Fusion on Apple silicon refuses to start with its default sound device.
        set("sound.present", "FALSE");
        set("floppy0.present", "FALSE");
        set("tools.syncTime", "TRUE");
        set("tools.upgrade.policy", "manual");
        match self.uuid {
            // Wherever the bundle is moved to, it is the same machine.
            Some(uuid) => {
                set("uuid.bios", &spaced(uuid));
                set("uuid.action", "keep");
            }
            None => set("uuid.action", "create"),
        }
        set("msg.autoAnswer", "TRUE");
        if let Some(role) = self.role {
            set(ROLE, role);
        }
        if let Some(address) = self.address {
            set(ADDRESS, &address.to_string());
        }
        text
    }
}

/// `56 4d 00 11 22 33 44 55-66 77 88 99 aa bb cc dd`, as VMware writes UUIDs.
fn spaced(uuid: [u8; 16]) -> String {
    let half = |bytes: &[u8]| {
        let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        bytes.join(" ")
    };
    format!("{}-{}", half(&uuid[..8]), half(&uuid[8..]))
}

/// VMware's own escapes: a pipe and the byte in hexadecimal digits.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' => escaped.push_str("|22"),
            '\n' => escaped.push_str("|0A"),
            '\r' => escaped.push_str("|0D"),
            '|' => escaped.push_str("|7C"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_as_vmware_does() {
        let uuid = std::array::from_fn(|at| u8::try_from(at * 17).expect("a byte"));
        assert_eq!(spaced(uuid), "00 11 22 33 44 55 66 77-88 99 aa bb cc dd ee ff");
    }

    #[test]
    fn values_cannot_break_out_of_their_quotes() {
        assert_eq!(escape("a\"b\nc\r|"), "a|22b|0Ac|0D|7C");
    }
}
