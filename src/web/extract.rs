//! Taking requests apart, with a problem document for whatever is wrong.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_path_to_error::Track;

use super::problem::Problem;
use crate::error::Error;

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
            Err(rejection) => {
                let problem = malformed(parts.uri.query().unwrap_or_default(), &rejection.body_text());
                Err(Problem::usage(shorten(&problem)))
            }
        }
    }
}

/// The query of a request that takes none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// What is wrong with a query: which parameter, and what a right one looks like.
fn malformed(query: &str, rejection: &str) -> String {
    let problem = rejection.rsplit_once("query string: ").map_or(rejection, |(_, problem)| problem);
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let Some((name, problem)) = problem.split_once(": ").filter(|(name, _)| is_name(name)) else {
        return format!("the query: {problem}");
    };
    let wanted = match name {
        "since" | "until" => "it must be a time with an offset, such as 2026-11-24T01:00:00Z",
        "limit" => "it must be a whole number from 1 to 500",
        "relationships" => "it must be a whole number from 0 to 500",
        "archived" | "ungrouped" => "it must be true or false",
        _ => return format!("`{name}`: {problem}"),
    };
    let mut values = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    let value: String = values.next().map(|(_, value)| value.chars().take(60).collect()).unwrap_or_default();
    format!("`{name}` is {value:?}: {wanted}")
}

/// An identifier in the path, which has no other parameter.
pub struct Id<T>(pub T);

impl<S: Send + Sync, T: FromStr<Err: std::fmt::Display>> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        in_path(parts, state, 0).await.map(Self)
    }
}

/// Two identifiers in the path.
pub struct Ids<T, U>(pub T, pub U);

impl<S, T, U> FromRequestParts<S> for Ids<T, U>
where
    S: Send + Sync,
    T: FromStr<Err: std::fmt::Display> + Send,
    U: FromStr<Err: std::fmt::Display>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(in_path(parts, state, 0).await?, in_path(parts, state, 1).await?))
    }
}

/// The `n`th parameter of the path.
async fn in_path<S, T>(parts: &mut Parts, state: &S, n: usize) -> Result<T, Problem>
where
    S: Send + Sync,
    T: FromStr<Err: std::fmt::Display>,
{
    let path = RawPathParams::from_request_parts(parts, state).await;
    let path = path.map_err(|rejection| Problem::usage(shorten(&inner(&rejection))))?;
    let Some((name, text)) = path.iter().nth(n) else {
        return Err(Error::internal("a route without the parameter that it is asked for").into());
    };
    text.parse().map_err(|error| Problem::usage(shorten(&format!("`{name}` of the path: {error}"))))
}

/// The number of a dead letter or of a known issue.
pub struct Number(pub u64);

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| {
            let text: String = text.chars().take(60).collect();
            format!("it is {text:?}, and must be a whole number, such as 12")
        };
        text.parse().map(Self).map_err(wrong)
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
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let mut track = Track::new();
    let wrong = |place: &str, error: serde_json::Error| {
        let name = if place == "." { "the body".to_owned() } else { format!("`{place}` of the body") };
        Problem::usage(shorten(&format!("{name}: {error}")))
    };
    let value = match object(serde_path_to_error::Deserializer::new(&mut from, &mut track)) {
        Ok(value) => value,
        Err(error) => return Err(wrong(&track.path().to_string(), error)),
    };
    from.end().map_err(|error| wrong(".", error))?;
    Ok(value)
}

/// Takes an object and nothing else: by themselves the types would take an
/// array of their fields' values too, and name themselves in messages.
pub fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    from.deserialize_map(Object(PhantomData))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_of_a_query_names_the_parameter() {
        let told = |query: &str, problem: &str| {
            malformed(query, &format!("Failed to deserialize query string: {problem}"))
        };
        assert_eq!(
            told("limit=a%20b&x=1", "limit: invalid digit found in string"),
            "`limit` is \"a b\": it must be a whole number from 1 to 500"
        );
        assert_eq!(told("order=up", "order: unknown variant `up`"), "`order`: unknown variant `up`");
        assert_eq!(
            told("x=1", "unknown field `x`, expected: `y`"),
            "the query: unknown field `x`, expected: `y`"
        );
    }
}
