//! A catalogue that is spoken to over HTTP, by one documented JSON contract
//! that anyone can implement: `docs/http-target.md`.

mod failure;
mod sent;
pub(super) mod wire;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde::de::DeserializeOwned;
use url::Url;

use super::{Capabilities, Operation, Outcomes, Target, TargetValue};
use crate::clock::Clock;
use crate::domain::ids::{PlanId, SourceId};
use crate::domain::key::Key;
use crate::domain::settings::Deletion;
use crate::error::{Error, ErrorKind, Result};
use crate::loopback::is_loopback;

/// What is done when changes are sent.
const PUBLISHING: &str = "publishing";
/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 64 << 20;
/// How much of a text of the target is kept, in bytes.
const KEPT: usize = 4 << 10;
/// How long it may take until a connection is there.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the answer to a probe may take.
const PROBE: Duration = Duration::from_secs(5);

/// Where a secret comes from: asked for each time, so that it can be changed
/// while everything runs.
pub type Token = Arc<dyn Fn() -> Result<Vec<u8>> + Send + Sync>;

/// How the target is spoken to.
pub struct HttpOptions {
    /// Where it answers; ends with a slash.
    pub url: Url,
    /// The bearer token that it wants.
    pub token: Option<Token>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a request that got no answer may still take effect.
    pub request_limit: Duration,
    /// Most changes of one request.
    pub max_changes: usize,
    /// Most bytes of attributes of one request.
    pub max_bytes: usize,
    /// What a deletion means there.
    pub deletion: Deletion,
}

/// See the head of this file.
pub struct HttpTarget {
    options: HttpOptions,
    client: reqwest::Client,
    /// Set but while it is dropped.
    runtime: Option<tokio::runtime::Runtime>,
    clock: Arc<dyn Clock>,
}

impl HttpTarget {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(options: HttpOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("target")
            .enable_all()
            .build()
            .map_err(|e| Error::internal("a runtime for a target").caused_by(e))?;
        let builder = reqwest::Client::builder();
        let builder = if is_loopback(&options.url) { builder.no_proxy() } else { builder };
        let client = builder
            // Requests go where the settings say, and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT.min(options.timeout))
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Error::internal("a client for a target").caused_by(e))?;
        Ok(Self { options, client, runtime: Some(runtime), clock })
    }

    fn request(&self, method: Method, path: &str) -> Result<reqwest::RequestBuilder> {
        let url =
            self.options.url.join(path).map_err(|e| Error::internal("a URL of a target").caused_by(e))?;
        let request = self.client.request(method, url).timeout(self.options.timeout);
        let Some(token) = &self.options.token else { return Ok(request) };
        // Nothing can be sent without it, so everything waits for it.
        let token = token().map_err(|error| {
            Error::new(ErrorKind::TargetUnauthorized, error.message().to_owned()).caused_by(error)
        })?;
        Ok(request.bearer_auth(String::from_utf8_lossy(&token)))
    }

    /// Sends a request and reads its answer.
    fn send<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder, doing: &str) -> Result<T> {
        self.exchange(request, doing, |body| {
            serde_json::from_str(&body).map_err(|error| {
                // serde_json's own words may hold values.
                let place = format!("line {} column {}", error.line(), error.column());
                let problem = format!("its answer is not of the contract's form at {place}");
                failure::unreadable(&body, doing, problem)
            })
        })
    }

    /// Sends a request and has its answer read. A failure has the request
    /// that led to it.
    fn exchange<T>(
        &self,
        request: reqwest::RequestBuilder,
        doing: &str,
        read: impl FnOnce(String) -> Result<T>,
    ) -> Result<T> {
        let request = request.build().map_err(|error| failure::silent(error, doing))?;
        // Its body is shared, not copied.
        let kept = request.try_clone();
        self.answer(request, doing).and_then(read).map_err(|error| match kept {
            Some(kept) => error.with_request(&sent::of(&kept, &self.options.url)),
            None => error,
        })
    }

    fn answer(&self, request: reqwest::Request, doing: &str) -> Result<String> {
        let Some(runtime) = &self.runtime else { return Err(Error::internal("a target is gone")) };
        let silent = |error| failure::silent(error, doing);
        let (status, headers, body) = runtime.block_on(async {
            let mut answer = self.client.execute(request).await.map_err(silent)?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(silent)? {
                if body.len() + chunk.len() > LONGEST_ANSWER {
                    return Err(failure::unreadable("", doing, "its answer is longer than 64 MiB"));
                }
                body.extend_from_slice(&chunk);
            }
            Ok((status, headers, body))
        })?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() {
            return Ok(body);
        }
        let error = failure::refused(status, &headers, &body, self.clock.now(), doing);
        // Only changes can be bad: a question can only be not understood.
        Err(match error.kind() {
            ErrorKind::BulkRejected if doing != PUBLISHING => error.with_kind(ErrorKind::TargetContract),
            _ => error,
        })
    }

    fn post(&self, path: &str, body: Vec<u8>) -> Result<reqwest::RequestBuilder> {
        Ok(self.request(Method::POST, path)?.header("content-type", "application/json").body(body))
    }
}

