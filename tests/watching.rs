//! Watching inboxes: promptly where the system tells of changes, at a cost
//! that does not grow with what is done, and whatever becomes of the inbox.

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use support::batches::{TestBatch, entity, says};
use support::until;
use tidegate::clock::{Clock, ManualClock, SystemClock};
use tidegate::config::Settings;
use tidegate::domain::ids::{BatchId, SourceId};
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::Mode;
use tidegate::intake::inbox::Complete;
use tidegate::intake::prefix::{Prefix, RemotePrefix};
use tidegate::service::query::Part;
use tidegate::service::{Engine, Service};
use tidegate::store::{BatchFilter, InboxState};
use url::Url;

fn batch(time: u32) -> TestBatch {
    TestBatch::incremental("alpha", time).with([says(entity("a"), i64::from(time))])
}

/// A service on a local inbox, on the machine's own clock.
struct Serving {
    data: tempfile::TempDir,
    engine: Arc<Engine>,
    service: Option<Service>,
    inbox: PathBuf,
}

impl Serving {
    fn new(poll: Duration) -> Self {
        let data = support::folder();
        let mut settings = Settings::defaults(data.path());
        settings.inboxes[0].poll = poll;
        let inbox = data.path().join("inbox");
        let clock = Arc::new(SystemClock::default());
        let engine = Arc::new(Engine::open(data.path(), settings, clock).unwrap());
        let service = Some(Service::start(Arc::clone(&engine)).unwrap());
        Self { data, engine, service, inbox }
    }

    fn made(&self, batch: &TestBatch) -> PathBuf {
        batch.write(&self.data.path().join("made"))
    }

    /// Writes the files of a batch where they belong, one after the other.
    fn deliver(&self, batch: &TestBatch) -> BatchId {
        let (made, folder) = (self.made(batch), self.folder(batch));
        std::fs::create_dir_all(&folder).unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(&made).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort_by_key(|name| name == "manifest.json");
        for name in names {
            std::fs::write(folder.join(&name), std::fs::read(made.join(&name)).unwrap()).unwrap();
        }
        batch.id().parse().unwrap()
    }

    fn folder(&self, batch: &TestBatch) -> PathBuf {
        self.inbox.join(&batch.source).join(batch.folder_name())
    }

    fn is_complete(&self, id: &BatchId) -> bool {
        let batch = self.engine.store().read(|view| view.batch(id)).unwrap();
        batch.is_some_and(|batch| batch.status == PublishStatus::Complete)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(service) = self.service.take() {
            service.stop();
            service.wait().unwrap();
        }
    }
}

const NEVER: Duration = Duration::from_secs(24 * 3600);

#[test]
fn a_local_batch_is_published_when_its_manifest_appears_without_waiting_for_the_next_look() {
    let serving = Serving::new(NEVER);
    until("the first look", || {
        serving.engine.listings(&serving.engine.settings().inboxes[0].url).unwrap() > 0
    });
    // A new source; a second folder of it; one that is moved in as a whole.
    for time in [1, 2] {
        let id = serving.deliver(&batch(time));
        until("publishing", || serving.is_complete(&id));
    }
    let moved = batch(3);
    std::fs::rename(serving.made(&moved), serving.folder(&moved)).unwrap();
    until("publishing", || serving.is_complete(&moved.id().parse().unwrap()));
}

#[test]
fn a_manifest_that_is_still_written_is_waited_for() {
    let serving = Serving::new(NEVER);
    let late = batch(1);
    let (made, folder) = (serving.made(&late), serving.folder(&late));
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let manifest = std::fs::read(made.join("manifest.json")).unwrap();
    std::fs::write(made.join("manifest.json"), &manifest[..manifest.len() / 2]).unwrap();
    let url = serving.engine.settings().inboxes[0].url.clone();
    until("the first look", || serving.engine.listings(&url).unwrap() > 0);
    // Counted from here: the looks may be over before this thread goes on.
    let before = serving.engine.listings(&url).unwrap();
    std::fs::rename(&made, &folder).unwrap();
    until("a few looks", || serving.engine.listings(&url).unwrap() > before + 3);
    std::fs::write(folder.join("manifest.json"), manifest).unwrap();
    until("publishing", || serving.is_complete(&late.id().parse().unwrap()));
}

