//! The JSON Schemas of manifest and lines against what the program takes: a
//! document passes the schema if and only if it is read, but for what the schemas say
//! of themselves. Lines are those of an incremental batch: in a full one `deleted` is
//! bad. Left out where there is no
//! jsonschema.

mod support;

use serde_json::{Value, json};
use support::python;
use tidegate::domain::assertion::parse_line;
use tidegate::domain::key::Kind;
use tidegate::domain::settings::Mode;
use tidegate::intake::manifest;

/// A document with one member set, or taken out for `Value::Null` in `gone`.
fn with(base: &Value, path: &str, value: Option<Value>) -> Value {
    let mut document = base.clone();
    let (parent, member) = path.rsplit_once('/').unwrap();
    let object = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => drop(object.insert(member.into(), value)),
        None => drop(object.remove(member)),
    }
    document
}

/// Every member of a document absent, and as each of these.
fn variants(base: &Value, members: &[&str], values: &[Value]) -> Vec<Value> {
    let mut all = vec![base.clone()];
    for member in members {
        all.push(with(base, member, None));
        all.extend(values.iter().map(|value| with(base, member, Some(value.clone()))));
    }
    all
}

fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(7),
        json!(7.0),
        json!(-0.0),
        json!(1e300),
        json!(11),
        json!(""),
        json!("a"),
        json!("a b"),
        json!("a\u{1}b"),
        json!("a\u{85}b"),
        json!("full"),
        json!("patch"),
        json!("entities"),
        json!("0123456789abcdef"),
        json!("2026-11-24T01:00:00Z"),
        json!("x".repeat(63)),
        json!("x".repeat(64)),
        json!("x".repeat(256)),
        json!("x".repeat(257)),
        json!("x".repeat(16_384)),
        json!("x".repeat(16_385)),
        json!([]),
        json!(["*"]),
        json!([1]),
        json!({}),
        json!({"types": ["*"], "names": [], "except": ["a"]}),
        json!({"other": 1}),
    ]
}

#[test]
fn schemas_take_what_the_program_takes_and_nothing_else() {
    let manifest = json!({
        "format": "tidegate.batch/1", "source_id": "s", "run_id": "r", "workflow": "w", "mode": "full",
        "source_timestamp": "2026-11-24T01:00:00Z", "processing_timestamp": "2026-11-24T01:00:00+01:00",
        "scope": {"types": ["*"], "names": ["*"], "except": []}, "complexity": 3, "extra": {"a": [1]},
        "files": [{"path": "e.ndjson", "kind": "entities", "count": 1, "bytes": 2, "xxh3": "0123456789abcdef"}],
    });
    let entity = json!({"type": "t", "qualified_name": "n", "attributes": {"a": 1}, "deleted": false});
    let end = json!({"type": "t", "qualified_name": "n"});
    let edge = json!({"type": "t", "from": end, "to": end, "label": "l", "attributes": {}, "deleted": false});
    let gone = |line: &Value| with(&with(line, "/attributes", None), "/deleted", Some(json!(true)));
    let mut cases: Vec<(&str, Value)> = Vec::new();
    let members = [
        "/format",
        "/source_id",
        "/run_id",
        "/workflow",
        "/mode",
        "/scope",
        "/scope/types",
        "/scope/except",
        "/complexity",
        "/extra",
        "/files",
        "/files/0/kind",
        "/files/0/count",
        "/files/0/bytes",
        "/files/0/xxh3",
        "/unknown",
        "/files/0/unknown",
        "/scope/unknown",
    ];
    let all = variants(&manifest, &members, &values());
    cases.extend(all.into_iter().map(|document| ("manifest.schema.json", document)));
    let paths = [
        "a",
        "a/b",
        "a/b/c.ndjson.zst",
        ".a",
        "a/.b",
        "..a",
        "a..",
        "a/...",
        "...",
        "manifest.jsonx",
        "a/manifest.json",
        "",
        ".",
        "..",
        "/",
        "/a",
        "a/",
        "a//b",
        "./a",
        "../a",
        "a/../b",
        "a/..",
        "a/.",
        "a\\b",
        "a:b",
        "a\u{0}b",
        "a\nb",
        "a\u{85}b",
        "manifest.json",
        "é/ü",
    ];
    let mut paths: Vec<Value> = paths.iter().map(|path| json!(path)).collect();
    paths.extend(values());
    let times = [
        "2026-11-24T01:00:00Z",
        "2026-11-24t01:00:00z",
        "2026-11-24 01:00:00Z",
        "2026-11-24T01:00:00.123456789Z",
        "2026-11-24T01:00:00+14:00",
        "2026-11-24T01:00:00-23:59",
        "2026-11-24T23:59:60Z",
        "2026-11-24T01:00:00",
        "2026-11-24",
        "yesterday",
        "2026-11-24T24:00:00Z",
        "2026-11-24T01:60:00Z",
        "2026-13-24T01:00:00Z",
        "2026-00-24T01:00:00Z",
        "2026-11-00T01:00:00Z",
        "2026-11-32T01:00:00Z",
        "2026-11-24T01:00:00+24:00",
        "2026-11-24T01:00:00+01:60",
        "26-11-24T01:00:00Z",
        "2026-11-24T01:00:00.Z",
        "1700000000",
    ];
    let mut times: Vec<Value> = times.iter().map(|time| json!(time)).collect();
    times.extend(values());
    let mut all = variants(&manifest, &["/files/0/path"], &paths);
    all.extend(variants(&manifest, &["/source_timestamp", "/processing_timestamp"], &times));
    cases.extend(all.into_iter().map(|document| ("manifest.schema.json", document)));
    let members = ["/type", "/qualified_name", "/attributes", "/deleted", "/unknown"];
    for line in [&entity, &gone(&entity)] {
        let all = variants(line, &members, &values());
        cases.extend(all.into_iter().map(|document| ("entity-line.schema.json", document)));
    }
    let members =
        ["/type", "/from", "/to", "/from/type", "/to/qualified_name", "/label", "/attributes", "/deleted"];
    for line in [&edge, &gone(&edge)] {
        let all = variants(line, &members, &values());
        cases.extend(all.into_iter().map(|document| ("relationship-line.schema.json", document)));
    }
    let Some(told) = python::run("schemas.py", "jsonschema", &cases) else { return };
    let told: Vec<bool> = told.lines().map(|line| line == "yes").collect();
    assert_eq!(told.len(), cases.len());
    let mut differ = Vec::new();
    for ((schema, document), told) in cases.iter().zip(told) {
        let text = document.to_string();
        let taken = match *schema {
            "manifest.schema.json" => manifest::parse(text.as_bytes()).is_ok(),
            "entity-line.schema.json" => parse_line(Kind::Entity, Mode::Incremental, text.as_bytes()).is_ok(),
            _ => parse_line(Kind::Relationship, Mode::Incremental, text.as_bytes()).is_ok(),
        };
        if taken != told {
            differ.push(format!("{schema} {told}, the program {taken}: {:.200}", text));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