impl Drop for HttpTarget {
    fn drop(&mut self) {
        // Dropping it would wait, which is not allowed everywhere.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Target for HttpTarget {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_changes: self.options.max_changes,
            max_bytes: self.options.max_bytes,
            atomic: false,
            tracks_plans: false,
            request_limit: self.options.request_limit,
        }
    }

    fn identity(&self) -> Result<String> {
        let doing = "asking the target for its identity";
        let about: wire::About = self.send(self.request(Method::GET, "")?, doing)?;
        if about.format == wire::TARGET_FORMAT {
            return Ok(about.identity);
        }
        let text = format!("{doing}: its `format` is not {}", wire::TARGET_FORMAT);
        Err(Error::new(ErrorKind::TargetContract, text))
    }

    fn apply(&self, operation: &Operation) -> Result<Outcomes> {
        let body = wire::operation(operation, self.options.deletion)?;
        let request = self.post("operations", body)?.header(sent::KEY, wire::idempotency_key(operation));
        let answer: wire::OutcomesBody = self.send(request, PUBLISHING)?;
        Ok(answer.outcomes.into_iter().map(|outcome| outcome.0).collect())
    }

    fn describe(&self, operation: &Operation) -> String {
        let body = wire::operation(operation, self.options.deletion).unwrap_or_default();
        let headers = [("content-type", "application/json"), (sent::KEY, &wire::idempotency_key(operation))];
        sent::text("POST", "operations", headers, &body)
    }

    fn read(&self, keys: &[Key]) -> Result<Vec<Option<TargetValue>>> {
        let doing = "reading what the target holds";
        let mut values = Vec::with_capacity(keys.len());
        for keys in keys.chunks(self.options.max_changes.max(1)) {
            let answer: wire::ValuesBody = self.send(self.post("read", wire::read(keys)?)?, doing)?;
            if answer.values.len() != keys.len() {
                let problem = format!("it answered for {} of {} keys", answer.values.len(), keys.len());
                return Err(failure::unreadable("", doing, problem));
            }
            for (key, value) in keys.iter().zip(answer.values) {
                values.push(match value {
                    None => None,
                    Some(value) => Some(value.value(key).ok_or_else(|| {
                        failure::unreadable("", doing, format!("the attributes of {key} are no JSON object"))
                    })?),
                });
            }
        }
        Ok(values)
    }

    fn health(&self) -> Result<()> {
        let request = self.request(Method::GET, "health")?.timeout(PROBE.min(self.options.timeout));
        self.exchange(request, "asking the target how it is", |_| Ok(()))
    }

    fn last_plan(&self, _: &SourceId) -> Result<Option<PlanId>> {
        Ok(None)
    }

    fn forget_operations(&self, _: &PlanId) -> Result<()> {
        Ok(())
    }
}

/// The beginning of a text of the target.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(KEPT)].to_owned()
}
