//! Errors as answers: problem documents of RFC 9457, whatever went wrong.

use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::error::http::{self, HttpCode};
use crate::error::{Error, ErrorKind};
use crate::service::views::ProblemView;

/// A problem, to be returned by handlers.
#[derive(Debug, Clone)]
pub struct Problem(pub Box<ProblemView>);

impl Problem {
    /// A problem of HTTP's own, which no work fails with.
    pub fn http(row: &HttpCode, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(row.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self(Box::new(ProblemView {
            type_uri: format!("urn:tidegate:error:{}", row.code),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: row.status,
            detail: detail.into(),
            code: row.code.to_owned(),
            action: row.action.to_owned(),
        }))
    }

    /// A request that is not of the right form.
    pub fn usage(detail: impl Into<String>) -> Self {
        Error::new(ErrorKind::Usage, detail).into()
    }

    /// A body that is too large.
    pub fn too_large(limit: u64) -> Self {
        Self::http(&http::BODY_TOO_LARGE, format!("the body has more than {limit} bytes"))
    }

    /// A body of another type than is taken here.
    pub fn media_type(wanted: &str) -> Self {
        Self::http(&http::MEDIA_TYPE, format!("the body's Content-Type must be {wanted}"))
    }

    /// A request that took too long.
    pub fn timeout() -> Self {
        Self::http(&http::TIMEOUT, "the request took longer than it may")
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
    Problem::http(&http::NO_ROUTE, format!("there is nothing at {path}"))
}

/// A route that has no such method.
pub async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::http(&http::METHOD_NOT_ALLOWED, format!("{path} does not take {method}"))
}
