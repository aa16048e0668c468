//! One connection: what is asked of the server, what it answers, and its body.

use std::path::Path;
use std::sync::Arc;

use ureq::http::{StatusCode, header};

use super::http::{Client, Method, Plain, Response};
use super::part::{PartialFile, Validator};
use super::retry::Fault;
use super::sinks::{Gone, Sinks};
use super::stream::{BodyStream, StreamTrouble};
use super::wanted::Wanted;
use crate::util::error::{Error, Result};
use crate::util::progress::Progress;
use crate::util::room::{self, FolderUse};

/// Why a stream ended before its end.
pub(crate) enum Interruption {
    /// It may go on with another connection.
    Fault(Fault),
    /// The server sends next to nothing.
    Slow(Error),
    /// The server has another file.
    Changed,
    /// The server only sends the whole file.
    Unresumable,
    /// Somebody who listens has seen enough.
    Refused,
    /// It cannot go on now.
    Stopped(Error),
}

impl From<Gone> for Interruption {
    fn from(Gone: Gone) -> Self {
        Self::Refused
    }
}

/// Asks for what the part lacks, and passes it on.
pub(crate) fn receive(
    client: &Client,
    wanted: &Wanted<'_>,
    part: &mut PartialFile,
    sinks: &Sinks<'_>,
    progress: &dyn Progress,
) -> Result<(), Interruption> {
    let response = client
        .send(Method::Get, wanted.url, Plain::Allowed, &range(wanted, part)?)
        .map_err(Interruption::Fault)?;
    match response.status {
        StatusCode::OK => {
            let (validator, total) = (Validator::of(&response), response.body.content_length());
            if part.length() > 0 {
                let is_same = *part.validator() == validator && part.total() == total;
                return Err(if is_same {
                    Interruption::Unresumable
                } else {
                    Interruption::Changed
                });
            }
            part.begin(validator, total).map_err(Interruption::Stopped)?;
        }
        StatusCode::PARTIAL_CONTENT => {
            let Some((start, total)) = content_range(&response) else {
                return Err(unexpected(wanted, "an answer without a Content-Range"));
            };
            if start != Some(part.length()) || part.total().is_some_and(|it| total != Some(it)) {
                return Err(Interruption::Changed);
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            // Nothing is after what we have: then it is all there is, or another file's.
            let total = content_range(&response).and_then(|(_, total)| total);
            if total != Some(part.length()) {
                return Err(Interruption::Changed);
            }
            part.set_total(part.length());
            return Ok(());
        }
        status => return Err(unexpected(wanted, &format!("HTTP {}", status.as_u16()))),
    }
    if let Some(total) = part.total() {
        // What comes is kept until all of it was verified; the image is another file.
        let folder = part.path().parent().unwrap_or(Path::new("."));
        let needed = total.saturating_sub(part.length());
        room::require(folder, FolderUse::Cache, needed).map_err(Interruption::Stopped)?;
    }
    let mut stream = BodyStream::new(response.body.into_reader(), wanted.url);
    while let Some(chunk) = stream.next().map_err(|trouble| match trouble {
        StreamTrouble::Stopped(error) => Interruption::Stopped(error),
        StreamTrouble::Fault(fault) => Interruption::Fault(fault),
        StreamTrouble::Slow(error) => Interruption::Slow(error),
    })? {
        part.append(&chunk).map_err(Interruption::Stopped)?;
        sinks.send(&Arc::new(chunk))?;
        progress.bytes(part.length(), part.total());
    }
    match part.total() {
        Some(total) if part.length() < total => {
            Err(Interruption::Fault(Fault::passing(Error::failure(format!(
                "the connection to `{}` ended after {} of {total} bytes",
                wanted.url,
                part.length()
            )))))
        }
        _ => Ok(()),
    }
}

/// The headers that ask for the rest of a part, if the server still has the same file.
fn range(
    wanted: &Wanted<'_>,
    part: &PartialFile,
) -> Result<Vec<(header::HeaderName, String)>, Interruption> {
    if part.length() == 0 {
        return Ok(Vec::new());
    }
    let range = (header::RANGE, format!("bytes={}-", part.length()));
    match part.validator().if_range() {
        Some(validator) => Ok(vec![range, (header::IF_RANGE, validator.to_owned())]),
        // The hash tells in the end whether both halves were of one file.
        None if !wanted.hashes.is_empty() => Ok(vec![range]),
        None => Err(Interruption::Unresumable),
    }
}

/// First byte and length of the whole in `bytes 5-9/10`, `bytes 5-9/*`, `bytes */10`.
fn content_range(response: &Response) -> Option<(Option<u64>, Option<u64>)> {
    parse_content_range(response.header(header::CONTENT_RANGE)?)
}

fn parse_content_range(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-').and_then(|(start, _)| start.trim().parse().ok());
    Some((start, total.trim().parse().ok()))
}

fn unexpected(wanted: &Wanted<'_>, what: &str) -> Interruption {
    let error = Error::failure(format!("`{}` was answered with {what}", wanted.url));
    Interruption::Fault(Fault::Permanent(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_of_all_forms() {
        assert_eq!(parse_content_range("bytes 5-9/10"), Some((Some(5), Some(10))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((Some(5), None)));
        assert_eq!(parse_content_range("bytes */10"), Some((None, Some(10))));
        assert_eq!(parse_content_range("lines 5-9/10"), None);
    }
}
