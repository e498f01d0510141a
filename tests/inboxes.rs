//! Inboxes: how complete batches are known, what is said of the others, and
//! that a remote prefix is read as a local one.

mod support;

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use support::batches::{TestBatch, entity, says};
use tidegate::clock::{Clock, ManualClock, SystemClock};
use tidegate::config::Settings;
use tidegate::domain::ids::{BatchId, SourceId};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::Mode;
use tidegate::error::Result;
use tidegate::intake::inbox::Complete;
use tidegate::intake::prefix::{Changed, Object, Passing, Prefix, RemotePrefix};
use tidegate::publishing::crash::CrashPoints;
use tidegate::service::Engine;
use tidegate::service::query::{BatchQuery, Part};
use tidegate::service::views::{SourceState, WaitCode};
use tidegate::store::{BatchRecord, InboxState};
use url::Url;

/// A data directory that watches one inbox: a local folder, or a prefix of an
/// object store.
struct Watch {
    data: tempfile::TempDir,
    clock: Arc<ManualClock>,
    engine: Engine,
    settings: Settings,
    store: Option<Arc<InMemory>>,
    prefix: Arc<dyn Prefix>,
}

impl Watch {
    fn new(remote: bool, change: impl FnOnce(&mut Settings)) -> Self {
        let data = support::folder();
        let mut settings = Settings::defaults(data.path());
        if remote {
            settings.inboxes[0].url = "s3://metadata/landing/".parse().unwrap();
        }
        change(&mut settings);
        // Files of the local inbox have the machine's time.
        let now = SystemClock::default().now();
        let clock = Arc::new(ManualClock::new(now, 7));
        let store = remote.then(|| Arc::new(InMemory::new()));
        let url: Url = settings.inboxes[0].url.clone();
        let prefix: Arc<dyn Prefix> = match &store {
            Some(store) => {
                let store = Arc::clone(store) as Arc<dyn ObjectStore>;
                Arc::new(RemotePrefix::new(store, url.clone()).unwrap())
            }
            None => tidegate::intake::prefix::open(&url).unwrap(),
        };
        let engine = Engine::open(data.path(), settings.clone(), Arc::clone(&clock) as Arc<dyn Clock>)
            .unwrap()
            .with_prefix(url, Arc::clone(&prefix));
        Self { data, clock, engine, settings, store, prefix }
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        match &self.store {
            Some(store) => {
                let key = Key::from(format!("landing/{path}"));
                futures_executor::block_on(store.put(&key, bytes.to_vec().into())).unwrap();
            }
            None => {
                let path = self.data.path().join("inbox").join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
        }
    }

    /// Puts the files of a batch, the manifest apart.
    fn deliver(&self, batch: &TestBatch) -> (String, Vec<u8>) {
        let made = batch.write(&self.data.path().join("made"));
        let folder = format!("{}/{}", batch.source, batch.folder_name());
        for entry in std::fs::read_dir(&made).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "manifest.json" {
                self.put(&format!("{folder}/{name}"), &std::fs::read(entry.path()).unwrap());
            }
        }
        (format!("{folder}/manifest.json"), std::fs::read(made.join("manifest.json")).unwrap())
    }

    fn poll(&self) -> usize {
        self.engine.scan_inbox(&self.settings.inboxes[0]).unwrap()
    }

    fn batch(&self, id: &str) -> BatchRecord {
        self.engine.batch(&id.parse::<BatchId>().unwrap()).unwrap()
    }

    fn export(&self) -> String {
        let mut out = Vec::new();
        self.engine.export(&mut out, false).unwrap();
        String::from_utf8(out).unwrap()
    }
}

fn batch(time: u32, x: i64) -> TestBatch {
    TestBatch::full("alpha", time).with([says(entity("a"), x)])
}

