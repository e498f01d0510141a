//! Batches as the tests write them, and as folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate::domain::glob::Glob;
use tidegate::domain::key::{EntityKey, Key, RelationshipKey};
use tidegate::domain::scope::Scope;

/// One line of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// A value, with a style of spelling: 0 plain, 3 with a member beside it that
    /// the contract does not name, others reorder and space out.
    Value(Key, BTreeMap<String, Value>, u8),
    /// Asserted absent.
    Deleted(Key),
    /// A bad line whose key can be read.
    BadKeyed(Key),
    /// The same, longer than what the store keeps.
    BadLong(Key),
    /// The same, for a member that stands twice among the attributes.
    BadTwice(Key),
    /// A bad line without a key, an entity's.
    BadKeyless(u8),
}

/// A batch.
#[derive(Debug, Clone, PartialEq)]
pub struct TestBatch {
    pub source: String,
    /// Minutes after the beginning of time; also names the run.
    pub time: u32,
    pub full: bool,
    pub scope: Scope,
    pub lines: Vec<Line>,
    pub workflow: String,
}

impl TestBatch {
    pub fn full(source: &str, time: u32) -> Self {
        Self {
            source: source.into(),
            time,
            full: true,
            scope: Scope::default(),
            lines: Vec::new(),
            workflow: "w".into(),
        }
    }

    pub fn incremental(source: &str, time: u32) -> Self {
        Self { full: false, ..Self::full(source, time) }
    }

    pub fn with(mut self, lines: impl IntoIterator<Item = Line>) -> Self {
        self.lines.extend(lines);
        self
    }

    pub fn scoped(mut self, names: &[&str], except: &[&str]) -> Self {
        self.scope.names = names.iter().map(|glob| Glob::new(*glob)).collect();
        self.scope.except = except.iter().map(|glob| Glob::new(*glob)).collect();
        self
    }

    pub fn types(mut self, types: &[&str]) -> Self {
        self.scope.types = types.iter().map(|glob| Glob::new(*glob)).collect();
        self
    }

    pub fn timestamp(&self) -> String {
        format!("2026-11-{:02}T{:02}:{:02}:00Z", 1 + self.time / 1440, self.time / 60 % 24, self.time % 60)
    }

    pub fn folder_name(&self) -> String {
        format!("{}_r{}", self.timestamp().replace(['-', ':'], ""), self.time)
    }

    pub fn id(&self) -> String {
        format!("{}:{}", self.source, self.folder_name())
    }

    /// Writes the batch below `root` and returns its folder.
    pub fn write(&self, root: &Path) -> PathBuf {
        let folder = root.join(&self.source).join(self.folder_name());
        if folder.exists() {
            return folder;
        }
        std::fs::create_dir_all(&folder).unwrap();
        let mut texts = [String::new(), String::new()];
        for line in &self.lines {
            let (which, text) = render(line);
            texts[which].push_str(&text);
            texts[which].push('\n');
        }
        let mut files = Vec::new();
        for (text, kind) in texts.iter().zip(["entities", "relationships"]) {
            let path = format!("{kind}-00000.ndjson");
            std::fs::write(folder.join(&path), text).unwrap();
            let count = text.lines().count();
            files.push(json!({"path": path, "kind": kind, "count": count, "bytes": text.len()}));
        }
        let manifest = json!({
            "format": "tidegate.batch/1", "source_id": self.source, "run_id": format!("r{}", self.time),
            "workflow": self.workflow, "mode": if self.full { "full" } else { "incremental" },
            "source_timestamp": self.timestamp(), "processing_timestamp": self.timestamp(),
            "scope": self.scope, "files": files,
        });
        std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
        folder
    }
}

fn render(line: &Line) -> (usize, String) {
    let which = |key: &Key| usize::from(matches!(key, Key::Relationship(_)));
    let head = |key: &Key| {
        let mut text = serde_json::to_string(key).unwrap();
        text.pop();
        text
    };
    match line {
        Line::Value(key, value, 0) => {
            (which(key), format!("{},\"attributes\":{}}}", head(key), json!(value)))
        }
        Line::Value(key, value, 3) => {
            (which(key), format!("{},\"attributes\":{},\"beside\":1}}", head(key), json!(value)))
        }
        Line::Value(key, value, style) => {
            let mut members: Vec<String> =
                value.iter().map(|(name, value)| format!("{} : {}", json!(name), respell(value))).collect();
            if style % 2 == 0 {
                members.reverse();
            }
            (which(key), format!("{} , \"attributes\" : {{ {} }} }}", head(key), members.join(" , ")))
        }
        Line::Deleted(key) => (which(key), format!("{},\"deleted\":true}}", head(key))),
        Line::BadKeyed(key) => (which(key), format!("{},\"attributes\":[]}}", head(key))),
        Line::BadLong(key) => {
            (which(key), format!("{},\"attributes\":[\"{}\"]}}", head(key), "y".repeat(10_000)))
        }
        Line::BadTwice(key) => (which(key), format!("{},\"attributes\":{{\"x\":1,\"x\":2}}}}", head(key))),
        Line::BadKeyless(n) => (0, format!("{{\"type\":\"t\",\"bad\":{n}}}")),
    }
}

fn respell(value: &Value) -> String {
    match value {
        Value::Number(n) if !n.to_string().contains('.') => format!("{n}.0"),
        other => other.to_string(),
    }
}

pub fn entity(name: &str) -> Key {
    let type_name = if name.starts_with('u') { "u" } else { "t" };
    Key::Entity(EntityKey::new(type_name, name))
}

pub fn edge(from: &str, to: &str) -> Key {
    labelled(from, to, "")
}

/// One of several relationships between the same ends.
pub fn labelled(from: &str, to: &str, label: &str) -> Key {
    let end = |name: &str| match entity(name) {
        Key::Entity(key) => key,
        Key::Relationship(_) => unreachable!(),
    };
    Key::Relationship(RelationshipKey {
        type_name: "r".into(),
        from: end(from),
        to: end(to),
        label: label.into(),
    })
}

pub fn value(pairs: &[(&str, i64)]) -> BTreeMap<String, Value> {
    pairs.iter().map(|(name, n)| ((*name).to_owned(), json!(n))).collect()
}

/// A line with the value `{"x":n}`.
pub fn says(key: Key, n: i64) -> Line {
    Line::Value(key, value(&[("x", n)]), 0)
}
