//! A catalogue over HTTP that does what a test tells it to: a real server, by
//! the contract of `docs/http-target.md`, with scripted faults.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tidegate::clock::{Clock, SystemClock};

/// What becomes of a request, instead of what should.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// It is answered with this status and headers, and has no effect.
    Answer(&'static str),
    /// It is answered with this status and body, and has no effect.
    Say(&'static str, &'static str),
    /// It is never answered, and has no effect.
    Hang,
    /// It takes effect, and is never answered.
    HangAfter,
    /// The connection ends, and it has no effect.
    Die,
    /// It takes effect, and the connection ends before the answer.
    DieAfter,
    /// It takes effect, and half of the answer comes.
    AnswerHalf,
    /// It is answered as if it took effect, and has none.
    Forget,
    /// The answer is for one change too few; it takes effect.
    ShortAnswer,
    /// The answer is no JSON; it takes effect.
    Rubbish,
    /// It takes effect so much later than its answer would have come, and is
    /// never answered.
    Late(Duration),
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Since the server was started.
    pub at: Duration,
    pub path: String,
    pub changes: usize,
    pub batch: String,
    pub key: String,
    pub authorization: Option<String>,
}

#[derive(Default)]
struct State {
    identity: String,
    /// Key as JSON → attributes.
    held: BTreeMap<String, Map<String, Value>>,
    archived: BTreeSet<String>,
    /// Idempotency key → the outcome that was answered.
    outcomes: HashMap<String, Value>,
    /// For requests to `operations`, one after the other.
    script: VecDeque<Fault>,
    /// Operations that come before the script.
    healthy: usize,
    /// For all of them, until it is healed.
    always: Option<Fault>,
    /// For all but probes.
    always_work: Option<Fault>,
    /// Changes of these names are refused.
    rejected: BTreeSet<String>,
    /// A request with an entity of one of these names meets this fault.
    poison: Option<(BTreeSet<String>, Fault)>,
    /// Whether one that is refused has the whole request refused.
    bulk: bool,
    requests: Vec<Request>,
    in_flight: usize,
    most_in_flight: usize,
    /// How long each operation takes.
    takes: Duration,
    down: bool,
    /// Whether nobody listens any more.
    closed: bool,
    streams: Vec<TcpStream>,
}

#[derive(Clone)]
pub struct TargetServer {
    state: Arc<(Mutex<State>, Condvar)>,
    clock: Arc<SystemClock>,
    pub address: SocketAddr,
}

