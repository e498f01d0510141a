//! A batch of twenty entities, and what is done to its folder and asked of it
//! when it failed.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use tidegate::config::Settings;
use tidegate::domain::ids::{BatchId, SourceId};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::Mode;
use tidegate::error::ErrorKind;
use tidegate::intake::inbox::Complete;
use tidegate::service::Engine;

use super::batches::{TestBatch, entity, says};
use super::world::World;

/// Its one file with lines.
pub const FILE: &str = "entities-00000.ndjson";

pub fn names() -> impl Iterator<Item = String> {
    (0..20).map(|n| format!("n{n:02}"))
}

/// A full batch of alpha.
pub fn batch(time: u32, value: i64) -> TestBatch {
    TestBatch::full("alpha", time).with(names().map(|name| says(entity(&name), value)))
}

/// A world in which the first of them is published.
pub fn base(change: impl FnOnce(&mut Settings)) -> World {
    let world = World::with(change);
    assert_eq!(world.publish(&batch(1, 1)).status, PublishStatus::Complete);
    world
}

/// An inbox that takes a folder by its marker, of a source with this mode.
pub fn by_marker(mode: Option<Mode>) -> impl FnOnce(&mut Settings) {
    move |settings| {
        settings.inboxes[0].complete = Complete::Marker("_SUCCESS".into());
        settings.sources.get_mut(&SourceId::new("alpha").unwrap()).unwrap().mode = mode;
    }
}

#[track_caller]
pub fn expect_all(world: &World, value: i64) {
    world.expect(&names().map(|name| (entity(&name), value)).collect::<Vec<_>>());
}

/// A batch whose manifest says nothing of its files but what they are: its folder,
/// and the manifest's text.
pub fn unstated(root: &Path, batch: &TestBatch) -> (PathBuf, String) {
    let folder = batch.write(root);
    let path = folder.join("manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for file in manifest["files"].as_array_mut().unwrap() {
        file.as_object_mut().unwrap().retain(|name, _| name == "path" || name == "kind");
    }
    let text = manifest.to_string();
    std::fs::write(&path, &text).unwrap();
    (folder, text)
}

/// The text of such a manifest with a count of lines.
pub fn counted(text: &str, count: u32) -> String {
    let path = format!("\"path\":\"{FILE}\"");
    text.replace(&path, &format!("\"count\":{count},{path}"))
}

/// Cuts the last two lines off.
pub fn truncate(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(path, lines[..lines.len() - 2].join("\n") + "\n").unwrap();
}

pub fn id_of(batch: &TestBatch) -> BatchId {
    batch.id().parse().unwrap()
}

/// Why a batch failed.
pub fn code(world: &World, id: &BatchId) -> String {
    world.batch(id).failure.map(|failure| failure.error_code).unwrap_or_default()
}

pub fn scan(world: &World) {
    world.engine().scan_inbox(&world.settings.inboxes[0]).unwrap();
}

pub fn keep(world: &World) {
    world.engine().keep_pins().unwrap();
}

/// What a retry is refused for.
#[track_caller]
pub fn refused(engine: &Engine, id: &BatchId) -> String {
    let error = engine.retry(id, "ann", "again").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    format!("{error} {}", error.action())
}

/// Tries it again, which must go well.
#[track_caller]
pub fn goes_well(world: &World, id: &BatchId) {
    world.engine().retry(id, "ann", "whole again").unwrap();
    world.work();
    let record = world.batch(id);
    assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
}
