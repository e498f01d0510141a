//! Bad input: a clear error naming batch, file, line and field; nothing is
//! lost, and the rest goes on.

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::world::World;
use tidegate::domain::ids::BatchId;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::error::ErrorKind;
use tidegate::service::engine::ProgressSink;
use tidegate::store::BatchRecord;

/// A batch folder made of raw bytes.
struct Raw {
    manifest: Value,
    files: Vec<(String, Vec<u8>)>,
}

impl Raw {
    fn new(run: &str) -> Self {
        Self {
            manifest: json!({
                "format": "tidegate.batch/1", "source_id": "alpha", "run_id": run, "workflow": "w",
                "mode": "full", "source_timestamp": "2026-11-01T01:00:00Z",
                "processing_timestamp": "2026-11-01T01:00:00Z", "files": [],
            }),
            files: Vec::new(),
        }
    }

    fn file(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let kind = if name.starts_with("rel") { "relationships" } else { "entities" };
        self.manifest["files"].as_array_mut().unwrap().push(json!({"path": name, "kind": kind}));
        self.files.push((name.into(), bytes.into()));
        self
    }

    fn listed(mut self, member: &str, value: Value) -> Self {
        self.manifest["files"].as_array_mut().unwrap().last_mut().unwrap()[member] = value;
        self
    }

    fn with(mut self, member: &str, value: Value) -> Self {
        self.manifest[member] = value;
        self
    }

