//! A server on a free port, in this process, with a client that sends exactly
//! what a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::clock::{Clock, ManualClock};
use tidegate::config::Settings;
use tidegate::domain::ids::BatchId;
use tidegate::service::Engine;

use super::batches::TestBatch;
use super::world::open_settings;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {} {text}", self.status))
    }

    /// The answer must be a problem of this status and code.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let body = self.json();
        assert_eq!((self.status, body["code"].as_str()), (status, Some(code)), "{body}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(body["status"], status);
        assert_eq!(body["type"], format!("urn:tidegate:error:{code}"));
        for member in ["title", "detail", "action"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {body}");
        }
        body
    }
}

/// Reads the head of an answer.
pub fn read_head(stream: &mut impl BufRead) -> (u16, Vec<(String, String)>) {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    (status, headers)
}

/// Sends bytes and reads one answer. The connection is closed behind it.
pub fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // A server that has seen enough may close while this is being sent.
    let _ = stream.write_all(request);
    let mut reader = BufReader::new(stream);
    let (status, headers) = read_head(&mut reader);
    let mut body = Vec::new();
    let _ = reader.read_to_end(&mut body);
    if headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked") {
        body = dechunk(&body);
    }
    Answer { status, headers, body }
}

/// Holds an answer to the OpenAPI document: a route of the API answers with no
/// status that the document does not have.
#[track_caller]
fn documented(method: &str, path: &str, status: u16) {
    static DOCUMENT: LazyLock<Value> =
        LazyLock::new(|| serde_json::to_value(tidegate::web::openapi_document()).unwrap());
    let path = path.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |route: &str| {
        let route: Vec<&str> = route.split('/').collect();
        route.len() == parts.len()
            && route.iter().zip(&parts).all(|(wanted, part)| wanted.starts_with('{') || wanted == part)
    };
    let routes = DOCUMENT["paths"].as_object().unwrap();
    // Of two that fit, the one that names the path is the route.
    let route =
        routes.keys().find(|route| *route == path).or_else(|| routes.keys().find(|route| fits(route)));
    let Some(route) = route else { return };
    let operation = &routes[route][method.to_lowercase()];
    let has = operation["responses"].get(status.to_string()).is_some();
    assert!(
        operation.is_null() || has,
        "{method} {route} answered {status}, which the document does not have"
    );
}

fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        out.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 4 + size..];
    }
    out
}

/// A server.
pub struct Server {
    pub data: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub engine: Arc<Engine>,
    pub address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
    answering: Option<tokio::task::JoinHandle<tidegate::error::Result<()>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Server {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let data = super::folder();
        let mut settings = open_settings(data.path());
        change(&mut settings);
        let clock = Arc::new(ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), 7));
        let engine = Engine::open(data.path(), settings, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        let engine = Arc::new(engine);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let serving = Arc::clone(&engine);
        let answering = runtime.spawn(async move {
            let until = async move {
                let _ = stopped.await;
            };
            tidegate::web::serve(serving, listener, until).await
        });
        Self {
            data,
            clock,
            engine,
            address,
            runtime: Some(runtime),
            answering: Some(answering),
            stop: Some(stop),
        }
    }

    /// Asks the server to stop, and waits until it has.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let (Some(runtime), Some(answering)) = (&self.runtime, self.answering.take()) {
            runtime.block_on(answering).unwrap().unwrap();
        }
    }

    /// Sends a request with these headers on top of `Host`.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let answer = exchange(self.address, &[head.as_bytes(), body].concat());
        documented(method, path, answer.status);
        answer
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// The JSON of an answer that has to be 200.
    #[track_caller]
    pub fn fetch(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    /// Does something with a batch.
    pub fn act(&self, id: &BatchId, action: &str) -> Answer {
        self.post(
            &format!("/api/v1/batches/{id}/{action}"),
            &json!({ "reason": "looked at", "actor": "ann" }),
        )
    }

    /// All items of a list, in parts of `limit`.
    #[track_caller]
    pub fn all(&self, path: &str, limit: usize) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = None::<String>;
        let join = if path.contains('?') { '&' } else { '?' };
        loop {
            let more = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
            let page = self.fetch(&format!("{path}{join}limit={limit}{more}"));
            let part = page["items"].as_array().unwrap();
            assert!(part.len() <= limit);
            items.extend(part.iter().cloned());
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return items;
            }
        }
    }

    pub fn deliver(&self, batch: &TestBatch) -> BatchId {
        self.engine.accept(&batch.write(&self.data.path().join("delivered"))).unwrap()
    }

    pub fn work(&self) {
        self.engine.run_until_idle().unwrap();
    }

    pub fn publish(&self, batch: &TestBatch) -> BatchId {
        let id = self.deliver(batch);
        self.work();
        id
    }

    /// Follows the events.
    pub fn follow(&self, last: Option<&str>) -> Listener {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let last = last.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        let host = self.address;
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\n{last}\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let (status, headers) = read_head(&mut reader);
        Listener { status, headers, reader }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(10));
        }
    }
}

/// An event as it was received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    pub id: String,
    pub event: String,
    pub data: String,
}

/// A client that follows the events.
pub struct Listener {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
}

impl Listener {
    /// The next event; `None` when the stream has ended.
    pub fn hear(&mut self) -> Option<Heard> {
        let mut heard = Heard::default();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            // Sizes of chunks stand between the lines of the stream.
            let line = line.trim_end();
            match line.split_once(':') {
                Some(("id", value)) => heard.id = value.trim().to_owned(),
                Some(("event", value)) => heard.event = value.trim().to_owned(),
                Some(("data", value)) => heard.data = value.trim().to_owned(),
                Some(_) | None => {}
            }
            if line.is_empty() && !heard.event.is_empty() {
                return Some(heard);
            }
        }
    }
}
