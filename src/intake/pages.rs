//! Listings of an object store that one odd key does not spoil. The store's
//! client fails a whole page for a key that it takes for no path; here the page
//! is made smaller until that key is alone, and the listing goes on behind it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::{Error as NoPath, Path as Key};
use object_store::{Error, ObjectMeta};

use super::prefix::PAGE;

/// How much smaller a page is after one that failed, and larger after one that
/// did not.
const STEP: usize = 4;
/// Odd keys that one listing gets over: each costs a few requests.
const MOST_ODD: usize = 1000;

/// What is said of keys such as `a//b`.
pub(super) const EMPTY_PART: &str = "its key has an empty part: rename it";

/// What was listed.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) objects: Vec<ObjectMeta>,
    /// The folders, when they were asked for.
    pub(super) folders: BTreeSet<Key>,
    /// Keys that are no paths.
    pub(super) odd: Vec<OddKey>,
    /// Requests that it took.
    pub(super) requests: u64,
}

/// A key that the store's client takes for no path, so that what it names can't
/// be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OddKey {
    /// The key, up to the part that is odd, as text that can be shown; below the
    /// prefix that was listed.
    pub(super) name: String,
    /// What is odd, and what to do.
    pub(super) why: &'static str,
    /// Where the listing goes on.
    behind: String,
}

impl OddKey {
    /// The key as one below `prefix`. `None`: there is nothing odd in it.
    fn new(prefix: &str, key: &str) -> Option<Self> {
        let below = key.strip_prefix(prefix)?;
        let mut end = 0;
        for part in below.split('/') {
            let last = end + part.len() == below.len();
            end += part.len();
            if let Some(why) = odd(part, last) {
                let (name, more) = (shown(&below[..end]), !last);
                // Everything that lies below the part is odd as well. No
                // character sorts behind this one.
                let behind =
                    if more { format!("{prefix}{}/\u{10ffff}", &below[..end]) } else { key.to_owned() };
                let name = if part.is_empty() { format!("{name}/") } else { name };
                return Some(Self { name, why, behind });
            }
            end += 1;
        }
        None
    }
}

/// What is odd about a part of a key.
fn odd(part: &str, last: bool) -> Option<&'static str> {
    if part.is_empty() && !last {
        Some(EMPTY_PART)
    } else if part == "." || part == ".." {
        Some("its key has a part that is `.` or `..`: rename it")
    } else if part.contains(|c: char| c.is_ascii_control()) {
        Some("its key has control characters: rename it")
    } else {
        None
    }
}

/// A name with its control characters made visible.
fn shown(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text
}

/// The key that a page failed for.
fn key_of(error: &Error) -> Option<&str> {
    match error {
        Error::InvalidPath { source: NoPath::EmptySegment { path } | NoPath::BadSegment { path, .. } } => {
            Some(path)
        }
        _ => None,
    }
}

/// Lists what begins with `prefix` and sorts behind `offset`; with `folders`,
/// what lies in it, and the folders there.
///
/// # Errors
/// Those of the store; that of a key that can't be got over.
pub(super) async fn list(
    store: &dyn PaginatedListStore,
    prefix: &str,
    offset: Option<String>,
    folders: bool,
    listed: &mut Listed,
) -> Result<(), Error> {
    let whole = usize::try_from(PAGE).unwrap_or(usize::MAX);
    let (mut size, mut offset, mut token) = (whole, offset, None);
    loop {
        listed.requests += 1;
        let options = PaginatedListOptions {
            offset: offset.clone(),
            delimiter: folders.then_some(Cow::Borrowed("/")),
            max_keys: (size < whole).then_some(size),
            page_token: token.clone(),
            ..PaginatedListOptions::default()
        };
        let page = store.list_paginated((!prefix.is_empty()).then_some(prefix), options).await;
        let error = match page {
            Ok(page) => {
                listed.objects.extend(page.result.objects);
                listed.folders.extend(page.result.common_prefixes);
                size = size.saturating_mul(STEP).min(whole);
                match page.page_token {
                    Some(next) => token = Some(next),
                    None => return Ok(()),
                }
                continue;
            }
            Err(error) => error,
        };
        let Some(odd) = key_of(&error).and_then(|key| OddKey::new(prefix, key)) else { return Err(error) };
        if size > 1 {
            size = (size / STEP).max(1);
            continue;
        }
        // A store that goes on elsewhere would have it listed for ever.
        if listed.odd.len() >= MOST_ODD || offset.as_ref().is_some_and(|offset| *offset >= odd.behind) {
            return Err(error);
        }
        (offset, token) = (Some(odd.behind.clone()), None);
        listed.odd.push(odd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_key_is_named_up_to_its_odd_part_and_got_over_with_all_below_it() {
        let odd = |key: &str| OddKey::new("P/shop/", key).map(|odd| (odd.name, odd.behind));
        let told = |name: &str, behind: &str| Some((name.to_owned(), behind.to_owned()));
        assert_eq!(odd("P/shop//"), told("/", "P/shop//\u{10ffff}"));
        assert_eq!(odd("P/shop//2026/e"), told("/", "P/shop//\u{10ffff}"));
        assert_eq!(odd("P/shop/../y"), told("..", "P/shop/../\u{10ffff}"));
        assert_eq!(odd("P/shop/r/./y"), told("r/.", "P/shop/r/./\u{10ffff}"));
        assert_eq!(odd("P/shop/r/e\u{1}"), told("r/e\\u{1}", "P/shop/r/e\u{1}"));
        assert_eq!(odd("P/shop/r//"), told("r//", "P/shop/r//\u{10ffff}"));
        assert_eq!(odd("P/shop/r/"), None);
        assert_eq!(odd("P/shop/ä%00/x y"), None);
        assert_eq!(OddKey::new("", "//x").map(|odd| odd.name), Some("/".to_owned()));
    }
}
