//! What an inbox is: a prefix that workflows deliver batches to.

use std::time::Duration;

use url::Url;

/// How it is known that a batch folder is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Complete {
    /// It has a manifest.
    Manifest,
    /// It has an object of this name.
    Marker(String),
    /// No object of it changed for so long.
    Quiet(Duration),
}

/// A place that batches are delivered to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxSettings {
    /// Its URL, with a slash at the end.
    pub url: Url,
    /// Time between two looks at it.
    pub poll: Duration,
    /// Time between two looks at everything that lies in it, however old. In
    /// between, only what is new or unfinished is looked at.
    pub rescan: Duration,
    /// How complete batches are known.
    pub complete: Complete,
}