#[test]
fn a_batch_is_complete_with_its_manifest_whether_the_inbox_is_near_or_far() {
    for remote in [false, true] {
        let watch = Watch::new(remote, |_| {});
        assert_eq!(watch.poll(), 0, "an inbox that is not there is empty");
        let (path, manifest) = watch.deliver(&batch(1, 1));
        assert_eq!(watch.poll(), 0);
        watch.put(&path, &manifest);
        assert_eq!(watch.poll(), 1);
        assert_eq!(watch.poll(), 0);
        watch.engine.run_until_idle().unwrap();
        let record = watch.batch(&batch(1, 1).id());
        assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
        let url = record.publish_state().s3_path;
        assert_eq!(url.starts_with("s3://metadata/landing/alpha/"), remote, "{url}");
        assert_eq!(watch.export().lines().count(), 1);
        assert!(!watch.data.path().join("spool/alpha").join(batch(1, 1).folder_name()).exists());
    }
}

#[test]
fn a_batch_and_where_it_was_found_are_one_commit() {
    // A worker takes a batch up as soon as it is there, and brings a remote one
    // by what is remembered of its folder.
    let data = support::folder();
    let counts = data.path().join("counts.json");
    let crash = Arc::new(CrashPoints::new(None, Some(counts.clone())).unwrap());
    let commits = || {
        crash.report().unwrap();
        let counts: serde_json::Value = serde_json::from_slice(&std::fs::read(&counts).unwrap()).unwrap();
        counts["store"].as_u64().unwrap()
    };
    let settings = Settings::defaults(data.path());
    let clock = Arc::new(ManualClock::new(SystemClock::default().now(), 7));
    let engine = Engine::open_with(data.path(), settings.clone(), clock, Arc::clone(&crash)).unwrap();
    let inbox = data.path().join("inbox/alpha");
    std::fs::create_dir_all(&inbox).unwrap();
    for (time, manifest) in [(1, None), (2, Some("{"))] {
        let batch = batch(time, 1);
        let folder = inbox.join(batch.folder_name());
        std::fs::rename(batch.write(&data.path().join("made")), &folder).unwrap();
        if let Some(manifest) = manifest {
            std::fs::write(folder.join("manifest.json"), manifest).unwrap();
        }
        let before = commits();
        assert_eq!(engine.scan_inbox(&settings.inboxes[0]).unwrap(), 1);
        assert_eq!(commits() - before, 1);
        let path = format!("alpha/{}", batch.folder_name());
        let url = settings.inboxes[0].url.as_str();
        let entry = engine.store().read(|view| view.inbox_entry(url, &path)).unwrap().unwrap();
        assert_eq!(entry.state, InboxState::Accepted { batch_id: batch.id().parse().unwrap() });
    }
}

#[test]
fn older_batches_of_a_source_come_first_whatever_the_order_of_the_listing() {
    for remote in [false, true] {
        let watch = Watch::new(remote, |_| {});
        for time in [3, 1, 2] {
            let (path, manifest) = watch.deliver(&batch(time, i64::from(time)));
            watch.put(&path, &manifest);
        }
        assert_eq!(watch.poll(), 3);
        let order: Vec<String> =
            std::iter::from_fn(|| watch.engine.step().unwrap()).map(|id| id.to_string()).collect();
        assert_eq!(order, [1, 2, 3].map(|time| batch(time, 1).id()));
    }
}

#[test]
fn a_folder_that_changes_after_acceptance_is_reported_and_not_read_again() {
    for remote in [false, true] {
        let watch = Watch::new(remote, |_| {});
        let (path, manifest) = watch.deliver(&batch(1, 1));
        watch.put(&path, &manifest);
        watch.poll();
        let file = path.replace("manifest.json", "entities-00000.ndjson");
        watch.put(&file, b"{\"type\":\"t\",\"qualified_name\":\"zz\",\"attributes\":{\"y\":2}}\n");
        assert_eq!(watch.poll(), 0);
        let url = watch.settings.inboxes[0].url.to_string();
        let folder = path.trim_end_matches("/manifest.json").to_owned();
        let entry = watch.engine.store().read(|view| view.inbox_entry(&url, &folder)).unwrap().unwrap();
        assert!(matches!(entry.state, InboxState::Changed { .. }), "{entry:?}");
        watch.engine.run_until_idle().unwrap();
        let record = watch.batch(&batch(1, 1).id());
        assert_eq!(record.status, PublishStatus::Failed);
        let code = record.failure.unwrap().error_code;
        assert!(["BATCH_CHANGED", "BATCH_SIZE_MISMATCH"].contains(&code.as_str()), "{code}");
        assert_eq!(watch.export(), "");
    }
}

