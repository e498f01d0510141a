//! What every request has to pass: the Host that it names, where a write
//! comes from, how long it takes; and what every answer gets: its headers, a
//! line of the log, a count.
//!
//! The server has no sign-in yet and listens on loopback only. What could
//! reach it there is a page that someone has open elsewhere: it is kept out by
//! the checks of Host, Origin, Sec-Fetch-Site and the body's type.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use super::AppState;
use super::problem::{Code, Problem};
use crate::error::{Error, http};

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How long one may that waits for a batch, or has one planned.
const LONG: Duration = Duration::from_secs(900);

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Keeps out requests that name another host, and writes that come from
/// another site.
pub async fn requests(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let allowed = &state.settings().allowed_hosts;
    let host = match host_of(request.headers(), request.uri()) {
        Some(host) if is_allowed(&host, allowed) => host,
        Some(_) | None => {
            let text = "the request's Host is neither a loopback name nor one of `server.allowed_hosts`";
            return Problem::http(&http::HOST_REFUSED, text).into_response();
        }
    };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && let Some(problem) = cross_site(request.headers(), &host) {
        return problem.into_response();
    }
    next.run(request).await
}

/// The host that a request names, with its port, if it names exactly one.
fn host_of(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?.to_ascii_lowercase();
    if hosts.next().is_some() {
        return None;
    }
    // A request line may name a host too; they have to agree.
    let line = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
    (line.is_none_or(|line| line == host)).then_some(host)
}

/// A host without its port.
fn without_port(host: &str) -> &str {
    if let Some(end) = host.find(']').filter(|_| host.starts_with('[')) {
        return &host[..=end];
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_allowed(host: &str, allowed: &[String]) -> bool {
    let name = without_port(host);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost"
        || address.is_ok_and(|address| address.is_loopback())
        || allowed
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(name) || allowed.eq_ignore_ascii_case(host))
}

/// Why a write is refused that a page elsewhere may have sent.
fn cross_site(headers: &HeaderMap, host: &str) -> Option<Problem> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let elsewhere = match text("sec-fetch-site") {
        None | Some("same-origin" | "none") => false,
        Some(_) => true,
    };
    let other_origin = match text("origin") {
        None => false,
        Some(origin) => {
            let authority = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
            authority.is_none_or(|authority| !authority.eq_ignore_ascii_case(host))
        }
    };
    (elsewhere || other_origin)
        .then(|| Problem::http(&http::CROSS_SITE, "the request was sent by a page of another site"))
}

/// Ends requests that take too long, but for those that are there to wait.
pub async fn time(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path == "/api/v1/events" {
        return next.run(request).await;
    }
    let waits = request.uri().query().is_some_and(|query| query.contains("wait="));
    let uploads = path == "/api/v1/plans" && request.method() == Method::POST;
    // The check of a failed batch's dead letter plans the batch.
    let checks = path.starts_with("/api/v1/dlq/") && path.ends_with("/check");
    let limit = if waits || uploads || checks { LONG } else { LIMIT };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            state.inner.metrics.count_error(http::TIMEOUT.code);
            Problem::timeout().into_response()
        }
    }
}

/// Answers for a handler that panicked.
pub async fn panics(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => Problem::from(Error::internal("a handler ended in a panic")).into_response(),
    }
}

/// Gives every answer the headers that keep browsers from doing more with it
/// than they should.
pub async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let set = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let headers = response.headers_mut();
    for (name, value) in set {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Counts requests, and tells them in the log, without the values of their
/// queries.
pub async fn watch(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let began = state.engine.monotonic();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let path: String = request.uri().path().chars().take(200).collect();
    let in_flight = state.inner.metrics.enter();
    let response = next.run(request).await;
    drop(in_flight);
    let took = state.engine.monotonic().saturating_sub(began);
    let status = response.status().as_u16();
    if let Some(Code(code)) = response.extensions().get() {
        state.inner.metrics.count_error(code);
    }
    state.inner.metrics.count_request(&route, status, took);
    tracing::debug!(%method, path = %path.escape_debug(), status, ms = took.as_millis() as u64, "request");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_and_those_that_are_set_are_allowed() {
        let set = vec!["tidegate.example".to_owned()];
        for host in
            ["localhost", "localhost:8484", "127.0.0.1:1", "127.9.9.9", "[::1]:8484", "tidegate.example:443"]
        {
            assert!(is_allowed(host, &set), "{host}");
        }
        for host in
            ["", "example.com", "localhost.example.com", "10.0.0.1", "[::2]", "0.0.0.0", "127.0.0.1.nip.io"]
        {
            assert!(!is_allowed(host, &set), "{host}");
        }
    }

    #[test]
    fn a_write_from_another_site_is_told_apart() {
        let refused = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            cross_site(&headers, "127.0.0.1:8484").is_some()
        };
        assert!(!refused(&[]));
        assert!(!refused(&[("origin", "http://127.0.0.1:8484"), ("sec-fetch-site", "same-origin")]));
        assert!(!refused(&[("sec-fetch-site", "none")]));
        for pairs in [
            [("origin", "null")],
            [("origin", "http://127.0.0.1:9999")],
            [("origin", "http://localhost:8484")],
            [("origin", "https://example.com")],
            [("sec-fetch-site", "cross-site")],
            [("sec-fetch-site", "same-site")],
        ] {
            assert!(refused(&pairs), "{pairs:?}");
        }
    }
}
