//! What a failed request means: the only place where failures of an HTTP
//! target are classified.
//!
//! What certainly had no effect is told from what nobody knows. A gateway
//! that answers in the target's place may have passed the request on, so its
//! 502, 503 and 504 are of the second sort.

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::cut;
use crate::domain::retry::retry_after;
use crate::error::{Answer, Error, ErrorKind};

/// A request that got no answer.
pub fn silent(error: reqwest::Error, doing: &str) -> Error {
    let kind = if error.is_connect() {
        ErrorKind::TargetUnavailable
    } else if error.is_timeout() {
        ErrorKind::TargetTimeout
    } else if error.is_builder() {
        ErrorKind::Internal
    } else {
        ErrorKind::TargetInterrupted
    };
    // Its URL stands in the settings; what led to it says what happened.
    Error::new(kind, doing).caused_by(error.without_url())
}

/// An answer that is no success.
pub fn refused(status: StatusCode, headers: &HeaderMap, body: &str, now: Timestamp, doing: &str) -> Error {
    let asked = headers.get("retry-after").and_then(|value| value.to_str().ok());
    let asked = asked.and_then(|value| retry_after(value, now));
    let (kind, unsure) = match status.as_u16() {
        401 | 403 => (ErrorKind::TargetUnauthorized, false),
        300..=399 | 501 | 505 => (ErrorKind::TargetContract, false),
        // It may be at work on the same request.
        408 | 409 | 423 | 425 => (ErrorKind::TargetInterrupted, true),
        429 => (ErrorKind::TargetThrottled, false),
        // It asks to be left alone: that is no outage.
        503 if asked.is_some() => (ErrorKind::TargetThrottled, true),
        503 => (ErrorKind::TargetUnavailable, true),
        502 | 504 => (ErrorKind::TargetTimeout, true),
        400 | 413 | 422 => (ErrorKind::BulkRejected, false),
        400..=499 => (ErrorKind::TargetContract, false),
        _ => (ErrorKind::TargetFailed, true),
    };
    let answer = Answer { status: Some(status.to_string()), retry_after: asked, text: cut(body), unsure };
    Error::new(kind, format!("{doing}: it answered {status}")).with_answer(answer)
}

/// An answer that is not of the contract's form.
pub fn unreadable(body: &str, doing: &str, problem: impl std::fmt::Display) -> Error {
    let status = Some(StatusCode::OK.to_string());
    let answer = Answer { status, text: cut(body), ..Answer::default() };
    Error::new(ErrorKind::TargetAnswer, format!("{doing}: {problem}")).with_answer(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_kind_and_only_answers_of_the_target_are_certain() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let told = |status: u16, headers: &HeaderMap| {
            let error = refused(StatusCode::from_u16(status).unwrap(), headers, "", now, "x");
            (error.kind(), error.is_answer())
        };
        let none = HeaderMap::new();
        for (status, kind, certain) in [
            (301, ErrorKind::TargetContract, true),
            (400, ErrorKind::BulkRejected, true),
            (401, ErrorKind::TargetUnauthorized, true),
            (403, ErrorKind::TargetUnauthorized, true),
            (404, ErrorKind::TargetContract, true),
            (408, ErrorKind::TargetInterrupted, false),
            (409, ErrorKind::TargetInterrupted, false),
            (418, ErrorKind::TargetContract, true),
            (413, ErrorKind::BulkRejected, true),
            (422, ErrorKind::BulkRejected, true),
            (429, ErrorKind::TargetThrottled, true),
            (500, ErrorKind::TargetFailed, false),
            (502, ErrorKind::TargetTimeout, false),
            (503, ErrorKind::TargetUnavailable, false),
            (504, ErrorKind::TargetTimeout, false),
        ] {
            assert_eq!(told(status, &none), (kind, certain), "{status}");
        }
        let mut asked = HeaderMap::new();
        asked.insert("retry-after", "7".parse().unwrap());
        assert_eq!(told(503, &asked), (ErrorKind::TargetThrottled, false));
        let error = refused(StatusCode::TOO_MANY_REQUESTS, &asked, "slow down", now, "x");
        assert_eq!(error.answer().unwrap().retry_after, Some(std::time::Duration::from_secs(7)));
    }
}
