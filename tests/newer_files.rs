//! Files that a newer version wrote: each is refused by name, as what it is, and
//! nobody is told to restore a backup of it.

mod support;

use std::path::{Path, PathBuf};

use redb::TableDefinition;
use serde_json::Value;
use support::batches::{TestBatch, entity, says};
use support::shell::Shell;
use support::world::World;
use tidegate::error::ErrorKind;
use xxhash_rust::xxh3::xxh3_64;

const META: TableDefinition<&[u8], &[u8]> = TableDefinition::new("meta");

fn batch(time: u32, x: i64) -> TestBatch {
    TestBatch::full("alpha", time).with((0..20).map(|n| says(entity(&format!("n{n}")), x)))
}

/// A command is refused for a file of a newer version.
#[track_caller]
fn refused(shell: &Shell, path: &Path, command: &[&str]) {
    let stderr = shell.refused(1, &[&["--json"], command].concat());
    let error: Value = serde_json::from_str(&stderr).unwrap_or_else(|e| panic!("{e}: {stderr}"));
    assert_eq!(error["error_code"], "STORE_NEWER", "{error}");
    assert!(error["error_message"].as_str().unwrap().contains(path.to_str().unwrap()), "{error}");
    assert_eq!(error["action"], "Run that version, or a newer one.");
}

/// The only file of a folder below the state folder.
fn only(state: &Path, folder: &str, end: &str) -> PathBuf {
    let entries = std::fs::read_dir(state.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == end)).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// A file with the number of its version raised: of a manifest in its format, else at
/// a place of its header.
fn raised(path: &Path, at: usize) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap();
    if path.extension().is_some_and(|end| end != "json") {
        bytes[at] += 1;
        return bytes;
    }
    let text = String::from_utf8(bytes).unwrap();
    let (body, _) = text.trim_end().rsplit_once('\n').unwrap();
    let (before, after) = body.split_once("/1\"").unwrap();
    assert!(before.ends_with("tidegate.snapshot") || before.ends_with("tidegate.plan-file"), "{before}");
    // A newer one may lack a member that is needed here.
    let body = format!("{before}/2\"{after}").replace("\"source_id\"", "\"source\"");
    let hash = xxh3_64(body.as_bytes());
    format!("{body}\nxxh3 {hash:016x}\n").into_bytes()
}

#[test]
fn a_newer_catalogue_is_refused_by_name() {
    let shell = Shell::new();
    shell.expect(0, &["publish", &shell.write(&batch(1, 1))]);
    let path = shell.data().join("catalogue.redb");
    let db = redb::Database::open(&path).unwrap();
    let tx = db.begin_write().unwrap();
    tx.open_table(META).unwrap().insert(&b"format"[..], &b"2"[..]).unwrap();
    tx.commit().unwrap();
    drop(db);
    refused(&shell, &path, &["catalogue", "export"]);
    refused(&shell, &path, &["publish", &shell.write(&batch(2, 2))]);
}

#[test]
fn newer_files_of_a_snapshot_are_refused_by_name() {
    let shell = Shell::new();
    shell.expect(0, &["publish", &shell.write(&batch(1, 1))]);
    let next = shell.write(&batch(2, 2));
    let state = shell.data().join("state");
    let snapshot = only(&state, "alpha/snapshots/catalogue", "json");
    let files = [
        (snapshot.clone(), 0),
        (only(&state, "alpha/layers", "layer"), 7),
        (only(&state, "alpha/orders", "order"), 7),
        (only(&state, "alpha/packs", "pack"), 12),
    ];
    for (path, at) in files {
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, raised(&path, at)).unwrap();
        refused(&shell, &path, &["plan", &next]);
        std::fs::write(&path, good).unwrap();
    }
    // A guard trips: every value is another one.
    shell.expect(3, &["plan", &next]);
    // Nor does a recovery go back to an older one, or to none, for it.
    std::fs::write(&snapshot, raised(&snapshot, 0)).unwrap();
    std::fs::remove_file(shell.data().join("tidegate.redb")).unwrap();
    refused(&shell, &snapshot, &["recover", "--state", &state.display().to_string()]);
}

#[test]
fn a_newer_plan_is_refused_by_name() {
    let world = World::new();
    let record = world.publish(&batch(1, 1));
    let state = world.data.path().join("state");
    for (path, at) in [(only(&state, "alpha/plans", "json"), 0), (only(&state, "alpha/plans", "plan"), 12)] {
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, raised(&path, at)).unwrap();
        let error = world.engine().plan_of(&record).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::StoreNewer, "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        std::fs::write(&path, good).unwrap();
    }
    assert!(world.engine().plan_of(&record).unwrap().is_some());
}