#[test]
fn a_marker_or_quiet_time_stand_in_for_a_manifest_and_the_settings_say_the_mode() {
    for remote in [false, true] {
        for complete in [Complete::Marker("_SUCCESS".into()), Complete::Quiet(Duration::from_secs(60))] {
            for mode in [None, Some(Mode::Full)] {
                let watch = Watch::new(remote, |settings| {
                    settings.inboxes[0].complete = complete.clone();
                    settings.sources.entry(SourceId::new("alpha").unwrap()).or_default().mode = mode;
                });
                let (path, _) = watch.deliver(&batch(1, 1));
                assert_eq!(watch.poll(), 0, "{complete:?}");
                match complete {
                    Complete::Marker(_) => watch.put(&path.replace("manifest.json", "_SUCCESS"), b""),
                    Complete::Quiet(_) | Complete::Manifest => watch.clock.advance(Duration::from_secs(120)),
                }
                assert_eq!(watch.poll(), 1, "{complete:?}");
                watch.engine.run_until_idle().unwrap();
                let id = batch(1, 1).id();
                if mode.is_none() {
                    // Held, and said so, until the settings have it.
                    let part = Part::default();
                    let why = "`sources.alpha.mode` is not set";
                    let [shown] = &watch.engine.batches(&BatchQuery::default()).unwrap().items[..] else {
                        panic!("{complete:?}")
                    };
                    assert_eq!((shown.publish_state.status, shown.mode), (PublishStatus::Pending, None));
                    let waits = shown.waits.as_ref().unwrap();
                    assert_eq!(waits.code, WaitCode::SourceHeld);
                    assert!(waits.text.contains("held") && waits.text.contains(why), "{waits:?}");
                    assert_eq!(watch.engine.sources(&part).unwrap().items[0].state, SourceState::Held);
                    let inbox = watch.engine.inbox_view(&part).unwrap();
                    assert_eq!(inbox.items.len(), 1, "{inbox:?}");
                    assert_eq!(inbox.items[0].batch_id.as_ref().map(ToString::to_string), Some(id.clone()));
                    assert!(inbox.items[0].reason.contains(why), "{inbox:?}");
                    // Nor does a copy of its files change what it is.
                    watch.engine.keep_pins().unwrap();
                    let mut settings = watch.settings.clone();
                    let source = settings.sources.get_mut(&SourceId::new("alpha").unwrap()).unwrap();
                    source.mode = Some(Mode::Incremental);
                    watch.engine.reload(&settings).unwrap();
                    watch.engine.run_until_idle().unwrap();
                    let record = watch.batch(&id);
                    assert_eq!(record.mode, Some(Mode::Incremental));
                    watch.clock.advance(Duration::from_secs(5));
                    assert_eq!(watch.engine.inbox_view(&part).unwrap().items, []);
                }
                let record = watch.batch(&id);
                assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
                assert_eq!(watch.export().lines().count(), 1);
            }
        }
    }
}

#[test]
fn a_marker_that_is_still_written_when_it_is_seen_is_no_change_afterwards() {
    for remote in [false, true] {
        let watch = Watch::new(remote, |settings| {
            settings.inboxes[0].complete = Complete::Marker("_SUCCESS".into());
            settings.sources.entry(SourceId::new("alpha").unwrap()).or_default().mode = Some(Mode::Full);
        });
        let (path, _) = watch.deliver(&batch(1, 1));
        let file = |name: &str| path.replace("manifest.json", name);
        watch.put(&file("_SUCCESS"), b"");
        assert_eq!(watch.poll(), 1);
        // Made, and only then filled, as a shell does it.
        watch.put(&file("_SUCCESS"), b"done\n");
        assert_eq!(watch.poll(), 0);
        let items = || {
            watch.clock.advance(Duration::from_secs(5));
            watch.engine.inbox_view(&Part::first(10)).unwrap().items
        };
        assert_eq!(items(), []);
        if remote {
            // What is brought is what was accepted.
            watch.engine.run_until_idle().unwrap();
            assert_eq!(watch.batch(&batch(1, 1).id()).status, PublishStatus::Complete);
        }
        // Whatever the inbox goes by later.
        let mut settings = watch.settings.clone();
        settings.inboxes[0].complete = Complete::Manifest;
        watch.engine.rescan_inbox(&settings.inboxes[0]).unwrap();
        assert_eq!(items(), []);
        watch.put(&file("entities-00000.ndjson"), b"{}\n");
        watch.engine.rescan_inbox(&watch.settings.inboxes[0]).unwrap();
        let items = items();
        assert!(items.len() == 1 && items[0].reason.starts_with("it was changed"), "{items:?}");
    }
}

