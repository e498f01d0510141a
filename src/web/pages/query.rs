//! The query of a page's address. Pages are reached by links that people
//! share and edit: what is unknown is left alone, what is wrong is explained.

use std::convert::Infallible;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::error::{Error, ErrorKind, Result};
use crate::service::query::Part;

/// Rows of a page of a list.
pub const ROWS: usize = 50;

/// The values of a query by their names; of several the first.
#[derive(Debug, Clone, Default)]
pub struct PageQuery(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for PageQuery {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()))
    }
}

impl PageQuery {
    /// A value as it is; empty when it is not there.
    pub fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }

    /// A value without blanks around it, if it says anything.
    pub fn text(&self, name: &str) -> Option<&str> {
        Some(self.raw(name).trim()).filter(|text| !text.is_empty())
    }

    /// The value of the one name that the address has.
    pub fn only(&self, name: &str) -> Option<&str> {
        match &self.0[..] {
            [(known, _)] if known == name => self.text(name),
            _ => None,
        }
    }

    /// A value that has to be of some form.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is not.
    pub fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<Option<T>> {
        let wrong = |error| Error::new(ErrorKind::Usage, format!("`{name}` of the address: {error}"));
        self.text(name).map(|text| text.parse().map_err(wrong)).transpose()
    }

    /// A value that has to be a whole number.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is not, or is too large.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = |_| {
            let text: String = text.chars().take(60).collect();
            Error::new(ErrorKind::Usage, format!("`{name}` of the address is {text:?}: it is a whole number"))
        };
        text.parse().map_err(wrong).map(Some)
    }

    /// One of some words.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is another one.
    pub fn one_of<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*value));
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let text: String = text.chars().take(60).collect();
        let message = format!("`{name}` of the address is {text:?}: it is one of {}", known.join(", "));
        Err(Error::new(ErrorKind::Usage, message))
    }

    /// A time: RFC 3339, or date and time in UTC as a form sends it.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is neither.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let local = || text.parse::<DateTime>().ok().and_then(|civil| TimeZone::UTC.to_timestamp(civil).ok());
        let time = text.parse().ok().or_else(local);
        let wrong = || {
            let text: String = text.chars().take(60).collect();
            let message =
                format!("`{name}` of the address is {text:?}: it is a time such as 2026-11-24T01:00");
            Error::new(ErrorKind::Usage, message)
        };
        time.ok_or_else(wrong).map(Some)
    }

    /// Whether only the part of the page is wanted that changes by itself.
    pub fn is_fragment(&self) -> bool {
        self.raw("fragment") == "1"
    }

    /// The part of a list that is asked for.
    pub fn part(&self) -> Part {
        Part { limit: Some(ROWS), cursor: self.text("cursor").map(str::to_owned) }
    }

    /// Whether it is not the first part.
    pub fn is_later(&self) -> bool {
        self.text("cursor").is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> PageQuery {
        PageQuery(url::form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    #[test]
    fn times_of_forms_are_utc() {
        let wanted: Timestamp = "2026-11-24T01:00:00Z".parse().unwrap();
        for text in ["t=2026-11-24T01:00", "t=2026-11-24T01:00:00Z", "t=2026-11-24T02:00:00%2B01:00"] {
            assert_eq!(query(text).time("t").unwrap(), Some(wanted), "{text}");
        }
        assert!(query("t=yesterday").time("t").is_err());
        assert_eq!(query("t=+").time("t").unwrap(), None);
    }

    #[test]
    fn words_are_known_or_explained() {
        let words = [("a", 1), ("b", 2)];
        assert_eq!(query("w=b").one_of("w", &words).unwrap(), Some(2));
        assert!(query("w=c").one_of("w", &words).unwrap_err().message().contains("a, b"));
    }
}
