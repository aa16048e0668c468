//! Sizes as people write them.

use crate::util::error::{Error, Result};

/// Bytes of `8G`, `512M`, `1.5T` or `8GiB`: always powers of 1024, as in qemu-img and LVM.
pub(crate) fn parse(text: &str) -> Result<u64> {
    let fault = || {
        Error::input(format!("`{text}` is not a size"))
            .hint("a size is a number with K, M, G or T, in powers of 1024: `8G`")
    };
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_uppercase().trim_end_matches("IB") {
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        "KB" | "MB" | "GB" | "TB" => {
            return Err(Error::input(format!("`{text}` may mean powers of 1000 or of 1024"))
                .hint(format!("write `{number}{}` for powers of 1024", &unit.trim()[..1])));
        }
        "" => {
            return Err(Error::input(format!("`{text}` has no unit"))
                .hint("a size is a number with K, M, G or T, in powers of 1024: `8G`"));
        }
        _ => return Err(fault()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 6 || (number.contains('.') && fraction.is_empty()) {
        return Err(fault());
    }
    let whole: u64 = whole.parse().map_err(|_| fault())?;
    let parts: u64 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| fault())? };
    let scale = 10_u64.pow(u32::try_from(fraction.len()).map_err(|_| fault())?);
    let part = u128::from(factor) * u128::from(parts) / u128::from(scale);
    u64::try_from(part)
        .ok()
        .and_then(|part| whole.checked_mul(factor)?.checked_add(part))
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(|| Error::input(format!("`{text}` is larger than any disk")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        let size = |text| parse(text).map_err(|error| error.to_string());
        assert_eq!(size("8G"), Ok(8 << 30));
        assert_eq!(size("8 GiB"), Ok(8 << 30));
        assert_eq!(size("512m"), Ok(512 << 20));
        assert_eq!(size("1.5T"), Ok(3 << 39));
        assert_eq!(size("8GB"), Err("`8GB` may mean powers of 1000 or of 1024".into()));
        assert_eq!(size("8"), Err("`8` has no unit".into()));
        assert_eq!(size("9999999T"), Err("`9999999T` is larger than any disk".into()));
        for bad in ["", "G", "8X", "-8G", "8.G", "1.2.3G", "8G8", "٨G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
