//! Errors, and the one table that says what each kind means to an operator:
//! code, HTTP status, exit code, retry tier, explanation and next step.
//!
//! Every error is classified once, where it enters the program. Messages name
//! the batch, file, line, field or setting, and never an attribute's value.

mod answer;
pub mod http;
mod reference;
mod table;

use std::fmt;

pub use answer::{Answer, IT_SAID, cut};
pub use reference::markdown;
pub use table::{ErrorKind, KindInfo, Retry, TABLE, by_code};

/// An error with its kind, a message for the operator, and its causes.
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    answer: Option<Box<Answer>>,
    request: Option<Box<str>>,
    action: Option<Box<str>>,
    http: Option<&'static http::HttpCode>,
}

/// How much of a request is kept, in bytes.
const KEPT_REQUEST: usize = 16 << 10;

/// The program's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind. The message says what was met where; the table
    /// adds what it means and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
            answer: None,
            request: None,
            action: None,
            http: None,
        }
    }

    /// Keeps the error that led to this one.
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same of another kind: what it means hangs on what was done.
    pub fn with_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// Says what to do next where more is known than the table can say of
    /// the kind.
    pub fn with_action(self, action: impl Into<String>) -> Self {
        Self { action: Some(action.into().into_boxed_str()), ..self }
    }

    /// Tells it by a code of HTTP's own, with which a server refused the request.
    pub fn with_http(mut self, code: &'static http::HttpCode) -> Self {
        self.http = Some(code);
        self
    }

    /// Its code, as it is told.
    pub fn code(&self) -> &'static str {
        self.http.map_or(self.kind.info().code, |http| http.code)
    }

    /// What that means.
    pub fn meaning(&self) -> &'static str {
        self.http.map_or(self.kind.info().meaning, |http| http.meaning)
    }

    /// Keeps what the other side said.
    pub fn with_answer(mut self, answer: Answer) -> Self {
        self.answer = Some(Box::new(answer));
        self
    }

    /// Keeps the request that failed so, as a person reads it: without
    /// secrets, and of a long one the beginning. It holds attribute values.
    pub fn with_request(mut self, request: &str) -> Self {
        self.request = Some(cut(request, KEPT_REQUEST).into());
        self
    }

    /// Whether the request that failed so certainly had no effect. After every
    /// other failure nobody knows.
    pub fn is_answer(&self) -> bool {
        use ErrorKind::*;
        let certain = matches!(
            self.kind,
            TargetUnavailable | TargetUnauthorized | TargetContract | TargetThrottled | BulkRejected
        );
        certain && !self.answer.as_ref().is_some_and(|answer| answer.unsure)
    }

    /// What the other side said, if it said something.
    pub fn answer(&self) -> Option<&Answer> {
        self.answer.as_deref()
    }

    /// The request that failed so, where one is known.
    pub fn request(&self) -> Option<&str> {
        self.request.as_deref()
    }

    /// An I/O error at `path`. A full disk is told apart from the rest.
    pub fn io(path: &std::path::Path, error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
            _ => ErrorKind::Io,
        };
        Self::new(kind, path.display().to_string()).caused_by(error)
    }

    /// A state that the code excludes.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do next.
    pub fn action(&self) -> &str {
        self.action.as_deref().unwrap_or(self.kind.info().action)
    }

    /// The message, without its causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Puts `context` in front of the message.
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// What led to it, outermost first, down to what the other side answered:
    /// its status, and its words, which may name attribute values.
    pub fn trace(&self) -> Vec<String> {
        let mut trace = self.causes();
        // Method and path.
        let asked = self.request().and_then(|request| request.lines().next());
        if let Some(answer) = self.answer() {
            if let Some(status) = &answer.status {
                trace.push(format!("{} was answered {status}", asked.unwrap_or("the request")));
            }
            trace.extend(answer.said().map(|said| format!("{IT_SAID}{said}")));
        }
        trace
    }

    /// The messages of the causes, outermost first. Many an error repeats in
    /// its own words what its cause says: such a cause is left out.
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next = self.source.as_deref().map(|e| e as &(dyn std::error::Error + 'static));
        while let Some(error) = next {
            let cause = error.to_string();
            if !causes.last().unwrap_or(&self.message).contains(&cause) {
                causes.push(cause);
            }
            next = error.source();
        }
        causes
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in self.causes() {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", self.kind.info().code)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error of an object store has the words of its causes within its own.
    #[test]
    fn a_cause_that_stands_in_what_it_led_to_is_told_once() {
        let refused = std::io::Error::other("Connection refused (os error 111)");
        let sending = object_store::Error::Generic { store: "HTTP", source: Box::new(refused) };
        let told = sending.to_string();
        let store = object_store::Error::Generic { store: "S3", source: Box::new(sending) };
        let error = Error::new(ErrorKind::ObjectStore, "s3://metadata/landing/").caused_by(store);
        assert_eq!(error.to_string(), format!("s3://metadata/landing/: Generic S3 error: {told}"));
        assert_eq!(error.to_string().matches("Connection refused").count(), 1);
        // Different causes all stay.
        let inner = Error::new(ErrorKind::Io, "b").caused_by(std::io::Error::other("c"));
        assert_eq!(Error::new(ErrorKind::Io, "a").caused_by(inner).to_string(), "a: b: c");
    }
}
