//! Points in time for people and programs, in UTC: an image is not tied to a time zone.

use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

/// `2026-01-31T23:59:59Z` of seconds since 1970.
pub(crate) fn rfc3339(seconds: i64) -> String {
    utc(seconds).format(&Rfc3339).expect("years of four digits")
}

/// `2026-01-31 23:59`.
pub(crate) fn minutes(seconds: i64) -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day] [hour]:[minute]");
    utc(seconds).format(FORMAT).expect("it has a date and a time")
}

/// A damaged file system may hold any number: one beyond the years 0 to 9999, which is all that RFC
/// 3339 knows, becomes the nearest in them.
fn utc(seconds: i64) -> OffsetDateTime {
    const YEAR_0: i64 = -62_167_219_200;
    let last = PrimitiveDateTime::MAX.assume_utc().truncate_to_second();
    OffsetDateTime::from_unix_timestamp(seconds.max(YEAR_0)).unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `date -u -d @SECONDS` prints them.
    #[test]
    fn dates_are_those_of_date() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(rfc3339(1_763_683_200), "2025-11-21T00:00:00Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59Z");
        assert_eq!(rfc3339(4_102_444_800), "2100-01-01T00:00:00Z");
        assert_eq!(minutes(951_868_799), "2000-02-29 23:59");
        assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(rfc3339(i64::MIN), "0000-01-01T00:00:00Z");
        assert!(rfc3339(i64::MAX).ends_with('Z') && rfc3339(i64::MIN).ends_with('Z'));
    }
}
