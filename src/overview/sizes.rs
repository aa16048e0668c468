//! Sizes for people.

/// `472.2 MiB`: one unit everywhere, so that columns can be compared.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