#[test]
fn a_folder_whose_marker_is_touched_is_not_taken_for_changed() {
    let data = support::folder();
    let mut settings = Settings::defaults(data.path());
    settings.inboxes[0].poll = Duration::from_millis(20);
    settings.inboxes[0].complete = Complete::Marker("_SUCCESS".into());
    settings.sources.entry(SourceId::new("alpha").unwrap()).or_default().mode = Some(Mode::Incremental);
    let inbox = data.path().join("inbox/alpha");
    std::fs::create_dir_all(&inbox).unwrap();
    let engine = Engine::open(data.path(), settings.clone(), Arc::new(SystemClock::default())).unwrap();
    let service = Service::start(Arc::new(engine)).unwrap();
    let (engine, url) = (service.engine(), settings.inboxes[0].url.to_string());
    for time in 0..3 {
        let name = batch(time).folder_name();
        let entry = || engine.store().read(|view| view.inbox_entry(&url, &format!("alpha/{name}"))).unwrap();
        let folder = inbox.join(&name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("entities-00000.ndjson"), "").unwrap();
        // Made, and only then given its time and closed: `touch`, slowly.
        let marker = std::fs::File::create(folder.join("_SUCCESS")).unwrap();
        until("acceptance", || entry().is_some());
        let times = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        marker.set_times(times).unwrap();
        drop(marker);
        let listings = engine.listings(&settings.inboxes[0].url).unwrap();
        until("more looks", || engine.listings(&settings.inboxes[0].url).unwrap() > listings + 4);
        let entry = entry().unwrap();
        assert!(matches!(entry.state, InboxState::Accepted { .. }), "{entry:?}");
    }
    service.stop();
    service.wait().unwrap();
}

#[test]
fn an_inbox_that_goes_away_and_comes_back_is_looked_into_again() {
    let serving = Serving::new(Duration::from_millis(50));
    let first = serving.deliver(&batch(1));
    until("publishing", || serving.is_complete(&first));
    let away = serving.data.path().join("away");
    let mut events = serving.engine.events().subscribe();
    std::fs::rename(&serving.inbox, &away).unwrap();
    until("its absence", || events.try_recv().is_ok_and(|event| event.batch_id.is_none()));
    // What comes while it is away is found when it is back.
    let second = batch(2);
    std::fs::rename(serving.made(&second), away.join("alpha").join(second.folder_name())).unwrap();
    std::fs::rename(&away, &serving.inbox).unwrap();
    let id: BatchId = second.id().parse().unwrap();
    until("publishing", || serving.is_complete(&id));
    let third = serving.deliver(&batch(3));
    until("publishing", || serving.is_complete(&third));
}

#[test]
fn other_inboxes_are_watched_when_the_settings_say_so() {
    let serving = Serving::new(NEVER);
    let mut settings = (*serving.engine.settings()).clone();
    let other = serving.data.path().join("other");
    settings.inboxes[0].url = Url::from_directory_path(&other).unwrap();
    let file = serving.data.path().join("tidegate.toml");
    std::fs::write(&file, format!("[[inbox]]\nurl = {:?}\npoll = \"1h\"\n", other.display().to_string()))
        .unwrap();
    let options = tidegate::config::LoadOptions {
        data: Some(serving.data.path().to_owned()),
        ..tidegate::config::LoadOptions::default()
    };
    let service = serving.service.as_ref().unwrap();
    service.reload(&options).unwrap();
    let made = serving.made(&batch(1));
    std::fs::create_dir_all(other.join("alpha")).unwrap();
    std::fs::rename(made, other.join("alpha").join(batch(1).folder_name())).unwrap();
    until("publishing", || serving.is_complete(&batch(1).id().parse().unwrap()));
    // Settings with anything wrong in them are refused as a whole.
    std::fs::write(&file, "[sources.alpha]\nimportance = 7\nprecedense = 1\n").unwrap();
    let error = service.reload(&options).unwrap_err();
    assert!(error.to_string().contains("did you mean `precedence`"), "{error}");
    assert_eq!(serving.engine.settings().inboxes[0].url, settings.inboxes[0].url);
}

