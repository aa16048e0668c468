//! Which releases of an image there are, and where.

use std::collections::BTreeSet;

use super::entry::{CatalogueEntry, MAX_SIZE, Page};
use super::template::{self, Values, fill};
use crate::download::{Client, Plain, text};
use crate::util::error::{Error, Result};
use crate::util::progress::Progress;
use crate::util::sha256::Sha256;

/// The most bytes a page may have.
const PAGE_LIMIT: u64 = 16 << 20;
/// How many of the newest releases are tried when the very newest is not complete yet.
const TRIED: usize = 3;

/// One release of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    /// `20251117-2299`; none for an image without releases.
    pub(crate) date: Option<String>,
    pub(crate) url: String,
    pub(crate) sha256: Option<Sha256>,
    pub(crate) checksums: Option<String>,
    pub(crate) signature: Option<String>,
    pub(crate) checksums_signature: Option<String>,
    /// Fingerprints of the keys that may sign.
    pub(crate) keys: Vec<String>,
    /// The most bytes the raw image may have.
    pub(crate) max_size: u64,
}

impl CatalogueEntry {
    /// The release of a date, else the newest ones, the best first: a publisher may list one that
    /// is not complete yet.
    pub(crate) fn find(
        &self,
        client: &Client,
        date: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Vec<Release>> {
        match (date, &self.newest) {
            (None, Some(newest)) => {
                let url = client.resolve(&newest.url, self.plain(), progress)?;
                let values = captured(newest, &url).into_iter().next().ok_or_else(|| {
                    Error::failure(format!(
                        "the newest image is at `{url}`, not where it is expected"
                    ))
                    .hint(format!("name a release: `{}@DATE`", self.name))
                })?;
                Ok(vec![self.release(&values)])
            }
            (None, None) => {
                let mut found = self.list(client, None, progress)?;
                let newest = found.split_off(found.len().saturating_sub(TRIED));
                Ok(newest.iter().rev().map(|values| self.release(values)).collect())
            }
            (Some(date), _) => {
                if self.releases.is_empty() {
                    return Err(Error::input(format!("`{}` has no dated releases", self.name)));
                }
                let found = self.list(client, Some(date), progress)?;
                let is_it = |values: &&Values| values.values().any(|value| value == date);
                let release: Vec<_> =
                    found.iter().filter(is_it).map(|values| self.release(values)).collect();
                if release.is_empty() {
                    return Err(Error::input(format!("`{}` has no release `{date}`", self.name))
                        .hint(format!("`nodeforge fetch --list {}` shows them", self.name)));
                }
                Ok(release)
            }
        }
    }

    /// The release of which the image is at `url`, of a date where one is wanted; `None` when none can be
    /// there. Where an address does not tell all of a release, its date may be missing.
    pub(crate) fn release_at(&self, url: &str, wanted: Option<&str>) -> Option<Release> {
        let values = template::values(&self.url, url)?;
        let mut names =
            self.releases.iter().flat_map(|page| page.pattern.capture_names().flatten());
        let is_told = names.all(|name| values.contains_key(name));
        let is_wanted = wanted.is_none_or(|wanted| values.values().any(|it| it == wanted));
        let release = self.release(&values);
        (release.url == url && (is_wanted || !is_told)).then_some(release)
    }

    /// The dates of all releases, the oldest first.
    pub fn dates(&self, progress: &dyn Progress) -> Result<Vec<String>> {
        if self.releases.is_empty() {
            return Err(Error::input(format!("`{}` has no dated releases", self.name)));
        }
        let client = Client::new()?;
        let found = self.read_page(&client, &self.releases[0], &Values::new(), progress)?;
        // The first page leads on to each.
        let first = self.releases[0].pattern.capture_names().flatten().last().unwrap_or_default();
        Ok(found.into_iter().filter_map(|mut values| values.remove(first)).collect())
    }

    /// What the pages find, the oldest first. Only what may hold `wanted` is looked into.
    fn list(
        &self,
        client: &Client,
        wanted: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Vec<Values>> {
        let mut found = vec![Values::new()];
        for page in &self.releases {
            let mut next = BTreeSet::new();
            for values in found.iter().rev().take(TRIED) {
                for mut captured in self.read_page(client, page, values, progress)? {
                    captured.extend(values.clone());
                    next.insert(captured);
                }
            }
            found = next.into_iter().collect();
            if let Some(wanted) = wanted {
                narrow(&mut found, wanted);
            }
        }
        Ok(found)
    }

    fn read_page(
        &self,
        client: &Client,
        page: &Page,
        values: &Values,
        progress: &dyn Progress,
    ) -> Result<BTreeSet<Values>> {
        let url = fill(&page.url, values);
        let bytes = client.get(&url, self.plain(), PAGE_LIMIT, progress)?;
        let found: BTreeSet<_> = captured(page, &text(&url, bytes)?).into_iter().collect();
        if found.is_empty() {
            return Err(Error::failure(format!("`{url}` lists no release of `{}`", self.name))
                .hint("if the publisher has moved it, an entry in your own catalogue can follow"));
        }
        Ok(found)
    }

    /// Pages may be read without encryption when what they lead to is signed or pinned.
    fn plain(&self) -> Plain {
        let is_pinned = !self.keys.is_empty() || self.sha256.is_some();
        if is_pinned { Plain::Allowed } else { Plain::Refused }
    }

    fn release(&self, values: &Values) -> Release {
        let mut values = values.clone();
        let page = self.releases.last().or(self.newest.as_ref());
        let date = page
            .and_then(|page| page.pattern.capture_names().flatten().last())
            .and_then(|name| values.get(name).cloned());
        let url = fill(&self.url, &values);
        values.insert("url".into(), url.clone());
        let filled = |template: &Option<String>| template.as_ref().map(|it| fill(it, &values));
        Release {
            date,
            sha256: self.sha256,
            checksums: filled(&self.checksums),
            signature: filled(&self.signature),
            checksums_signature: filled(&self.checksums_signature),
            keys: self.keys.clone(),
            max_size: self.max_size.unwrap_or(MAX_SIZE),
            url,
        }
    }
}

/// The groups of every match.
fn captured(page: &Page, text: &str) -> Vec<Values> {
    let names: Vec<_> = page.pattern.capture_names().flatten().collect();
    page.pattern
        .captures_iter(text)
        .map(|captures| {
            let value = |name: &&str| {
                let value = captures.name(name).map_or("", |it| it.as_str());
                ((*name).to_owned(), value.to_owned())
            };
            names.iter().map(value).collect()
        })
        .collect()
}

/// Leaves what may be the wanted release or lead to it: a publisher's folder may bear a date some
/// days after its image's.
fn narrow(found: &mut Vec<Values>, wanted: &str) {
    let exact = |values: &Values| values.values().any(|value| value == wanted);
    if found.iter().any(exact) {
        found.retain(exact);
        return;
    }
    found.retain(|values| values.values().all(|value| value.as_str() > wanted));
    found.truncate(TRIED);
}
