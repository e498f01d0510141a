//! A small client of a server's API: asks, and turns problem documents back
//! into our errors. What is asked, commands decide.

use std::io::Read;
use std::time::Duration;

use reqwest::blocking::{Body, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::domain::ids::BatchId;
use crate::error::{Error, ErrorKind, Result, http};
use crate::loopback::is_loopback;
use crate::service::views::{BatchView, ProblemView};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take that is not read as it comes.
const ANSWER: Duration = Duration::from_secs(90);
/// The same where a batch is planned first: as long as a server takes for it.
const PLANNED: Duration = Duration::from_secs(900);
/// The largest answer that is taken as a whole.
const LARGEST: u64 = 256 << 20;

/// Parameters of a question; those without a value are left out.
pub type Query<'a> = &'a [(&'a str, Option<String>)];

/// A server.
#[derive(Debug, Clone)]
pub struct Client {
    base: Url,
    http: reqwest::blocking::Client,
}

impl Client {
    /// The server at `url`.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when that is no URL of a server.
    pub fn new(url: &str) -> Result<Self> {
        let wrong = |what: String| Error::new(ErrorKind::Usage, format!("--server {url}: {what}"));
        let form = "must be a URL such as http://127.0.0.1:8484";
        let mut base = Url::parse(url).map_err(|e| wrong(format!("{form}: {e}")))?;
        if !["http", "https"].contains(&base.scheme()) || base.cannot_be_a_base() {
            return Err(wrong(form.into()));
        }
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        let builder = reqwest::blocking::Client::builder();
        let builder = if is_loopback(&base) { builder.no_proxy() } else { builder };
        let http = builder
            .connect_timeout(CONNECT)
            .timeout(None)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Error::internal("an HTTP client").caused_by(e))?;
        Ok(Self { base, http })
    }

    /// The server's URL.
    pub fn url(&self) -> &Url {
        &self.base
    }

    /// The URL of a resource: each segment is one, whatever is in it.
    fn at(&self, path: &[&str], query: Query<'_>) -> Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Error::internal("a server's URL without a path"))?
            .pop_if_empty()
            .extend(path);
        let given: Vec<_> = query.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
        if !given.is_empty() {
            url.query_pairs_mut().extend_pairs(given);
        }
        Ok(url)
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        let text = format!("the server {}", self.base);
        Error::new(ErrorKind::ServerUnreachable, text).caused_by(error.without_url())
    }

    fn send(&self, request: RequestBuilder) -> Result<Response> {
        let answer = request.send().map_err(|e| self.unreachable(e))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let mut text = Vec::new();
        // What can't be read is told by its status.
        let _ = answer.take(1 << 20).read_to_end(&mut text);
        Err(match serde_json::from_slice::<ProblemView>(&text) {
            Ok(problem) => match ErrorKind::of_code(&problem.code) {
                Some(kind) => Error::new(kind, problem.detail).with_action(problem.action),
                None => {
                    let text = format!("the server {} answered {status}: {}", self.base, problem.detail);
                    let error = Error::new(ErrorKind::ServerAnswer, text).with_action(problem.action);
                    match http::by_code(&problem.code) {
                        Some(code) => error.with_http(code),
                        None => error,
                    }
                }
            },
            Err(_) => {
                Error::new(ErrorKind::ServerAnswer, format!("the server {} answered {status}", self.base))
            }
        })
    }

    fn broken(&self, error: std::io::Error) -> Error {
        let text = format!("the server {}: its answer broke off", self.base);
        Error::new(ErrorKind::ServerUnreachable, text).caused_by(error)
    }

    fn read<T: DeserializeOwned>(&self, answer: Response) -> Result<T> {
        let mut bytes = Vec::new();
        answer.take(LARGEST).read_to_end(&mut bytes).map_err(|e| self.broken(e))?;
        serde_json::from_slice(&bytes).map_err(|e| {
            Error::new(ErrorKind::ServerAnswer, format!("the server {}", self.base)).caused_by(e)
        })
    }

    /// Asks for a resource.
    ///
    /// # Errors
    /// The server's own, with the kind it gave; [`ErrorKind::ServerUnreachable`]
    /// when it does not answer, [`ErrorKind::ServerAnswer`] when the answer is
    /// of another form.
    pub fn get<T: DeserializeOwned>(&self, path: &[&str], query: Query<'_>) -> Result<T> {
        let request = self.http.get(self.at(path, query)?).timeout(ANSWER);
        self.read(self.send(request)?)
    }

    /// As [`Self::get`]; `None` when there is nothing of that name.
    pub fn find<T: DeserializeOwned>(&self, path: &[&str], query: Query<'_>) -> Result<Option<T>> {
        match self.get(path, query) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn post<B: Serialize, T: DeserializeOwned>(&self, path: &[&str], body: &B) -> Result<T> {
        let request = self.http.post(self.at(path, &[])?).timeout(ANSWER).json(body);
        self.read(self.send(request)?)
    }

    /// The same of something that may take as long as planning a batch.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn post_long<B: Serialize, T: DeserializeOwned>(&self, path: &[&str], body: &B) -> Result<T> {
        let request = self.http.post(self.at(path, &[])?).timeout(PLANNED).json(body);
        self.read(self.send(request)?)
    }

    /// How a batch stands, as soon as it has ended or waits for a person, at
    /// latest after `limit`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn await_batch(&self, id: &BatchId, limit: Duration) -> Result<BatchView> {
        let path = ["api", "v1", "batches", &id.to_string()];
        self.get(&path, &[("wait", Some(format!("{}s", limit.as_secs_f64().ceil() as u64)))])
    }

    /// Sends what `body` holds, and returns the whole answer.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn upload(&self, path: &[&str], content_type: &str, body: std::fs::File) -> Result<Vec<u8>> {
        let url = self.at(path, &[])?;
        let request = self.http.post(url).header("content-type", content_type).body(Body::from(body));
        let mut answer = Vec::new();
        self.send(request)?.read_to_end(&mut answer).map_err(|e| self.broken(e))?;
        Ok(answer)
    }

    /// A resource as it is, byte for byte.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn bytes(&self, path: &[&str]) -> Result<Vec<u8>> {
        let request = self.http.get(self.at(path, &[])?).timeout(ANSWER);
        let mut bytes = Vec::new();
        self.send(request)?.take(LARGEST).read_to_end(&mut bytes).map_err(|e| self.broken(e))?;
        Ok(bytes)
    }

    /// A resource that is read as it comes.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn stream(&self, path: &[&str], query: Query<'_>, accept: &str) -> Result<Response> {
        let request = self.http.get(self.at(path, query)?).header("accept", accept);
        self.send(request)
    }

    /// Whether a server answers there.
    pub fn answers(&self) -> bool {
        let Ok(url) = self.at(&["livez"], &[]) else { return false };
        self.http.get(url).timeout(CONNECT).send().is_ok_and(|answer| answer.status().is_success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_one_segment_whatever_is_in_them() {
        let client = Client::new("http://127.0.0.1:8484/tide").unwrap();
        let url = client.at(&["api", "v1", "entities", "t", "a/b c?#"], &[]).unwrap();
        assert_eq!(url.as_str(), "http://127.0.0.1:8484/tide/api/v1/entities/t/a%2Fb%20c%3F%23");
        let query = [("limit", Some("5".to_owned())), ("cursor", None), ("text", Some("a&b".to_owned()))];
        let url = client.at(&["x"], &query).unwrap();
        assert_eq!(url.query(), Some("limit=5&text=a%26b"));
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for url in ["", "127.0.0.1:8484", "ftp://x/", "file:///x", "mailto:x"] {
            assert_eq!(Client::new(url).unwrap_err().kind(), ErrorKind::Usage, "{url}");
        }
    }
}