#[test]
fn links_and_names_that_are_not_utf8_are_not_followed_and_are_listed_with_their_reason() {
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::symlink;

    let serving = Serving::new(NEVER);
    until("the first look", || {
        serving.engine.listings(&serving.engine.settings().inboxes[0].url).unwrap() > 0
    });
    let bad_name = |name: &[u8]| std::ffi::OsString::from_vec(name.to_vec());
    let known = serving.deliver(&batch(1));
    until("publishing", || serving.is_complete(&known));
    // A source, a batch and a manifest that lie elsewhere.
    let elsewhere = serving.data.path().join("elsewhere");
    let source = TestBatch { source: "linked".into(), ..batch(1) };
    std::fs::create_dir_all(&elsewhere).unwrap();
    std::fs::rename(serving.made(&source), elsewhere.join(source.folder_name())).unwrap();
    symlink(&elsewhere, serving.inbox.join("linked")).unwrap();
    let folder = batch(2);
    symlink(serving.made(&folder), serving.folder(&folder)).unwrap();
    let manifest = batch(3);
    let made = serving.made(&manifest);
    std::fs::create_dir_all(serving.folder(&manifest)).unwrap();
    symlink(made.join("manifest.json"), serving.folder(&manifest).join("manifest.json")).unwrap();
    std::fs::create_dir(serving.inbox.join(bad_name(b"s\xff"))).unwrap();
    std::fs::create_dir(serving.inbox.join("alpha").join(bad_name(b"b\xff"))).unwrap();
    std::fs::create_dir(serving.folder(&batch(4))).unwrap();
    // Behind all that something is published, so it was looked at.
    let last = serving.deliver(&batch(5));
    until("publishing", || serving.is_complete(&last));

    let batches = serving.engine.store().read(|view| view.batches(&BatchFilter::default())).unwrap();
    let ids: Vec<String> = batches.iter().map(|batch| batch.batch_id.to_string()).collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    let listed = serving.engine.inbox_view(&Part::first(50)).unwrap().items;
    let told = |folder: &str, reason: &str| {
        let item = listed.iter().find(|item| item.folder == folder);
        let item = item.unwrap_or_else(|| panic!("{folder} is not in {listed:#?}"));
        assert!(item.reason.contains(reason), "{item:?}");
        assert!(item.age_seconds < 3600, "{item:?}");
    };
    let below = |batch: &TestBatch| format!("{}/{}", batch.source, batch.folder_name());
    told("linked", "link");
    told(&below(&folder), "link");
    told(&below(&manifest), "its manifest.json can't be used: it is a link");
    told("s\u{fffd}", "UTF-8");
    told("alpha/b\u{fffd}", "UTF-8");
    told(&below(&batch(4)), "it has no manifest.json");
    assert_eq!(listed.len(), 6, "{listed:#?}");
}

// What a look costs

/// An engine on an inbox with finished batches in it: a folder, or an object store.
struct Finished {
    data: tempfile::TempDir,
    engine: Engine,
    settings: Settings,
    clock: Arc<ManualClock>,
    store: Option<Arc<InMemory>>,
}