#[test]
fn a_held_batch_of_an_object_store_outlives_its_objects_and_what_was_brought() {
    let watch = Watch::new(true, |_| {});
    let deliver = |batch: &TestBatch| {
        let (path, manifest) = watch.deliver(batch);
        watch.put(&path, &manifest);
        watch.poll();
        watch.engine.run_until_idle().unwrap();
    };
    let many = (0..20).map(|n| says(entity(&format!("n{n}")), n));
    deliver(&TestBatch::full("alpha", 1).with(many.clone()));
    let held = TestBatch::full("alpha", 2).with(many.take(2));
    deliver(&held);
    assert!(watch.batch(&held.id()).hold.is_some());
    watch.engine.keep_pins().unwrap();
    let told = watch.engine.store().read(|view| view.timeline(&held.id().parse().unwrap())).unwrap();
    assert!(watch.batch(&held.id()).pin.is_some(), "{told:?}");
    let store = watch.store.as_ref().unwrap();
    for file in ["manifest.json", "entities-00000.ndjson", "relationships-00000.ndjson"] {
        let key = Key::from(format!("landing/alpha/{}/{file}", held.folder_name()));
        futures_executor::block_on(store.delete(&key)).unwrap();
    }
    let _ = std::fs::remove_dir_all(watch.data.path().join("spool"));
    watch.poll();
    let id: BatchId = held.id().parse().unwrap();
    // Planned anew: the plan alone would not need the files.
    deliver(&TestBatch::incremental("alpha", 1).with([says(entity("n0"), 0)]));
    watch.engine.approve(&id, None, "ann", "looked at").unwrap();
    watch.engine.run_until_idle().unwrap();
    assert_eq!(watch.batch(&held.id()).status, PublishStatus::Complete);
    assert_eq!(watch.export().lines().count(), 2);
    watch.engine.keep_pins().unwrap();
    assert!(!watch.engine.state().pin_path(&id).exists());
}

#[test]
fn a_batch_that_can_not_be_brought_now_is_tried_again_later_and_holds_up_no_other_source() {
    let watch = Watch::new(true, |_| {});
    let (path, manifest) = watch.deliver(&batch(1, 1));
    watch.put(&path, &manifest);
    let other = TestBatch::full("beta", 1).with([says(entity("b"), 1)]);
    let (other_path, other_manifest) = watch.deliver(&other);
    watch.put(&other_path, &other_manifest);
    watch.poll();
    // The disk has no room where the batch should go: a file is in the way.
    let spool = watch.data.path().join("spool/alpha").join(batch(1, 1).folder_name());
    std::fs::remove_dir_all(&spool).unwrap();
    std::fs::write(&spool, "").unwrap();
    watch.engine.run_until_idle().unwrap();
    let record = watch.batch(&batch(1, 1).id());
    assert_eq!(record.status, PublishStatus::Retrying);
    assert!(record.next_attempt.is_some() && record.failure.is_some());
    assert_eq!(watch.batch(&other.id()).status, PublishStatus::Complete);
    std::fs::remove_file(&spool).unwrap();
    watch.engine.run_until_idle().unwrap();
    assert_eq!(watch.batch(&batch(1, 1).id()).status, PublishStatus::Retrying, "not before its time");
    watch.clock.advance(Duration::from_secs(600));
    watch.engine.run_until_idle().unwrap();
    let record = watch.batch(&batch(1, 1).id());
    assert_eq!((record.status, record.failure), (PublishStatus::Complete, None));
    assert_eq!(watch.export().lines().count(), 2);
}