    fn write(&self, root: &Path) -> PathBuf {
        let folder = root.join(self.manifest["run_id"].as_str().unwrap());
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in &self.files {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        std::fs::write(folder.join("manifest.json"), self.manifest.to_string()).unwrap();
        folder
    }

    fn publish(&self, world: &World) -> BatchRecord {
        let folder = self.write(&world.data.path().join("delivered"));
        let id = world.engine().accept(&folder).unwrap();
        world.work();
        world.batch(&id)
    }
}

const GOOD: &str = "{\"type\":\"t\",\"qualified_name\":\"good\",\"attributes\":{\"x\":1}}\n";

fn nested(depth: usize) -> Vec<u8> {
    let mut text = b"{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":{\"x\":".to_vec();
    text.extend(std::iter::repeat_n(b'[', depth));
    text.extend(std::iter::repeat_n(b']', depth));
    text.extend_from_slice(b"}}");
    text
}

#[test]
fn what_concerns_one_line_makes_one_dead_letter_and_the_rest_is_published() {
    let long = format!(
        "{{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":{{\"x\":\"{}\"}}}}",
        "y".repeat(9 << 20)
    );
    // The line, the field that the message names, and whether the key is known.
    let table: Vec<(&str, Vec<u8>, &str, bool)> = vec![
        ("malformed JSON", b"{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":{".to_vec(), "", false),
        ("two lines run together", b"{\"type\":\"t\",\"qualified_name\":\"bad\",\"attr{\"type\":\"t\",\"qualified_name\":\"bad2\",\"attributes\":{}}".to_vec(), "", false),
        ("no JSON at all", b"bad".to_vec(), "", false),
        ("no object", b"[1]".to_vec(), "", false),
        ("text behind the object", b"{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":{}} x".to_vec(), "", false),
        ("a missing type", b"{\"qualified_name\":\"bad\",\"attributes\":{}}".to_vec(), "type", false),
        ("a missing name", b"{\"type\":\"t\",\"attributes\":{}}".to_vec(), "qualified_name", false),
        ("a name of the wrong type", b"{\"type\":\"t\",\"qualified_name\":1,\"attributes\":{}}".to_vec(), "qualified_name", false),
        ("an empty name", b"{\"type\":\"t\",\"qualified_name\":\"\",\"attributes\":{}}".to_vec(), "qualified_name", false),
        ("NUL in a name", b"{\"type\":\"t\",\"qualified_name\":\"b\\u0000d\",\"attributes\":{}}".to_vec(), "qualified_name", false),
        ("a control character in a name", b"{\"type\":\"t\",\"qualified_name\":\"b\\u0007d\",\"attributes\":{}}".to_vec(), "qualified_name", false),
        ("missing attributes", b"{\"type\":\"t\",\"qualified_name\":\"bad\"}".to_vec(), "attributes", true),
        ("attributes of the wrong type", b"{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":[]}".to_vec(), "attributes", true),
        ("deleted in a full batch", b"{\"type\":\"t\",\"qualified_name\":\"bad\",\"deleted\":true}".to_vec(), "deleted", true),
        ("a key twice", b"{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":{\"x\":1,\"x\":2}}".to_vec(), "attributes.x`", true),
        ("a key twice further in", b"{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":{\"x\":{\"y\":1,\"y\":1}}}".to_vec(), "attributes.x.y`", true),
        ("the name twice", b"{\"type\":\"t\",\"qualified_name\":\"bad\",\"qualified_name\":\"bad\",\"attributes\":{}}".to_vec(), "qualified_name", false),
        ("a lone surrogate", b"{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":{\"x\":\"\\ud800\"}}".to_vec(), "attributes.x`", true),
        ("a lone surrogate in a name", b"{\"type\":\"t\",\"qualified_name\":\"b\\udc00\",\"attributes\":{}}".to_vec(), "qualified_name", false),
        ("invalid UTF-8", b"{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":{\"x\":\"\xff\"}}".to_vec(), "", false),
        ("nesting over 128", nested(200), "attributes.x[][]", true),
        ("a line over the limit", long.into_bytes(), "", false),
        ("a number that is none", b"{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":{\"x\":01}}".to_vec(), "attributes.x`", true),
        ("NaN", b"{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":{\"x\":NaN}}".to_vec(), "attributes.x`", true),
    ];
    for (n, (what, line, field, keyed)) in table.into_iter().enumerate() {
        let world = World::new();
        let mut bytes = GOOD.as_bytes().to_vec();
        bytes.extend_from_slice(&line);
        bytes.extend_from_slice(b"\n{\"type\":\"t\",\"qualified_name\":\"too\",\"attributes\":{}}\n");
        let record = Raw::new(&format!("r{n}")).file("entities-0.ndjson", bytes).publish(&world);
        assert_eq!(record.status, PublishStatus::Complete, "{what}: {:?}", record.failure);
        assert_eq!(record.failure.as_ref().unwrap().error_code, "PARTIAL", "{what}");
        let letters = world.dead_letters("alpha");
        assert_eq!(letters.len(), 1, "{what}");
        let letter = &letters[0];
        assert!(letter.message.contains("entities-0.ndjson line 2"), "{what}: {}", letter.message);
        assert_eq!((letter.file.as_str(), letter.line), ("entities-0.ndjson", 2), "{what}");
        assert!(
            field.is_empty() || letter.message.contains(&format!("`{field}")),
            "{what}: {}",
            letter.message
        );
        assert_eq!(letter.key.is_some(), keyed, "{what}: {}", letter.message);
        // Of a line over the limit the beginning is kept, of any other all of it.
        let over = line.len() > tidegate::limits::MAX_LINE;
        assert!(if over { line.starts_with(&letter.content) } else { line == letter.content }, "{what}");
        assert_eq!(letter.cut, over, "{what}");
        let exported = world.export();
        assert_eq!(exported.lines().count(), 2, "{what}: {exported}");
        assert!(!exported.contains("bad"), "{what}");
    }
}

#[test]
fn a_place_in_a_line_is_counted_from_the_start_of_the_line() {
    for (attributes, at) in [
        (r#"{"x":1,"x":2}"#, r#"x":2"#),
        (r#"{"y":{"x":1e9999999}}"#, "1e9"),
        (r#"{"x":"\ud800"}"#, r"\ud800"),
        (r#"{"x":}"#, "}}"),
    ] {
        let world = World::new();
        let line = format!(r#"{{"type":"t","qualified_name":"bad","attributes":{attributes}}}"#);
        Raw::new("r").file("entities-0.ndjson", line.as_str()).publish(&world);
        let letters = world.dead_letters("alpha");
        let place = format!("at byte {}", line.find(at).unwrap());
        assert!(letters[0].message.ends_with(&place), "{place}: {}", letters[0].message);
    }
}

#[test]
fn no_message_has_a_value_of_an_attribute() {
    for line in [
        "{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":{\"x\":\"s3cret\",\"x\":1}}",
        "{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":{\"x\":\"s3cret\\ud800\"}}",
        "{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":\"s3cret\"}",
        "{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":{\"x\":\"s3cret\"",
    ] {
        let world = World::new();
        let record = Raw::new("r").file("entities-0.ndjson", line).publish(&world);
        assert!(!format!("{:?}", record.failure).contains("s3cret"), "{line}");
        assert!(
            world.dead_letters("alpha").iter().all(|letter| !letter.message.contains("s3cret")),
            "{line}"
        );
    }
}

#[test]
fn harmless_forms_are_read_as_they_are_meant() {
    let world = World::new();
    let text = "\u{feff}{\"type\":\"t\",\"qualified_name\":\"a\",\"attributes\":{\"x\":1}}\r\n\r\n   \n\
                {\"type\":\"t\",\"qualified_name\":\"b\",\"attributes\":{\"x\":1},\"extra\":true}";
    let record = Raw::new("r")
        .file("entities-0.ndjson", text)
        .listed("count", json!(2))
        .file("entities-1.ndjson", "")
        .listed("count", json!(0))
        .publish(&world);
    assert_eq!((record.status, record.failure.clone()), (PublishStatus::Complete, None));
    assert_eq!(world.export().lines().count(), 2);
    let plan = world.plan(&record);
    assert!(plan.warnings.iter().any(|warning| warning.contains("does not name")), "{:?}", plan.warnings);
}

#[test]
fn a_manifest_may_begin_with_a_byte_order_mark() {
    let world = World::new();
    let folder = Raw::new("r").file("entities-0.ndjson", GOOD).write(&world.data.path().join("delivered"));
    let text = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    std::fs::write(folder.join("manifest.json"), format!("\u{feff}{text}")).unwrap();
    world.engine().accept(&folder).unwrap();
    world.work();
    assert_eq!(world.export().lines().count(), 1);
}

#[derive(Default)]
struct Told(Mutex<Vec<Option<u64>>>);

impl ProgressSink for Told {
    fn reading(&self, _batch: &BatchId, bytes: Option<u64>) {
        self.0.lock().unwrap().push(bytes);
    }
}

#[test]
fn how_much_there_is_to_read_is_known_also_where_the_manifest_does_not_say_it() {
    let mut world = World::new();
    let told = Arc::new(Told::default());
    world.tell(Arc::clone(&told) as Arc<dyn ProgressSink>);
    let raw = Raw::new("r").file("entities-0.ndjson", GOOD).file("entities-1.ndjson", "\n\n");
    raw.publish(&world);
    assert_eq!(*told.0.lock().unwrap(), [Some(GOOD.len() as u64 + 2)]);
}

#[test]
fn numbers_are_compared_by_value_and_kept_whatever_their_size() {
    let world = World::new();
    let line =
        |x: &str| format!("{{\"type\":\"t\",\"qualified_name\":\"a\",\"attributes\":{{\"x\":{x}}}}}\n");
    let huge = format!("1{}", "0".repeat(400));
    let forms: [(&str, bool); 8] = [
        ("1", true),
        ("1.0", false),
        ("1e0", false),
        ("10e-1", false),
        ("18446744073709551616", true),
        ("18446744073709551617", true),
        (&huge, true),
        ("1E400", false),
    ];
    for (n, (form, changes)) in forms.into_iter().enumerate() {
        let record = Raw::new(&format!("r{n}"))
            .with("source_timestamp", json!(format!("2026-11-02T0{n}:00:00Z")))
            .file("entities-0.ndjson", line(form))
            .publish(&world);
        assert_eq!(record.failure, None, "{form}");
        assert_eq!(world.plan(&record).header.summary.changes(), u64::from(changes), "{form}");
    }
}

fn zstd(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 3).unwrap()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn bomb() -> Vec<u8> {
    zstd(&format!("{}\n", " ".repeat(200 << 20)))
}

#[test]
fn what_concerns_the_whole_batch_makes_it_failed_and_changes_nothing() {
    let other = "{\"type\":\"t\",\"qualified_name\":\"other\",\"attributes\":{}}\n".to_owned();
    let text = format!("{GOOD}{other}");
    let cut = |mut bytes: Vec<u8>| {
        bytes.truncate(bytes.len() - 5);
        bytes
    };
    let good = || Raw::new("r").file("entities-0.ndjson", text.as_str());
    let table: Vec<(&str, Raw, ErrorKind)> = vec![
        ("another checksum", good().listed("xxh3", json!("0123456789abcdef")), ErrorKind::ChecksumMismatch),
        ("another count", good().listed("count", json!(3)), ErrorKind::CountMismatch),
        ("another size", good().listed("bytes", json!(3)), ErrorKind::SizeMismatch),
        (
            "a truncated zstd stream",
            Raw::new("r").file("entities-0.ndjson.zst", cut(zstd(&text))),
            ErrorKind::CompressionInvalid,
        ),
        (
            "a truncated gzip stream",
            Raw::new("r").file("entities-0.ndjson.gz", cut(gzip(&text))),
            ErrorKind::CompressionInvalid,
        ),
        (
            "no zstd at all",
            Raw::new("r").file("entities-0.ndjson.zst", text.as_str()),
            ErrorKind::CompressionInvalid,
        ),
        (
            "a decompression bomb",
            Raw::new("r").file("entities-0.ndjson.zst", bomb()),
            ErrorKind::ExpansionLimit,
        ),
        (
            "a decompression bomb in gzip",
            Raw::new("r").file("entities-0.ndjson.gz", gzip(&format!("{}\n", " ".repeat(65 << 20)))),
            ErrorKind::ExpansionLimit,
        ),
        (
            "a time in the far future",
            good().with("source_timestamp", json!("2027-01-01T00:00:00Z")),
            ErrorKind::FromFuture,
        ),
        (
            "a time of processing in the far future",
            good().with("processing_timestamp", json!("2027-01-01T00:00:00Z")),
            ErrorKind::FromFuture,
        ),
    ];
    for (what, raw, kind) in table {
        let world = World::new();
        let before = Raw::new("r0")
            .with("source_timestamp", json!("2026-10-31T00:00:00Z"))
            .file("entities-0.ndjson", "{\"type\":\"t\",\"qualified_name\":\"old\",\"attributes\":{}}");
        before.publish(&world);
        let catalogue = world.export();
        let record = raw.publish(&world);
        assert_eq!(record.status, PublishStatus::Failed, "{what}");
        let failure = record.failure.unwrap();
        assert_eq!(failure.error_code, kind.info().code, "{what}: {failure:?}");
        assert!(failure.error_message.contains("alpha:"), "{what}: {}", failure.error_message);
        assert!(
            failure.error_message.contains("entities-0.ndjson") || kind == ErrorKind::FromFuture,
            "{what}: {}",
            failure.error_message
        );
        assert_eq!(world.export(), catalogue, "{what}");
        // The source goes on.
        let next = Raw::new("r2")
            .with("source_timestamp", json!("2026-11-03T00:00:00Z"))
            .file("entities-0.ndjson", GOOD);
        assert_eq!(next.publish(&world).status, PublishStatus::Complete, "{what}");
    }
}

#[test]
fn a_file_may_unfold_to_as_much_as_is_set_whatever_its_ratio() {
    // Packed to about a third: no ratio that anybody would take for a bomb.
    let lines: String = (0..100u64)
        .map(|n| {
            let name = format!("{:016x}", (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            format!("{{\"type\":\"t\",\"qualified_name\":\"{name}\",\"attributes\":{{}}}}\n")
        })
        .collect();
    for (name, bytes) in [("zst", zstd(&lines)), ("gz", gzip(&lines))] {
        let file = format!("entities-0.ndjson.{name}");
        let raw = Raw::new("r").file(&file, bytes);
        let most = |bytes: usize| World::with(|settings| settings.limits.max_file = bytes as u64);
        assert_eq!(raw.publish(&most(lines.len())).status, PublishStatus::Complete);
        let world = most(lines.len() - 1);
        let record = raw.publish(&world);
        assert_eq!(record.status, PublishStatus::Failed);
        let failure = record.failure.unwrap();
        assert_eq!(failure.error_code, "BATCH_EXPANSION_LIMIT", "{failure:?}");
        let limit = format!("{} bytes (limits.max_file)", lines.len() - 1);
        for part in [&record.batch_id.to_string(), &file, &limit] {
            assert!(failure.error_message.contains(&**part), "{part}: {}", failure.error_message);
        }
        assert_eq!(world.export(), "");
    }
}

#[test]
fn a_missing_file_and_a_link_out_of_the_folder_fail_the_batch() {
    for (what, kind) in [("missing", ErrorKind::FileMissing), ("a link", ErrorKind::FileUnsafe)] {
        let world = World::new();
        let raw = Raw::new("r").file("entities-0.ndjson", GOOD);
        let folder = raw.write(&world.data.path().join("delivered"));
        let file = folder.join("entities-0.ndjson");
        let outside = world.data.path().join("outside.ndjson");
        std::fs::rename(&file, &outside).unwrap();
        if what == "a link" {
            std::os::unix::fs::symlink(&outside, &file).unwrap();
        }
        let id = world.engine().accept(&folder).unwrap();
        world.work();
        let record = world.batch(&id);
        assert_eq!(record.status, PublishStatus::Failed, "{what}");
        assert_eq!(record.failure.unwrap().error_code, kind.info().code, "{what}");
        assert_eq!(world.export(), "", "{what}");
    }
}

#[test]
fn a_manifest_that_breaks_the_contract_is_refused_with_the_field_named() {
    let file = |path: &str| json!([{"path": path, "kind": "entities"}]);
    let table: Vec<(&str, Value, ErrorKind, &str)> = vec![
        ("format", json!("tidegate.batch/9"), ErrorKind::ManifestVersion, "tidegate.batch/9"),
        ("mode", json!("patch"), ErrorKind::ManifestInvalid, "mode"),
        ("mode", json!(1), ErrorKind::ManifestInvalid, "mode"),
        ("source_id", json!("../alpha"), ErrorKind::ManifestInvalid, "source_id"),
        ("run_id", json!(null), ErrorKind::ManifestInvalid, "run_id"),
        ("source_timestamp", json!("2026-11-01T01:00:00"), ErrorKind::ManifestInvalid, "source_timestamp"),
        ("source_timestamp", json!("yesterday"), ErrorKind::ManifestInvalid, "source_timestamp"),
        ("compexity", json!(3), ErrorKind::ManifestInvalid, "complexity"),
        ("complexity", json!(11), ErrorKind::ManifestInvalid, "complexity"),
        ("files", file("../entities-0.ndjson"), ErrorKind::FileUnsafe, "files[0].path"),
        ("files", file("/etc/passwd"), ErrorKind::FileUnsafe, "files[0].path"),
        (
            "files",
            json!([{"path": "e.ndjson", "kind": "entities", "cuont": 1}]),
            ErrorKind::ManifestInvalid,
            "count",
        ),
        ("files", json!([{"path": "e.ndjson", "kind": "things"}]), ErrorKind::ManifestInvalid, "kind"),
        ("scope", json!({"types": "*"}), ErrorKind::ManifestInvalid, "types"),
        ("extra", json!([1]), ErrorKind::ManifestInvalid, "`extra` must be an object"),
        (
            "source_timestamp",
            json!("9999-12-31T23:59:59Z"),
            ErrorKind::ManifestInvalid,
            "`source_timestamp` is no time that can be kept: the last one is 9999-12-30T",
        ),
        (
            "source_timestamp",
            json!("0000-01-01T00:00:00+05:00"),
            ErrorKind::ManifestInvalid,
            "`source_timestamp` is no time that can be kept: the first one is 0000-01-01T",
        ),
        (
            "processing_timestamp",
            json!("-000001-06-01T00:00:00Z"),
            ErrorKind::ManifestInvalid,
            "`processing_timestamp` is no time that can be kept: the first one is 0000-01-01T",
        ),
    ];
    for (member, value, kind, named) in table {
        let world = World::new();
        let mut raw = Raw::new("r").file("entities-0.ndjson", GOOD).with(member, value.clone());
        raw.manifest["run_id"] = if member == "run_id" { value.clone() } else { json!("r") };
        let folder = world.data.path().join("batch");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("manifest.json"), raw.manifest.to_string()).unwrap();
        let error = world.engine().accept(&folder).unwrap_err();
        assert_eq!(error.kind(), kind, "{member} = {value}: {error}");
        assert!(error.to_string().contains(named), "{member} = {value}: {error}");
        assert_eq!(world.export(), "");
    }
}

#[test]
fn a_manifest_that_is_no_json_is_refused_with_its_line() {
    let world = World::new();
    let folder = world.data.path().join("batch");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("manifest.json"), "{\n  \"format\": \"tidegate.batch/1\",\n  oops\n}")
        .unwrap();
    let error = world.engine().accept(&folder).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ManifestInvalid);
    assert!(error.to_string().contains("line 3"), "{error}");
}

#[test]
fn an_empty_full_batch_over_something_waits_for_a_person() {
    let world = World::with(|settings| {
        for source in settings.sources.values_mut() {
            source.guards = tidegate::domain::guards::GuardLimits::default();
        }
    });
    Raw::new("r1").file("entities-0.ndjson", GOOD).publish(&world);
    let empty = Raw::new("r2").with("source_timestamp", json!("2026-11-02T00:00:00Z"));
    let record = empty.publish(&world);
    assert_eq!(record.status, PublishStatus::PlanComplete);
    assert!(record.hold.unwrap().note.contains("empty"));
    assert_eq!(world.export().lines().count(), 1);
}

#[test]
fn folders_of_the_inbox_that_are_no_batches_hide_no_others() {
    let data = support::folder();
    let inbox = data.path().join("inbox");
    let good = Raw::new("r1").file("entities-0.ndjson", GOOD);
    let folder = good.write(&data.path().join("made"));
    std::fs::create_dir_all(inbox.join("alpha")).unwrap();
    std::fs::rename(&folder, inbox.join("alpha/20261101T010000Z_r1")).unwrap();
    // No time in the name, no valid source, no manifest, another source's manifest.
    for bad in [
        "alpha/whatever",
        "al pha/20261101T010000Z_r1",
        "alpha/20261101T020000Z_r2",
        "beta/20261101T010000Z_r1",
    ] {
        std::fs::create_dir_all(inbox.join(bad)).unwrap();
    }
    std::fs::copy(
        inbox.join("alpha/20261101T010000Z_r1/manifest.json"),
        inbox.join("beta/20261101T010000Z_r1/manifest.json"),
    )
    .unwrap();
    let settings = tidegate::config::Settings::defaults(data.path());
    let clock =
        std::sync::Arc::new(tidegate::clock::ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), 7));
    let inbox = settings.inboxes[0].clone();
    let engine = tidegate::service::Engine::open(data.path(), settings, clock).unwrap();
    assert_eq!(engine.scan_inbox(&inbox).unwrap(), 2);
    assert_eq!(engine.scan_inbox(&inbox).unwrap(), 0, "known folders are not new again");
    engine.run_until_idle().unwrap();
    let states = engine.store().read(|view| view.batches(&tidegate::store::BatchFilter::default())).unwrap();
    let codes: Vec<(String, Option<String>)> = states
        .into_iter()
        .map(|batch| (batch.batch_id.to_string(), batch.failure.map(|failure| failure.error_code)))
        .collect();
    assert!(codes.contains(&("alpha:20261101T010000Z_r1".into(), None)), "{codes:?}");
    assert!(
        codes.contains(&("beta:20261101T010000Z_r1".into(), Some("BATCH_MANIFEST_MISMATCH".into()))),
        "{codes:?}"
    );
    assert_eq!(codes.len(), 2);
    let mut out = Vec::new();
    engine.export(&mut out, false).unwrap();
    assert_eq!(String::from_utf8(out).unwrap().lines().count(), 1);
}