impl Finished {
    /// So many folders were looked at and are done with: their manifests are
    /// no manifests.
    fn new(remote: bool, count: u32) -> Self {
        let data = support::folder();
        let mut settings = Settings::defaults(data.path());
        if remote {
            settings.inboxes[0].url = "s3://metadata/landing/".parse().unwrap();
        }
        // Long after everything that the test writes.
        let clock = SystemClock::default().now() + jiff::SignedDuration::from_hours(1);
        let clock = Arc::new(ManualClock::new(clock, 7));
        let store = remote.then(|| Arc::new(InMemory::new()));
        let url = settings.inboxes[0].url.clone();
        let mut engine =
            Engine::open(data.path(), settings.clone(), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        if let Some(store) = &store {
            let prefix: Arc<dyn Prefix> =
                Arc::new(RemotePrefix::new(Arc::clone(store) as Arc<dyn ObjectStore>, url.clone()).unwrap());
            engine = engine.with_prefix(url, prefix);
        }
        let finished = Self { data, engine, settings, clock, store };
        for n in 0..count {
            let name = format!("alpha/202511{:02}T{:02}{:02}00Z_r", 1 + n / 1440, n / 60 % 24, n % 60);
            finished.put(&format!("{name}/manifest.json"), b"{");
        }
        assert_eq!(finished.look(), (count as usize, finished.listings()));
        finished.look();
        finished
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

    fn remove(&self, path: &str) {
        match &self.store {
            Some(store) => {
                let key = Key::from(format!("landing/{path}"));
                futures_executor::block_on(store.delete(&key)).unwrap();
            }
            None => std::fs::remove_file(self.data.path().join("inbox").join(path)).unwrap(),
        }
    }

    fn deliver(&self, batch: &TestBatch) {
        let made = batch.write(&self.data.path().join("made"));
        for name in ["entities-00000.ndjson", "relationships-00000.ndjson", "manifest.json"] {
            if let Ok(bytes) = std::fs::read(made.join(name)) {
                self.put(&format!("alpha/{}/{name}", batch.folder_name()), &bytes);
            }
        }
    }

    fn listings(&self) -> u64 {
        self.engine.listings(&self.settings.inboxes[0].url).unwrap()
    }

    /// New batches, and the requests made so far.
    fn look(&self) -> (usize, u64) {
        (self.engine.scan_inbox(&self.settings.inboxes[0]).unwrap(), self.listings())
    }

    /// New batches of the next look, and what it costs.
    fn cost(&self) -> (usize, u64) {
        let before = self.listings();
        let (new, after) = self.look();
        (new, after - before)
    }
}

#[test]
fn a_look_costs_the_same_with_many_finished_batches_as_with_few() {
    for remote in [false, true] {
        let costs: Vec<Vec<(usize, u64)>> = [10, 1500]
            .map(|count| {
                let finished = Finished::new(remote, count);
                let mut costs = vec![finished.cost()];
                finished.deliver(&batch(5000));
                costs.push(finished.cost());
                // It is not done with, so it is compared.
                costs.push(finished.cost());
                finished.engine.run_until_idle().unwrap();
                finished.look();
                costs.push(finished.cost());
                costs
            })
            .into();
        // The inbox; of a folder what is unfinished in it, with a second look
        // at what becomes a batch, for its files may still grow; of an object
        // store what lies behind all that is finished.
        let expected =
            if remote { vec![(0, 2), (1, 2), (0, 2), (0, 2)] } else { vec![(0, 1), (1, 4), (0, 2), (0, 1)] };
        assert_eq!(costs[0], expected, "{remote}");
        assert_eq!(costs[1], costs[0], "{remote}");
    }
}

#[test]
fn what_was_done_before_a_restart_costs_nothing_after_it() {
    let finished = Finished::new(false, 1000);
    let Finished { data, engine, settings, clock, .. } = finished;
    drop(engine);
    let engine = Engine::open(data.path(), settings.clone(), clock).unwrap();
    let url = &settings.inboxes[0].url;
    assert_eq!(engine.scan_inbox(&settings.inboxes[0]).unwrap(), 0);
    assert_eq!(engine.listings(url).unwrap(), 2, "the inbox, and its one source");
}

#[test]
fn a_late_batch_of_an_object_store_is_found_by_the_next_full_look() {
    let finished = Finished::new(true, 10);
    finished.deliver(&batch(40));
    assert_eq!(finished.look().0, 1);
    finished.engine.run_until_idle().unwrap();
    finished.look();
    finished.look();
    // Older than what is done with.
    finished.deliver(&batch(5));
    assert_eq!(finished.look().0, 0, "the listing begins behind it");
    let service = Service::start(Arc::new(finished.engine)).unwrap();
    let id: BatchId = batch(5).id().parse().unwrap();
    until("the full look", || service.engine().store().read(|view| view.batch(&id)).unwrap().is_some());
    service.stop();
    service.wait().unwrap();
}

#[test]
fn a_folder_that_changes_while_its_batch_waits_is_reported_once() {
    for remote in [false, true] {
        let finished = Finished::new(remote, 3);
        finished.deliver(&batch(10));
        assert_eq!(finished.look().0, 1);
        let folder = format!("alpha/{}", batch(10).folder_name());
        finished.put(&format!("{folder}/more.ndjson"), b"{}");
        finished.look();
        let url = finished.settings.inboxes[0].url.to_string();
        let entry = finished.engine.store().read(|view| view.inbox_entry(&url, &folder)).unwrap().unwrap();
        let InboxState::Changed { batch_id } = &entry.state else { panic!("{entry:?}") };
        // Once, where one looks for the batch.
        let timeline = finished.engine.store().read(|view| view.timeline(batch_id)).unwrap();
        let told = timeline.iter().filter(|entry| entry.cause.starts_with("the folder was changed"));
        assert_eq!(told.count(), 1, "{timeline:?}");
        assert_eq!(
            finished.engine.store().read(|view| view.batches(&BatchFilter::default())).unwrap().len(),
            4
        );
    }
}

#[test]
fn a_folder_that_changes_after_its_batch_has_ended_is_reported_by_a_full_look() {
    for remote in [false, true] {
        let finished = Finished::new(remote, 3);
        let batches: Vec<TestBatch> = (10..15).map(batch).collect();
        batches.iter().for_each(|batch| finished.deliver(batch));
        assert_eq!(finished.look().0, 5);
        finished.engine.run_until_idle().unwrap();
        finished.look();
        let folder = |n: usize| format!("alpha/{}", batches[n].folder_name());
        finished.put(&format!("{}/entities-00000.ndjson", folder(0)), b"{\"another\":1}\n");
        finished.put(&format!("{}/manifest.json", folder(1)), b"{}");
        finished.put(&format!("{}/more.ndjson", folder(2)), b"{}");
        finished.remove(&format!("{}/manifest.json", folder(3)));
        // One that failed is mended where it lies; one that is cleared says nothing.
        let failed = "alpha/20251101T000000Z_r".to_owned();
        finished.put(&format!("{failed}/manifest.json"), b"{\"mended\":true}");
        for name in ["entities-00000.ndjson", "relationships-00000.ndjson", "manifest.json"] {
            finished.remove(&format!("{}/{name}", folder(4)));
        }
        let url = finished.settings.inboxes[0].url.to_string();
        let service = Service::start(Arc::new(finished.engine)).unwrap();
        let changed = |path: &str| {
            let entry = service.engine().store().read(|view| view.inbox_entry(&url, path)).unwrap();
            matches!(entry.unwrap().state, InboxState::Changed { .. })
        };
        for n in 0..4 {
            until("the report", || changed(&folder(n)));
        }
        assert_eq!([folder(4), failed].map(|path| changed(&path)), [false, false]);
        service.stop();
        service.wait().unwrap();
    }
}
