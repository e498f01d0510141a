//! A request as it was sent, for whoever looks into its failure. Only what is
//! listed here is shown: the token and whatever a URL holds are secrets.

use reqwest::Request;
use url::Url;

/// What a target does an operation at most once by.
pub const KEY: &str = "idempotency-key";
/// The headers that are shown.
const SHOWN: [&str; 2] = ["content-type", KEY];
/// How much of a body is shown, in bytes.
const BODY: usize = 64 << 10;

/// A request. Its path is relative to the URL of the target, as the contract
/// has it.
pub fn of(request: &Request, base: &Url) -> String {
    let path = request.url().path();
    let path = path.strip_prefix(base.path()).unwrap_or_default();
    let path = if path.is_empty() { "." } else { path };
    let headers = SHOWN.iter().filter_map(|name| Some((*name, request.headers().get(*name)?.to_str().ok()?)));
    let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
    text(request.method().as_str(), path, headers, body)
}

/// Method and path, headers, and the body, of a long one the beginning.
pub fn text<'a>(
    method: &str,
    path: &str,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: &[u8],
) -> String {
    let mut text = format!("{method} {path}\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\n"));
    }
    if body.is_empty() {
        return text;
    }
    let shown = String::from_utf8_lossy(&body[..body.len().min(BODY)]);
    let rest = if body.len() > BODY { "…" } else { "" };
    format!("{text}\n{shown}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_shown_without_what_may_be_secret() {
        let base: Url = "https://user:pass@bridge.example.org/key-4711/catalogue/".parse().unwrap();
        let request = reqwest::Client::new()
            .post(base.join("operations?token=s3cret").unwrap())
            .bearer_auth("s3cret")
            .header("content-type", "application/json")
            .header(KEY, "plan.0")
            .body("{}")
            .build()
            .unwrap();
        let expected = "POST operations\ncontent-type: application/json\nidempotency-key: plan.0\n\n{}";
        assert_eq!(of(&request, &base), expected);
    }

    #[test]
    fn a_question_has_no_body_and_a_long_body_is_cut() {
        let base: Url = "http://127.0.0.1/catalogue/".parse().unwrap();
        let request = reqwest::Client::new().get(base.clone()).build().unwrap();
        assert_eq!(of(&request, &base), "GET .\n");
        assert!(text("POST", "read", [], &vec![b'x'; BODY + 1]).ends_with("x…"));
    }
}