impl TargetServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State { identity: "target-1".into(), bulk: true, ..State::default() };
        let server = Self {
            state: Arc::new((Mutex::new(state), Condvar::new())),
            clock: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        server.listen(listener);
        server
    }

    /// Takes connections until it is down; else ends with the test's process.
    fn listen(&self, listener: TcpListener) {
        let own = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                if own.lock().down {
                    break;
                }
                own.lock().streams.push(stream.try_clone().unwrap());
                let own = own.clone();
                std::thread::spawn(move || own.serve(stream));
            }
            drop(listener);
            own.lock().closed = true;
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap()
    }

    pub fn url(&self) -> url::Url {
        format!("http://{}/catalogue", self.address).parse().unwrap()
    }

    /// The next operations meet these faults.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().script.extend(faults);
    }

    /// After so many that meet none, the next operations meet these faults.
    pub fn script_after(&self, healthy: usize, faults: impl IntoIterator<Item = Fault>) {
        let mut state = self.lock();
        state.healthy = healthy;
        state.script.extend(faults);
    }

    /// Every request meets this fault, probes too.
    pub fn always(&self, fault: Fault) {
        self.lock().always = Some(fault);
    }

    /// No faults from now on; what is refused stays so.
    pub fn heal(&self) {
        let was_down = {
            let mut state = self.lock();
            (state.always, state.always_work) = (None, None);
            state.script.clear();
            state.closed = false;
            std::mem::take(&mut state.down)
        };
        if was_down {
            self.listen(TcpListener::bind(self.address).unwrap());
        }
    }

    /// Every request but probes meets this fault.
    pub fn always_at_work(&self, fault: Fault) {
        self.lock().always_work = Some(fault);
    }

    /// Ends every connection, and refuses all until it is healed.
    pub fn down(&self) {
        {
            let mut state = self.lock();
            state.down = true;
            for stream in state.streams.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        // Wakes the one that listens.
        let _ = TcpStream::connect(self.address);
        while !self.lock().closed {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Entities of these names are refused. `bulk`: a request with one of them
    /// is refused as a whole, without a word of which; else change by change.
    pub fn reject<'a>(&self, names: impl IntoIterator<Item = &'a str>, bulk: bool) {
        let mut state = self.lock();
        state.rejected = names.into_iter().map(str::to_owned).collect();
        state.bulk = bulk;
    }

    /// A request with an entity of one of these names meets this fault.
    pub fn poison<'a>(&self, names: impl IntoIterator<Item = &'a str>, fault: Fault) {
        self.lock().poison = Some((names.into_iter().map(str::to_owned).collect(), fault));
    }

    /// Each operation takes so long from now on.
    pub fn takes(&self, takes: Duration) {
        self.lock().takes = takes;
    }

    /// It holds nothing any more, and is another one.
    pub fn replace(&self) {
        let mut state = self.lock();
        state.held.clear();
        state.identity = "target-2".into();
    }

    /// It loses the entity of this name.
    pub fn lose(&self, name: &str) {
        self.lock().held.retain(|key, _| !is_called(key, name));
    }

    /// Gives the entity of this name one more attribute, past Tidegate.
    pub fn annotate(&self, name: &str, attribute: &str, value: i64) {
        for (key, held) in &mut self.lock().held {
            if is_called(key, name) {
                held.insert(attribute.to_owned(), value.into());
            }
        }
    }

    /// Puts a value into it, past Tidegate.
    pub fn edit(&self, key: &str, attributes: Value) {
        self.lock().held.insert(key.to_owned(), attributes.as_object().unwrap().clone());
    }

    /// What it holds: keys as JSON, and their attributes.
    pub fn held(&self) -> BTreeMap<String, Map<String, Value>> {
        self.lock().held.clone()
    }

    /// The requests that came to this path.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        self.lock().requests.iter().filter(|request| request.path == path).cloned().collect()
    }

    /// Forgets the requests that came.
    pub fn forget_requests(&self) {
        let mut state = self.lock();
        state.requests.clear();
        state.most_in_flight = state.in_flight;
    }

    /// Most operations that were worked on at once.
    pub fn most_in_flight(&self) -> usize {
        self.lock().most_in_flight
    }

    /// Waits until so many requests came to a path. Only a hang makes it fail.
    #[track_caller]
    pub fn wait_for(&self, path: &str, count: usize) {
        let (lock, came) = &*self.state;
        let so_many = |state: &State| state.requests.iter().filter(|r| r.path == path).count();
        let (state, waited) = came
            .wait_timeout_while(lock.lock().unwrap(), Duration::from_secs(60), |s| so_many(s) < count)
            .unwrap();
        assert!(!waited.timed_out(), "{} of {count} requests came to {path}", so_many(&state));
    }

    /// Waits until an entity has the attribute `x` of this value. Only a hang
    /// makes it fail.
    #[track_caller]
    pub fn wait_for_value(&self, name: &str, x: i64) {
        for _ in 0..6000 {
            let held = self.held();
            let found = held.iter().find(|(key, _)| key.contains(&format!("\"{name}\"")));
            if found.is_some_and(|(_, value)| value["x"] == x) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        panic!("{name} does not come to {x}");
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while self.one(&mut reader, &mut stream).is_some() {}
    }

    /// One request; `None`: the connection ends.
    fn one(&self, reader: &mut BufReader<TcpStream>, stream: &mut TcpStream) -> Option<()> {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let path = line.split(' ').nth(1)?.trim_start_matches("/catalogue/").to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body).ok()?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (fault, takes) = {
            let mut state = self.lock();
            state.requests.push(Request {
                at: self.clock.monotonic(),
                path: path.clone(),
                changes: body["changes"].as_array().map_or(0, Vec::len),
                batch: body["batch_id"].as_str().unwrap_or_default().to_owned(),
                key: headers.get("idempotency-key").cloned().unwrap_or_default(),
                authorization: headers.get("authorization").cloned(),
            });
            self.state.1.notify_all();
            let scripted = match path.as_str() {
                "operations" if state.healthy > 0 => {
                    state.healthy -= 1;
                    None
                }
                "operations" => state.script.pop_front(),
                _ => None,
            };
            let poisoned = state.poison.as_ref().filter(|(names, _)| {
                let mut changes = body["changes"].as_array().into_iter().flatten();
                changes.any(|change| {
                    change["key"]["qualified_name"].as_str().is_some_and(|name| names.contains(name))
                })
            });
            let poisoned = poisoned.map(|(_, fault)| fault.clone());
            let at_work = state.always_work.clone().filter(|_| path != "health");
            (scripted.or(poisoned).or(at_work).or_else(|| state.always.clone()), state.takes)
        };
        let (status, answer) = match (path.as_str(), &fault) {
            (_, Some(Fault::Answer(answer))) => {
                let text = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
                return stream.write_all(text.as_bytes()).ok();
            }
            (_, Some(Fault::Say(status, body))) => {
                let text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                return stream.write_all(text.as_bytes()).ok();
            }
            (_, Some(Fault::Die)) => return end(stream),
            (_, Some(Fault::Hang)) => return hang(reader),
            ("", _) => ("200 OK", json!({ "format": "tidegate.target/1", "identity": self.lock().identity })),
            ("health", _) => ("200 OK", json!({})),
            ("read", _) => ("200 OK", self.read(&body)),
            ("operations", Some(Fault::Late(late))) => {
                let (own, late) = (self.clone(), *late);
                std::thread::spawn(move || {
                    std::thread::park_timeout(late);
                    own.apply(&headers["idempotency-key"], &body);
                });
                return hang(reader);
            }
            ("operations", Some(Fault::Forget)) => {
                let done = body["changes"].as_array()?.iter().map(|_| json!({ "status": "done" }));
                ("200 OK", json!({ "outcomes": done.collect::<Vec<_>>() }))
            }
            ("operations", _) => {
                self.work(1);
                std::thread::park_timeout(takes);
                let answer = self.apply(&headers["idempotency-key"], &body);
                self.work(-1);
                answer
            }
            _ => ("404 Not Found", json!({})),
        };
        let mut text = answer.to_string();
        match fault {
            Some(Fault::DieAfter) => return end(stream),
            Some(Fault::HangAfter) => return hang(reader),
            Some(Fault::AnswerHalf) => {
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", text.len());
                stream.write_all(head.as_bytes()).ok()?;
                stream.write_all(&text.as_bytes()[..text.len() / 2]).ok()?;
                return end(stream);
            }
            Some(Fault::ShortAnswer) => {
                let mut answer = answer;
                answer["outcomes"].as_array_mut()?.pop();
                text = answer.to_string();
            }
            Some(Fault::Rubbish) => text = "<html>proxy</html>".into(),
            _ => {}
        }
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(text.as_bytes()).ok()
    }

    fn work(&self, more: isize) {
        let mut state = self.lock();
        state.in_flight = state.in_flight.wrapping_add_signed(more);
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
    }

    fn read(&self, body: &Value) -> Value {
        let state = self.lock();
        let value = |key: &Value| match state.held.get(&key["key"].to_string()) {
            Some(attributes) => {
                json!({ "attributes": attributes, "archived": state.archived.contains(&key["key"].to_string()) })
            }
            None => Value::Null,
        };
        json!({ "values": body["keys"].as_array().unwrap().iter().map(value).collect::<Vec<_>>() })
    }

    fn apply(&self, key: &str, body: &Value) -> (&'static str, Value) {
        let mut state = self.lock();
        if let Some(answer) = state.outcomes.get(key) {
            return ("200 OK", answer.clone());
        }
        let changes = body["changes"].as_array().unwrap();
        let is_bad = |state: &State, change: &Value| {
            change["key"]["qualified_name"].as_str().is_some_and(|name| state.rejected.contains(name))
        };
        if state.bulk && changes.iter().any(|change| is_bad(&state, change)) {
            return ("422 Unprocessable Content", json!({ "detail": "something in it is bad" }));
        }
        let mut outcomes = Vec::new();
        for change in changes {
            if is_bad(&state, change) {
                outcomes.push(json!({ "status": "rejected", "reason": "the name is not allowed" }));
                continue;
            }
            let there = state.held.contains_key(&change["key"].to_string());
            if change["action"] == "update" && change["replace"] == false && !there {
                outcomes.push(json!({ "status": "rejected", "reason": "there is nothing to update" }));
                continue;
            }
            take(&mut state, change);
            outcomes.push(json!({ "status": "done" }));
        }
        let answer = json!({ "outcomes": outcomes });
        state.outcomes.insert(key.to_owned(), answer.clone());
        ("200 OK", answer)
    }
}

/// Whether this is the key, as JSON, of an entity of this name.
fn is_called(key: &str, name: &str) -> bool {
    serde_json::from_str::<Value>(key).unwrap()["qualified_name"] == name
}

/// Applies a change.
fn take(state: &mut State, change: &Value) {
    let key = change["key"].to_string();
    match change["action"].as_str().unwrap() {
        "delete" => {
            state.held.remove(&key);
        }
        "archive" => {
            state.archived.insert(key);
        }
        _ => {
            state.archived.remove(&key);
            let held = state.held.entry(key).or_default();
            if change["action"] == "create" || change["replace"] == true {
                held.clear();
            }
            held.extend(change["set"].as_object().unwrap().clone());
            for name in change["unset"].as_array().into_iter().flatten() {
                held.remove(name.as_str().unwrap());
            }
        }
    }
}

fn end(stream: &TcpStream) -> Option<()> {
    let _ = stream.shutdown(Shutdown::Both);
    None
}

/// Says nothing until the other side leaves.
fn hang(reader: &mut BufReader<TcpStream>) -> Option<()> {
    let _ = reader.read_to_end(&mut Vec::new());
    None
}
