//! Errors as answers: problem documents of RFC 9457, whatever went wrong.

use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::error::{Error, ErrorKind};
use crate::service::views::ProblemView;

/// A problem, to be returned by handlers.
#[derive(Debug, Clone)]
pub struct Problem(pub Box<ProblemView>);

impl Problem {
    /// A problem of HTTP's own, which no row of the table of errors is about.
    pub fn http(status: StatusCode, code: &str, detail: impl Into<String>, action: &str) -> Self {
        Self(Box::new(ProblemView {
            type_uri: format!("urn:tidegate:error:{code}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            action: action.to_owned(),
        }))
    }

    /// A request that is not of the right form.
    pub fn usage(detail: impl Into<String>) -> Self {
        Error::new(ErrorKind::Usage, detail).into()
    }

    /// A body that is too large.
    pub fn too_large(limit: u64) -> Self {
        Self::http(
            StatusCode::PAYLOAD_TOO_LARGE,
            "BODY_TOO_LARGE",
            format!("the body has more than {limit} bytes"),
            "Send less, or raise the setting that limits it.",
        )
    }

    /// A body of another type than is taken here.
    pub fn media_type(wanted: &str) -> Self {
        Self::http(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "MEDIA_TYPE",
            format!("the body's Content-Type must be {wanted}"),
            "Set the header.",
        )
    }

    /// A request that took too long.
    pub fn timeout() -> Self {
        Self::http(
            StatusCode::SERVICE_UNAVAILABLE,
            "TIMEOUT",
            "the request took longer than it may",
            "Try again, or ask for less at a time.",
        )
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let info = error.kind().info();
        if info.http_status >= 500 {
            tracing::warn!(code = info.code, %error, "a request failed");
        }
        Self(Box::new(ProblemView::from(&error)))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // A problem is texts and a number: it has a JSON form.
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        response.extensions_mut().insert(Code(self.0.code));
        response
    }
}

/// The code of a problem, for the metrics.
#[derive(Clone)]
pub struct Code(pub String);

/// No route of this path.
pub async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::http(
        StatusCode::NOT_FOUND,
        "NOT_FOUND",
        format!("there is nothing at {path}"),
        "See /api/openapi.json for what there is.",
    )
}

/// A route that has no such method.
pub async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::http(
        StatusCode::METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        format!("{path} does not take {method}"),
        "See /api/openapi.json for what there is.",
    )
}
