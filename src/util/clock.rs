//! What the time is: now, or what `SOURCE_DATE_EPOCH` says.
//!
//! Source: <https://reproducible-builds.org/specs/source-date-epoch/>.

use std::time::{SystemTime, UNIX_EPOCH};

use super::error::{Error, Result};

/// The variable that says it.
pub(crate) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// `SOURCE_DATE_EPOCH`, in seconds since 1970, when it is set.
pub(crate) fn fixed() -> Result<Option<i64>> {
    let Some(text) = std::env::var_os(EPOCH) else { return Ok(None) };
    let seconds = text.to_str().and_then(|text| text.parse().ok());
    seconds.map(Some).ok_or_else(|| {
        Error::input(format!("{EPOCH} is `{}`, not a number of seconds", text.display()))
            .hint("it is seconds since 1970, as `date +%s` prints them")
    })
}

/// Seconds since 1970: `SOURCE_DATE_EPOCH`, else now.
pub(crate) fn now() -> Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(fixed()?.unwrap_or(i64::try_from(now.as_secs()).unwrap_or(i64::MAX)))
}
