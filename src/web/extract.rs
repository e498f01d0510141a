//! Taking requests apart, with a problem document for whatever is wrong.

use std::str::FromStr;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Most bytes of a JSON body.
pub const BODY: usize = 64 << 10;
/// The same where it holds a line or a manifest, whose quotes are escaped.
pub const LARGE_BODY: usize = 2 * crate::service::dead_letters::MAX_EDIT;

/// The query of a request. Unknown parameters are refused by the types.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(Problem::usage(shorten(&format!("the query: {}", inner(&rejection))))),
        }
    }
}

/// An identifier in the path.
pub struct Id<T>(pub T);

impl<S: Send + Sync, T: FromStr<Err: std::fmt::Display>> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|rejection| Problem::usage(shorten(&inner(&rejection))))?;
        text.parse().map(Self).map_err(|error| Problem::usage(shorten(&format!("{error}"))))
    }
}

/// A JSON body.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if media_type(&parts) != "application/json" {
            return Err(Problem::media_type("application/json"));
        }
        Ok(Self(parse(&read(body, BODY).await?)?))
    }
}

/// A JSON body that may hold a whole line of a batch, or a manifest.
pub struct LargeJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for LargeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if media_type(&parts) != "application/json" {
            return Err(Problem::media_type("application/json"));
        }
        Ok(Self(parse(&read(body, LARGE_BODY).await?)?))
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| Problem::usage(shorten(&format!("the body: {error}"))))
}

async fn read(body: Body, most: usize) -> Result<Vec<u8>, Problem> {
    match axum::body::to_bytes(body, most).await {
        Ok(bytes) => Ok(bytes.to_vec()),
        Err(error) => {
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                if inner.to_string().contains("length limit exceeded") {
                    return Err(Problem::too_large(most as u64));
                }
                cause = inner.source();
            }
            Err(Problem::usage("the body could not be read"))
        }
    }
}

/// The media type of a request's body, without its parameters.
pub fn media_type(parts: &Parts) -> String {
    let value = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The innermost cause: the others only say which extractor failed.
fn inner(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

/// Input may be long, and comes back in messages.
fn shorten(text: &str) -> String {
    if text.chars().count() <= 300 {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(300).collect::<String>())
    }
}
