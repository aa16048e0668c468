//! The OVF descriptor: a machine's hardware in XML, as VMware writes it.
//!
//! Sources: DMTF DSP0243 (Open Virtualization Format 1.1), and for VMware's own names what
//! open-vmdk's `ova-compose` writes. `rasd` elements stand in the order of their schema: that of
//! the alphabet.

use std::fmt::Write as _;

use crate::config::{Arch, Vm};

/// The template's machine. Names in it are DNS labels and need no escapes.
pub(crate) struct Ovf<'a> {
    /// The machine's name.
    pub(crate) name: &'a str,
    /// The guest's processor.
    pub(crate) arch: Arch,
    /// Memory, processors, network.
    pub(crate) vm: &'a Vm,
    /// The disk's virtual size in bytes.
    pub(crate) capacity: u64,
    /// The disk's file beside this one.
    pub(crate) disk_name: &'a str,
    /// That file's size in bytes.
    pub(crate) packed: u64,
}

/// CIM's numbers of what there is, in `rasd:ResourceType`.
const PROCESSOR: u32 = 3;
const MEMORY: u32 = 4;
const NETWORK: u32 = 10;
const DISK: u32 = 17;
/// "Other storage device": VMware's SATA and `NVMe` controllers.
const STORAGE: u32 = 20;

impl Ovf<'_> {
    /// The file's text.
    pub(crate) fn render(&self) -> String {
        let Self { name, vm, capacity, disk_name, packed, .. } = self;
        let network = vm.network;
        let version = vm.hardware_version;
        let (os_id, os_type, os) = match self.arch {
            // Products older than Debian 13 do not know its name; its hardware is the same.
            Arch::Amd64 => (96, "debian12_64Guest", "Debian GNU/Linux 12 (64-bit)"),
            Arch::Arm64 => (101, "armDebian12_64Guest", "Debian GNU/Linux 12 (Arm 64-bit)"),
        };
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:href="{disk_name}" ovf:id="file1" ovf:size="{packed}"/>
  </References>
  <DiskSection>
    <Info>Virtual disk information</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>The list of logical networks</Info>
    <Network ovf:name="{network}">
      <Description>The {network} network</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{name}">
    <Info>A virtual machine</Info>
    <Name>{name}</Name>
    <OperatingSystemSection ovf:id="{os_id}" vmw:osType="{os_type}">
      <Info>The kind of installed operating system</Info>
      <Description>{os}</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware requirements</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-{version}</vssd:VirtualSystemType>
      </System>
{items}      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
      <vmw:Config ovf:required="false" vmw:key="tools.syncTimeWithHost" vmw:value="true"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#,
            items = self.items(),
        )
    }

    fn items(&self) -> String {
        let vm = self.vm;
        let (cpus, memory, network) = (vm.cpus, vm.memory, vm.network);
        let items: [&[(&str, &dyn std::fmt::Display)]; 5] = [
            &[
                ("AllocationUnits", &"hertz * 10^6"),
                ("Description", &"Number of Virtual CPUs"),
                ("ElementName", &format!("{cpus} virtual CPU(s)")),
                ("InstanceID", &1),
                ("ResourceType", &PROCESSOR),
                ("VirtualQuantity", &cpus),
            ],
            &[
                ("AllocationUnits", &"byte * 2^20"),
                ("Description", &"Memory Size"),
                ("ElementName", &format!("{memory}MB of memory")),
                ("InstanceID", &2),
                ("ResourceType", &MEMORY),
                ("VirtualQuantity", &memory),
            ],
            &[
                ("Address", &0),
                ("Description", &"NVMe Controller"),
                ("ElementName", &"NVMe controller 0"),
                ("InstanceID", &3),
                ("ResourceSubType", &"vmware.nvme.controller"),
                ("ResourceType", &STORAGE),
            ],
            &[
                ("AddressOnParent", &0),
                ("ElementName", &"Hard disk 1"),
                ("HostResource", &"ovf:/disk/vmdisk1"),
                ("InstanceID", &4),
                ("Parent", &3),
                ("ResourceType", &DISK),
            ],
            &[
                ("AddressOnParent", &7),
                ("AutomaticAllocation", &true),
                ("Connection", &network),
                ("Description", &format!("VmxNet3 ethernet adapter on {network}")),
                ("ElementName", &"Network adapter 1"),
                ("InstanceID", &5),
                ("ResourceSubType", &"VmxNet3"),
                ("ResourceType", &NETWORK),
            ],
        ];
        let mut text = String::new();
        for item in items {
            text.push_str("      <Item>\n");
            for (name, value) in item {
                writeln!(text, "        <rasd:{name}>{value}</rasd:{name}>")
                    .expect("writing to a string");
            }
            text.push_str("      </Item>\n");
        }
        text
    }
}
