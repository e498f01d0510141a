//! A receiver of webhooks: a real HTTP server that answers as it is told.
#![allow(dead_code)]

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: serde_json::Value,
    pub text: String,
}

impl Received {
    pub fn subject(&self) -> &str {
        self.body["subject"].as_str().unwrap()
    }
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    /// Answers to give next, whole; without any: 204.
    answers: VecDeque<String>,
}

#[derive(Clone)]
pub struct Receiver {
    state: Arc<(Mutex<State>, Condvar)>,
    pub address: std::net::SocketAddr,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Self { state: Arc::default(), address: listener.local_addr().unwrap() };
        let own = receiver.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let own = own.clone();
                std::thread::spawn(move || own.serve(stream.unwrap()));
            }
        });
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The next requests are answered with these status lines and headers.
    pub fn answers(&self, answers: &[&str]) {
        self.state.0.lock().unwrap().answers.extend(answers.iter().map(|answer| (*answer).to_owned()));
    }

    pub fn received(&self) -> Vec<Received> {
        self.state.0.lock().unwrap().received.clone()
    }

    /// Waits until so many requests came. Only a hang makes it fail.
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        let (lock, came) = &*self.state;
        let (state, waited) = came
            .wait_timeout_while(lock.lock().unwrap(), Duration::from_secs(60), |s| s.received.len() < count)
            .unwrap();
        assert!(!waited.timed_out(), "{} of {count} requests came", state.received.len());
        state.received.clone()
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let path = line.split(' ').nth(1).unwrap().to_owned();
            let mut headers = BTreeMap::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let Some((name, value)) = line.trim().split_once(": ") else { break };
                headers.insert(name.to_lowercase(), value.to_owned());
            }
            let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let text = String::from_utf8(body).unwrap();
            let body = serde_json::from_str(&text).unwrap_or_default();
            let answer = {
                let (lock, came) = &*self.state;
                let mut state = lock.lock().unwrap();
                state.received.push(Received { path, headers, body, text });
                came.notify_all();
                state.answers.pop_front().unwrap_or_else(|| "204 No Content".into())
            };
            if answer == "hang up" {
                return;
            }
            let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}
