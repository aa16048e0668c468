//! How VMDKs begin.

/// How every descriptor file begins, in any case of letters.
pub(super) const FIRST_LINE: &[u8] = b"# disk descriptorfile";

/// Whether a file with these first bytes is a VMDK.
pub(in crate::disk) fn is_vmdk(head: &[u8]) -> bool {
    head.starts_with(b"KDMV") || is_descriptor(head)
}

/// Whether QEMU takes a file with these first bytes for a descriptor: comments, and then a version
/// (`vmdk_probe` in its `block/vmdk.c`).
pub(in crate::disk) fn is_vmdk_to_qemu(head: &[u8]) -> bool {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let first = lines.find(|line| !line.starts_with(b"#") && !line.is_empty());
    first.is_some_and(|line| [&b"version=1"[..], b"version=2", b"version=3"].contains(&line))
}

/// Whether a file with these first bytes is a descriptor without data.
pub(super) fn is_descriptor(head: &[u8]) -> bool {
    head.get(..FIRST_LINE.len()).is_some_and(|line| line.eq_ignore_ascii_case(FIRST_LINE))
}