/// An inbox whose manifest is finished just after a listing has shown it empty.
struct Writing {
    inner: Arc<dyn Prefix>,
    unfinished: std::sync::Mutex<Option<(std::path::PathBuf, Vec<u8>)>>,
}

impl Writing {
    fn finish(&self) {
        if let Some((path, bytes)) = self.unfinished.lock().unwrap().take() {
            std::fs::write(path, bytes).unwrap();
        }
    }
}

impl Prefix for Writing {
    fn folders(&self, folder: &str) -> Result<Vec<String>> {
        self.inner.folders(folder)
    }

    fn objects(&self, folder: &str) -> Result<Vec<Object>> {
        let listed = self.inner.objects(folder);
        self.finish();
        listed
    }

    fn changed(&self, folder: &str) -> Result<Changed> {
        self.inner.changed(folder)
    }

    fn tail(&self, folder: &str, after: &str) -> Result<Vec<(String, Vec<Object>)>> {
        let listed = self.inner.tail(folder, after);
        self.finish();
        listed
    }

    fn listings(&self) -> u64 {
        self.inner.listings()
    }

    fn local(&self, folder: &str) -> Option<std::path::PathBuf> {
        self.inner.local(folder)
    }

    fn url_of(&self, folder: &str) -> String {
        self.inner.url_of(folder)
    }

    fn fetch(&self, folder: &str, object: &Object, to: &std::path::Path, each: Passing<'_>) -> Result<()> {
        self.inner.fetch(folder, object, to, each)
    }
}

#[test]
fn a_manifest_that_grows_while_it_is_read_is_not_taken_for_a_change_afterwards() {
    let mut watch = Watch::new(false, |_| {});
    let (path, manifest) = watch.deliver(&batch(1, 1));
    watch.put(&path, b"");
    let file = watch.data.path().join("inbox").join(&path);
    let unfinished = std::sync::Mutex::new(Some((file, manifest)));
    let prefix = Arc::new(Writing { inner: Arc::clone(&watch.prefix), unfinished });
    let url = watch.settings.inboxes[0].url.clone();
    watch.engine = watch.engine.with_prefix(url.clone(), prefix);
    assert_eq!((watch.poll(), watch.poll(), watch.poll()), (0, 1, 0));
    let folder = path.trim_end_matches("/manifest.json").to_owned();
    let entry = watch.engine.store().read(|view| view.inbox_entry(url.as_str(), &folder)).unwrap().unwrap();
    assert!(matches!(entry.state, InboxState::Accepted { .. }), "{entry:?}");
}

#[test]
fn a_folder_whose_manifest_cant_be_used_says_so_before_it_is_a_failed_batch() {
    let watch = Watch::new(false, |_| {});
    let (path, manifest) = watch.deliver(&batch(1, 1));
    let folder = path.trim_end_matches("/manifest.json");
    let reason = || {
        // A look is shown for a while.
        watch.clock.advance(Duration::from_secs(5));
        let items = watch.engine.inbox_view(&Part::first(10)).unwrap().items;
        assert_eq!((items.len(), &*items[0].folder), (1, folder));
        items[0].reason.clone()
    };
    watch.put(&path, String::from_utf8_lossy(&manifest).replace("\"mode\"", "\"mod\"").as_bytes());
    let told = reason();
    assert!(told.starts_with("it becomes a FAILED batch in a moment") && told.contains("`mode`"), "{told}");
    watch.put(&path, &manifest);
    assert_eq!(reason(), "it is complete, and is accepted at the next look");
}

#[test]
fn without_a_service_no_worker_is_spoken_of() {
    let watch = Watch::new(false, |_| {});
    let (path, manifest) = watch.deliver(&batch(1, 1));
    watch.put(&path, &manifest);
    assert_eq!(watch.poll(), 1);
    let waits = watch.engine.batches(&BatchQuery::default()).unwrap().items[0].waits.clone().unwrap();
    assert_eq!(waits.code, WaitCode::Turn);
    assert!(waits.text.contains("`tidegate serve`") && !waits.text.contains("worker"), "{}", waits.text);
}
