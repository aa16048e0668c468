//! Days and their dates, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// Today in UTC.
pub(crate) fn today() -> String {
    date(days_since_1970())
}

/// Today's number in UTC: 1970-01-01 is 0.
pub(crate) fn days_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400
}

/// `2026-11-21` of a day's number.
pub(crate) fn date(days: u64) -> String {
    let days = i64::try_from(days).expect("not that far away");
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// How many days ago a date was; `None` when it is none, or to come.
pub(crate) fn days_since(text: &str) -> Option<u64> {
    let today = days_since_1970();
    // A century is more than any store's age.
    (0..36_525).find(|ago| today.checked_sub(*ago).is_some_and(|day| date(day) == text))
}

/// Year, month and day of days since 1970, in the Gregorian calendar carried on both ways. Years
/// are counted from March, so that a leap day ends one: Howard Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms", `civil_from_days`.
pub(crate) fn civil(days: i64) -> (i64, u8, u8) {
    const ERA: i64 = 146_097;
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let small = |number: i64| u8::try_from(number).expect("months and days are small");
    (year_of_era + era * 400 + i64::from(month <= 2), small(month), small(day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_778), "2026-11-21");
    }
}
