//! The service as a process: killed at any point while several sources are
//! published at once, stopped while it plans, told to read its settings again.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use support::batches::{Line, TestBatch, edge, entity, says};
use support::limit::Limit;
use support::oracle;

fn tidegate(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .env_clear()
        .args(["--data", data.to_str().unwrap()])
        .env("TIDEGATE_PUBLISHING__MAX_CHANGES", "3")
        .env("TIDEGATE_SERVICE__WORKERS", "3")
        .env("TIDEGATE_SERVER__LISTEN", "127.0.0.1:0");
    command
}

fn deliver(data: &Path, batch: &TestBatch) {
    let made = batch.write(&data.join("made"));
    let source = data.join("inbox").join(&batch.source);
    std::fs::create_dir_all(&source).unwrap();
    std::fs::rename(made, source.join(batch.folder_name())).unwrap();
}

/// A server whose log is read.
struct Server {
    process: Child,
    _limit: Limit,
    log: Lines<BufReader<ChildStderr>>,
    seen: Vec<String>,
}

impl Server {
    fn start(data: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = tidegate(data);
        command.arg("serve").envs(environment.iter().copied()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let log = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { _limit: Limit::of(&process), process, log, seen: Vec::new() }
    }

    /// Reads on until a line holds all of these.
    #[track_caller]
    fn until(&mut self, texts: &[&str]) -> String {
        for line in self.log.by_ref() {
            let line = line.unwrap();
            self.seen.push(line.clone());
            if texts.iter().all(|text| line.contains(text)) {
                return line;
            }
        }
        panic!("{texts:?} is not in the log:\n{}", self.seen.join("\n"));
    }

    fn signal(&self, signal: Signal) {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Reads the log to its end.
    fn end(mut self) -> ExitStatus {
        for line in self.log {
            line.unwrap();
        }
        self.process.wait().unwrap()
    }

    fn stop(self) {
        self.signal(Signal::TERM);
        assert_eq!(self.end().code(), Some(0));
    }
}

fn export(data: &Path) -> String {
    let output = tidegate(data).args(["catalogue", "export"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn batches(data: &Path) -> Vec<Value> {
    let output = tidegate(data).args(["--json", "batches", "list"]).output().unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// Three sources that share keys and relationships.
fn history() -> Vec<TestBatch> {
    let mut history = Vec::new();
    for (n, source) in ["alpha", "beta", "gamma"].iter().enumerate() {
        for time in [10, 20, 30] {
            let own = [format!("a{n}"), format!("b{n}"), "c".to_owned(), "d".to_owned()];
            let lines = own.iter().map(|name| says(entity(name), i64::from(time)));
            let next = format!("a{}", (n + 1) % 3);
            let edges = [says(edge(&format!("a{n}"), &next), 1), says(edge("c", &format!("b{n}")), 1)];
            let batch = match time {
                10 => TestBatch::full(source, time).with(lines),
                20 => TestBatch::incremental(source, time)
                    .with(lines.skip(1))
                    .with([Line::Deleted(entity(&format!("a{n}")))]),
                _ => TestBatch::full(source, time).with(lines),
            };
            history.push(batch.with(edges));
        }
    }
    history
}

#[test]
fn a_kill_while_several_sources_are_published_at_once_loses_and_repeats_nothing() {
    let history = history();
    let last: Vec<TestBatch> =
        ["alpha", "beta", "gamma"].iter().map(|source| TestBatch::incremental(source, 40)).collect();
    let all: Vec<&TestBatch> = history.iter().chain(&last).collect();
    let expected = oracle::export(&oracle::catalogue(&all, &BTreeMap::new()));
    let mut kills = 0;
    for (point, step) in [("store", 9), ("target", 4), ("files", 13)] {
        for at in (1u32..).step_by(step) {
            let folder = support::folder();
            let data = folder.path().join("data");
            for batch in &history {
                deliver(&data, batch);
            }
            let after = format!("{point}:{at}");
            let mut killed = Server::start(&data, &[("TIDEGATE_CRASH_AFTER", &after)]);
            // It dies by itself, or has done everything before it comes so far.
            let mut done = 0;
            while let Some(line) = killed.log.next() {
                done += usize::from(line.unwrap().contains("done"));
                if done == history.len() {
                    killed.signal(Signal::TERM);
                }
            }
            let survived = killed.process.wait().unwrap().signal() != Some(9);
            drop(killed);
            let mut server = Server::start(&data, &[]);
            for batch in &last {
                deliver(&data, batch);
            }
            let mut waiting: Vec<String> = last.iter().map(TestBatch::id).collect();
            while !waiting.is_empty() {
                let line = server.until(&["done"]);
                waiting.retain(|id| !line.contains(id.as_str()));
            }
            server.stop();
            assert_eq!(export(&data), expected, "{after}");
            let batches = batches(&data);
            assert_eq!(batches.len(), all.len(), "{after}");
            for batch in &batches {
                assert_eq!(batch["status"], "COMPLETE", "{after}: {batch}");
            }
            if survived {
                break;
            }
            kills += 1;
        }
    }
    println!("{kills} kills");
    assert!(kills > 10, "{kills}");
}

#[test]
fn a_server_that_plans_a_large_batch_ends_when_asked_to_and_plans_it_again_at_its_next_start() {
    let folder = support::folder();
    let data = folder.path().join("data");
    let text = "x".repeat(200);
    let lines = (0..60_000).map(|n| {
        let value = [("x".to_owned(), serde_json::json!(text))].into();
        Line::Value(entity(&format!("a{n}")), value, 0)
    });
    let large = TestBatch::full("alpha", 10).with(lines);
    deliver(&data, &large);
    let environment = [("TIDEGATE_PUBLISHING__MAX_CHANGES", "100000")];
    let mut server = Server::start(&data, &environment);
    server.until(&["planning", &large.id()]);
    server.stop();
    let before = batches(&data);
    assert_eq!(before[0]["status"], "PLANNING");
    let tmp = data.join("state/tmp");
    assert_eq!(std::fs::read_dir(tmp).unwrap().count(), 0);
    assert_eq!(export(&data), "");
    let mut server = Server::start(&data, &environment);
    server.until(&["done", &large.id()]);
    server.stop();
    assert_eq!(export(&data).lines().count(), 60_000);
}

#[test]
fn sighup_reads_the_settings_again_and_tells_every_key_that_changed() {
    let folder = support::folder();
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let file: PathBuf = data.join("tidegate.toml");
    std::fs::write(&file, "[sources.alpha]\nimportance = 10\n").unwrap();
    let mut server = Server::start(&data, &[]);
    server.until(&["watching"]);
    std::fs::write(&file, "[sources.alpha]\nimportance = 90\n[targets.catalogue]\nhistory = 3\n").unwrap();
    server.signal(Signal::HUP);
    let line = server.until(&["sources.alpha.importance"]);
    assert!(line.contains("10") && line.contains("90"), "{line}");
    let line = server.until(&["targets.catalogue.history"]);
    assert!(line.contains("restart"), "{line}");
    std::fs::write(&file, "[sources.alpha]\nimportence = 90\n").unwrap();
    server.signal(Signal::HUP);
    let line = server.until(&["refused"]);
    assert!(line.contains("did you mean `importance`"), "{line}");
    // It goes on with those before.
    let batch = TestBatch::full("alpha", 1).with([says(entity("a"), 1)]);
    deliver(&data, &batch);
    server.until(&["done", &batch.id()]);
    server.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn threads_that_publish_stand_back_behind_those_that_answer_and_those_that_index_behind_them() {
    let folder = support::folder();
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let mut server = Server::start(&data, &[]);
    server.until(&["watching"]);
    // Its workers and the index are at work by then.
    let batch = TestBatch::full("alpha", 1).with([says(entity("a"), 1)]);
    deliver(&data, &batch);
    server.until(&["done", &batch.id()]);
    let own = rustix::process::getpriority_process(None).unwrap();
    let mut steps: BTreeMap<String, i64> = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", server.process.id())).unwrap() {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        let (before, after) = stat.rsplit_once(") ").unwrap();
        let name = before.split_once('(').unwrap().1;
        // The nineteenth field; the name is the second.
        let nice: i64 = after.split(' ').nth(16).unwrap().parse().unwrap();
        steps.insert(name.to_owned(), nice - i64::from(own));
    }
    server.stop();
    for worker in ["worker-0", "worker-1", "worker-2"] {
        assert_eq!(steps[worker], 5, "{steps:?}");
    }
    assert_eq!(steps["search"], 15, "{steps:?}");
    for other in ["tidegate", "web", "store-writer", "inbox-0"] {
        assert_eq!(steps[other], 0, "{steps:?}");
    }
}
