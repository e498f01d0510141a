//! Objects that are replaced after their batch was accepted, by others of the
//! same size and time: a store's ETag alone tells them apart.

mod support;

use std::sync::Arc;

use support::batches::{TestBatch, entity, says};
use support::bucket::{self, Objects};
use tidegate::clock::{Clock, ManualClock};
use tidegate::config::Settings;
use tidegate::domain::ids::BatchId;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::error::ErrorKind;
use tidegate::intake::prefix::{Prefix, RemotePrefix};
use tidegate::service::Engine;
use url::Url;

const INBOX: &str = "s3://metadata/landing/";

/// An engine that watches a bucket.
struct Remote {
    data: tempfile::TempDir,
    objects: Objects,
    prefix: Arc<dyn Prefix>,
    engine: Engine,
}

impl Remote {
    fn new() -> Self {
        let (data, objects) = (support::folder(), Objects::default());
        let url: Url = INBOX.parse().unwrap();
        let mut settings = Settings::defaults(data.path());
        settings.inboxes[0].url = url.clone();
        let prefix: Arc<dyn Prefix> =
            Arc::new(RemotePrefix::in_pages(bucket::client(&objects), url.clone()).unwrap());
        let clock = Arc::new(ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), 7));
        let engine = Engine::open(data.path(), settings, clock as Arc<dyn Clock>).unwrap();
        let engine = engine.with_prefix(url, Arc::clone(&prefix));
        Self { data, objects, prefix, engine }
    }

    /// Puts a batch there, its entities in a folder within its own or not, and has
    /// it accepted. The manifest says nothing of the file but its place. Returns
    /// the batch's id, its folder, and the key of its entities.
    fn accepted(&self, time: u32, within: bool) -> (BatchId, String, String) {
        let batch = TestBatch::full("alpha", time).with(["a", "b"].map(|name| says(entity(name), 1)));
        let made = batch.write(&self.data.path().join("made"));
        let place = if within { "part/entities.ndjson" } else { "entities.ndjson" };
        let mut manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(made.join("manifest.json")).unwrap()).unwrap();
        manifest["files"] = serde_json::json!([{"path": place, "kind": "entities"}]);
        let folder = format!("alpha/{}", batch.folder_name());
        let file = format!("landing/{folder}/{place}");
        let bytes = std::fs::read(made.join("entities-00000.ndjson")).unwrap();
        let mut objects = self.objects.lock().unwrap();
        objects.insert(file.clone(), bytes);
        objects.insert(format!("landing/{folder}/manifest.json"), manifest.to_string().into_bytes());
        drop(objects);
        assert_eq!(self.engine.scan_inbox(&self.engine.settings().inboxes[0]).unwrap(), 1);
        (batch.id().parse().unwrap(), folder, file)
    }

    /// Gives all entities of a file another value, of the same length.
    fn replace(&self, key: &str) {
        let mut objects = self.objects.lock().unwrap();
        let bytes = objects.get_mut(key).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap().replace("\"x\":1", "\"x\":7");
        assert!(text.len() == bytes.len() && text.as_bytes() != &bytes[..]);
        *bytes = text.into_bytes();
    }

    /// Works, and tells how the batch ended.
    fn status(&self, id: &BatchId) -> (PublishStatus, String) {
        self.engine.run_until_idle().unwrap();
        let record = self.engine.batch(id).unwrap();
        let failure =
            record.failure.map(|failure| format!("{}: {}", failure.error_code, failure.error_message));
        (record.status, failure.unwrap_or_default())
    }

    fn export(&self) -> String {
        let mut out = Vec::new();
        self.engine.export(&mut out, false).unwrap();
        String::from_utf8(out).unwrap()
    }
}

#[test]
fn an_object_that_was_replaced_after_acceptance_is_not_read_until_a_person_says_so() {
    for (time, within) in [(1, false), (2, true)] {
        let remote = Remote::new();
        let (id, _, file) = remote.accepted(time, within);
        remote.replace(&file);
        let (status, told) = remote.status(&id);
        assert_eq!(status, PublishStatus::Failed, "{told}");
        assert!(told.starts_with("BATCH_CHANGED: "), "{told}");
        assert!(told.contains(if within { "part/entities.ndjson" } else { INBOX }), "{told}");
        assert_eq!(remote.export(), "");

        remote.engine.retry(&id, "ann", "it is what was meant").unwrap();
        let (status, told) = remote.status(&id);
        assert_eq!(status, PublishStatus::Complete, "{told}");
        assert_eq!(remote.export().matches("\"x\":7").count(), 2, "{}", remote.export());
    }
}

#[test]
fn an_object_that_is_what_was_accepted_is_read() {
    for (time, within) in [(1, false), (2, true)] {
        let remote = Remote::new();
        let (id, ..) = remote.accepted(time, within);
        let (status, told) = remote.status(&id);
        assert_eq!(status, PublishStatus::Complete, "{told}");
        assert_eq!(remote.export().matches("\"x\":1").count(), 2);
    }
}

#[test]
fn an_object_that_is_replaced_between_its_listing_and_its_reading_is_not_taken() {
    let remote = Remote::new();
    let (_, folder, file) = remote.accepted(1, false);
    let listed = remote.prefix.objects(&folder).unwrap();
    let object = listed.iter().find(|object| object.name == "entities.ndjson").unwrap();
    let to = remote.data.path().join("brought");
    let bring = || remote.prefix.fetch(&folder, object, &to, &|_| Ok(()));
    bring().unwrap();
    remote.replace(&file);
    let error = bring().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FolderChanged);
    assert!(error.to_string().contains("entities.ndjson"), "{error}");
}
