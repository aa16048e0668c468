//! Days and their dates, in UTC.

use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime};

use super::error::{Error, Result};

/// The variable that says what day it is, `2026-11-30`: for tests, whose results depend on it.
pub(crate) const TODAY: &str = "NODEFORGE_TODAY";

/// The day that [`TODAY`] says.
pub(crate) fn fixed() -> Result<Option<String>> {
    let Some(text) = std::env::var_os(TODAY) else { return Ok(None) };
    let day = text.to_str().filter(|text| parse(text).is_some());
    day.map(|text| Some(text.to_owned())).ok_or_else(|| {
        Error::input(format!("{TODAY} is `{}`, not a day", text.display()))
            .hint("it is written like 2026-11-30")
    })
}

/// Today in UTC: what [`TODAY`] says, else what the clock does.
pub(crate) fn today() -> String {
    let clock = || OffsetDateTime::now_utc().date().to_string();
    fixed().ok().flatten().unwrap_or_else(clock)
}

/// How many days a date is after another; negative when it is before. `None` when one is no date.
pub(crate) fn days_between(from: &str, to: &str) -> Option<i64> {
    Some((parse(to)? - parse(from)?).whole_days())
}

fn parse(text: &str) -> Option<Date> {
    Date::parse(text, format_description!("[year]-[month]-[day]")).ok()
}

/// Today's number in UTC: 1970-01-01 is 0.
pub(crate) fn days_since_1970() -> u64 {
    let days = OffsetDateTime::now_utc() - OffsetDateTime::UNIX_EPOCH;
    days.whole_days().try_into().unwrap_or_default()
}

/// The number of the day that [`today`] names.
pub(crate) fn today_since_1970() -> u64 {
    let days = days_between("1970-01-01", &today()).unwrap_or_default();
    days.try_into().unwrap_or_default()
}

/// `2026-11-21` of a day's number; of one after the year 9999, that year's last day.
pub(crate) fn date(days: u64) -> String {
    let days = i64::try_from(days).unwrap_or(i64::MAX).min(Duration::MAX.whole_days());
    let date = OffsetDateTime::UNIX_EPOCH.date().checked_add(Duration::days(days));
    date.unwrap_or(Date::MAX).to_string()
}

/// How many days ago a date was; `None` when it is not a date, or lies in the future.
pub(crate) fn days_since(text: &str) -> Option<u64> {
    (OffsetDateTime::now_utc().date() - parse(text)?).whole_days().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_778), "2026-11-21");
        assert_eq!(date(u64::MAX), "9999-12-31");
    }

    #[test]
    fn age_of_a_date() {
        assert_eq!(days_since(&today()), Some(0));
        assert_eq!(days_since("1970-01-01"), Some(days_since_1970()));
        assert_eq!(days_since(&date(days_since_1970() + 2)), None);
        for bad in ["", "1970-02-30", "1970-1-1", "yesterday"] {
            assert_eq!(days_since(bad), None, "{bad}");
        }
    }
}
