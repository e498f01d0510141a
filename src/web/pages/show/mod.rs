//! How values become HTML: escaped, cut where they are long, with one look
//! for each kind of thing. Pages say what is shown, this says how.

pub mod bars;
pub mod diff;
pub mod filters;
pub mod graph;
pub mod link;
pub mod number;
pub mod state;
pub mod text;
pub mod time;
pub mod words;

use std::fmt;

/// HTML that was escaped already where it had to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// The caller answers for it that `html` holds no unescaped value.
    pub(super) fn trusted(html: String) -> Self {
        Self(html)
    }

    /// The HTML itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Html {}
