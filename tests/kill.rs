//! P3: a process killed at any point goes on without loss and without doing
//! anything twice. The real binary is killed after every durable commit of
//! its store, after every answer of the target, and after every durable file.

mod support;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use support::batches::{Line, TestBatch, edge, entity, says};

/// Batches with creations, updates, deletions, a bad line, relationships that
/// wait and move, of two sources; several operations each.
fn history() -> Vec<TestBatch> {
    let names = ["a", "b", "c", "d", "e", "f", "ua", "ub"];
    let all = names.iter().map(|name| says(entity(name), 1));
    let edges = [edge("a", "b"), edge("ua", "ub"), edge("c", "d"), edge("ub", "z")];
    vec![
        TestBatch::full("alpha", 10).with(all).with(edges.iter().map(|key| says(key.clone(), 1))),
        TestBatch::full("alpha", 20)
            .with(["a", "b", "d", "ua", "ub", "g"].iter().map(|name| says(entity(name), 2)))
            .with([says(edge("a", "b"), 2), says(edge("ub", "z"), 1), says(edge("g", "a"), 1)])
            .with([Line::BadKeyed(entity("c")), Line::BadLong(entity("e"))]),
        TestBatch::full("beta", 15)
            .with([says(entity("a"), 9), says(entity("z"), 9), says(edge("a", "z"), 9)])
            .with([says(edge("e", "z"), 1)]),
        TestBatch::incremental("alpha", 30)
            .with(["a", "h"].iter().map(|name| says(entity(name), 3)))
            .with([Line::Deleted(entity("b")), Line::Deleted(entity("ub"))])
            .with([says(edge("h", "a"), 1)]),
        TestBatch::full("alpha", 25).with([
            says(entity("a"), 7),
            says(entity("d"), 7),
            says(edge("d", "a"), 1),
        ]),
    ]
}

fn tidegate(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .env_clear()
        .args(["--data", data.to_str().unwrap(), "--json", "-q"])
        .env("TIDEGATE_PUBLISHING__MAX_CHANGES", "3")
        .env("TIDEGATE_SOURCES__ALPHA__GUARDS__DELETE_RATIO", "1.0")
        .env("TIDEGATE_SOURCES__ALPHA__GUARDS__FULL_COUNT_RATIO", "0.0");
    command
}

fn publish(data: &Path, folder: &Path, environment: &[(&str, &str)]) -> Output {
    let mut command = tidegate(data);
    command.arg("publish").arg(folder).envs(environment.iter().copied());
    command.output().unwrap()
}

fn export(data: &Path) -> String {
    let output = tidegate(data).args(["catalogue", "export"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The publish state without what time decides.
fn state(output: &Output) -> Value {
    let mut state: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        panic!("{e}: {} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    });
    for field in
        ["publish_start_timestamp", "publish_end_timestamp", "state_snapshot_path", "execution_plan_path"]
    {
        assert!(state[field].is_string(), "{field}: {state}");
        state[field] = Value::Null;
    }
    state["metrics"]["execution_time_ms"] = Value::Null;
    state["s3_path"] = Value::Null;
    state
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// How every batch stands.
fn statuses(data: &Path) -> Value {
    let output = tidegate(data).args(["batches", "list"]).output().unwrap();
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|batch| (batch["batch_id"].as_str().unwrap().to_owned(), batch["status"].clone()))
        .collect::<BTreeMap<_, _>>()
        .into_iter()
        .map(|(id, status)| serde_json::json!([id, status]))
        .collect()
}

/// The originals of the dead letters, and how many files hold them.
fn originals(data: &Path) -> (Vec<Vec<u8>>, usize) {
    let raw = |id| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.env_clear().args(["--data", data.to_str().unwrap(), "-q", "dlq", "show", id, "--raw"]);
        command.output().unwrap().stdout
    };
    let files = std::fs::read_dir(data.join("state/alpha/letters")).map_or(0, Iterator::count);
    (["1", "2"].map(raw).into(), files)
}

/// The versions that the catalogue has of two entities, without what time and
/// chance decide: an operation that took effect twice would show here.
fn versions(data: &Path) -> Value {
    let get = |type_name: &str, name: &str| {
        let output = tidegate(data).args(["catalogue", "get", type_name, name]).output().unwrap();
        let mut value: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        strip(&mut value);
        value
    };
    Value::Array(vec![get("t", "a"), get("t", "b"), get("u", "ub")])
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !(name.ends_with("_at") || name == "at" || name == "plan"));
            members.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

struct Kills {
    work: tempfile::TempDir,
    folders: Vec<PathBuf>,
}

impl Kills {
    fn new() -> Self {
        let work = support::folder();
        let folders = history().iter().map(|batch| batch.write(&work.path().join("delivered"))).collect();
        Self { work, folders }
    }

    fn data(&self, name: &str) -> PathBuf {
        // The state folder belongs to one data directory: each copy lives at
        // the same place in turn.
        self.work.path().join(name)
    }

    /// Kills the publication of every batch at every point of one kind.
    fn at_every(&self, point: &str) {
        let (data, before) = (self.data("data"), self.data("before"));
        let mut kills = 0;
        for (n, folder) in self.folders.iter().enumerate() {
            let _ = std::fs::remove_dir_all(&before);
            if data.exists() {
                std::fs::rename(&data, &before).unwrap();
            } else {
                std::fs::create_dir_all(&before).unwrap();
            }
            let report = self.data("count.json");
            copy(&before, &data);
            let undisturbed = publish(&data, folder, &[("TIDEGATE_CRASH_COUNT", report.to_str().unwrap())]);
            let counts: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
            let (expected, catalogue, batches) = (state(&undisturbed), export(&data), statuses(&data));
            let history = versions(&data);
            let kept = originals(&data);
            let count = counts[point].as_u64().unwrap();
            assert_eq!(kept.0.iter().any(|kept| kept.len() > 10_000), n >= 1, "batch {n}");
            assert!(count > 0, "batch {n} passes no point of {point}");
            for at in 1..=count {
                std::fs::remove_dir_all(&data).unwrap();
                copy(&before, &data);
                let after = format!("{point}:{at}");
                let killed = publish(&data, folder, &[("TIDEGATE_CRASH_AFTER", &after)]);
                assert_eq!(killed.status.signal(), Some(9), "batch {n}, {after}: {killed:?}");
                let resumed = publish(&data, folder, &[]);
                assert_eq!(
                    resumed.status.code(),
                    undisturbed.status.code(),
                    "batch {n}, {after}: {resumed:?}"
                );
                assert_eq!(state(&resumed), expected, "batch {n}, {after}");
                assert_eq!(export(&data), catalogue, "batch {n}, {after}");
                assert_eq!(statuses(&data), batches, "batch {n}, {after}");
                assert_eq!(versions(&data), history, "batch {n}, {after}");
                assert!(originals(&data) == kept, "batch {n}, {after}");
                kills += 1;
            }
        }
        println!("{kills} kills at {point}");
    }
}

#[test]
fn a_kill_after_any_durable_commit_of_the_store_loses_and_repeats_nothing() {
    Kills::new().at_every("store");
}

#[test]
fn a_kill_between_the_targets_commit_and_its_journal_record_repeats_nothing() {
    Kills::new().at_every("target");
}

#[test]
fn a_kill_after_any_durable_file_loses_nothing() {
    Kills::new().at_every("files");
}
