//! What lies in an inbox and can't be taken hides nothing else, and is listed
//! with the reason: keys that are no paths, folders that can't be listed, and
//! batches that were put in the wrong place.

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use support::batches::{TestBatch, entity, says};
use support::bucket::{self, Objects};
use tidegate::clock::{Clock, ManualClock, SystemClock};
use tidegate::config::Settings;
use tidegate::domain::ids::SourceId;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::Mode;
use tidegate::error::{Error, ErrorKind, Result};
use tidegate::intake::inbox::Complete;
use tidegate::intake::prefix::{Changed, Listing, Object, Passing, Prefix, RemotePrefix};
use tidegate::service::Engine;
use tidegate::service::query::Part;
use tidegate::service::views::{InboxFolderState, InboxFolderView};
use tidegate::store::BatchFilter;

/// An engine that watches one inbox: a local folder, or `P/` of a bucket.
struct Watch {
    data: tempfile::TempDir,
    clock: Arc<ManualClock>,
    engine: Engine,
    settings: Settings,
    objects: Option<Objects>,
    prefix: Arc<dyn Prefix>,
}

impl Watch {
    fn new(remote: bool, change: impl FnOnce(&mut Settings)) -> Self {
        let data = support::folder();
        let mut settings = Settings::defaults(data.path());
        if remote {
            settings.inboxes[0].url = "s3://metadata/P/".parse().unwrap();
        }
        change(&mut settings);
        let clock = Arc::new(ManualClock::new(SystemClock::default().now(), 7));
        let url = settings.inboxes[0].url.clone();
        let objects = remote.then(Objects::default);
        let prefix: Arc<dyn Prefix> = match &objects {
            Some(objects) => Arc::new(RemotePrefix::in_pages(bucket::client(objects), url.clone()).unwrap()),
            None => tidegate::intake::prefix::open(&url).unwrap(),
        };
        let engine = Engine::open(data.path(), settings.clone(), Arc::clone(&clock) as Arc<dyn Clock>)
            .unwrap()
            .with_prefix(url, Arc::clone(&prefix));
        Self { data, clock, engine, settings, objects, prefix }
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        match &self.objects {
            Some(objects) => drop(objects.lock().unwrap().insert(format!("P/{path}"), bytes.to_vec())),
            None => {
                let path = self.data.path().join("inbox").join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
        }
    }

    /// Puts the files of a batch into a folder of the inbox, the manifest last.
    fn deliver(&self, batch: &TestBatch, folder: &str) {
        let made: PathBuf = batch.write(&self.data.path().join("made"));
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(&made).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort_by_key(|file| file.ends_with("manifest.json"));
        for file in files {
            let name = file.file_name().unwrap().to_string_lossy();
            self.put(&format!("{folder}/{name}"), &std::fs::read(&file).unwrap());
        }
    }

    fn bring(&self, batch: &TestBatch) {
        self.deliver(batch, &format!("{}/{}", batch.source, batch.folder_name()));
    }

    fn poll(&self) -> usize {
        self.engine.scan_inbox(&self.settings.inboxes[0]).unwrap()
    }

    fn published(&self) -> usize {
        self.engine.run_until_idle().unwrap();
        let batches = self.engine.store().read(|view| view.batches(&BatchFilter::default())).unwrap();
        batches.iter().filter(|batch| batch.status == PublishStatus::Complete).count()
    }

    fn items(&self) -> Vec<InboxFolderView> {
        // A look is shown for a while.
        self.clock.advance(Duration::from_secs(5));
        self.engine.inbox_view(&Part::first(50)).unwrap().items
    }

    /// What is said of the folders that are not accepted: all of them are listed here.
    #[track_caller]
    fn expect(&self, state: InboxFolderState, told: &[(&str, &str)]) {
        let items = self.items();
        for (folder, reason) in told {
            let item = items.iter().find(|item| item.folder == *folder);
            let item = item.unwrap_or_else(|| panic!("{folder:?} is not in {items:#?}"));
            assert!(item.reason.contains(reason) && item.state == state, "{item:?}");
            assert!(item.age_seconds < 365 * 24 * 3600, "{item:?}");
        }
        assert_eq!(items.len(), told.len(), "{items:#?}");
    }

    /// State and text of the doctor's check of the inbox.
    fn doctor(&self) -> String {
        self.clock.advance(Duration::from_secs(5));
        let checks = serde_json::to_value(self.engine.examine(true).unwrap()).unwrap();
        let checks = checks["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["check"].as_str().unwrap().starts_with("inbox "))
            .unwrap()
            .to_string()
    }
}

fn batch(source: &str, time: u32) -> TestBatch {
    let batch = TestBatch::incremental("alpha", time).with([says(entity("a"), i64::from(time))]);
    TestBatch { source: source.into(), ..batch }
}

#[test]
fn one_odd_key_hides_no_other_and_is_listed_with_its_reason() {
    let watch = Watch::new(true, |_| {});
    for key in [
        "/x",
        "shop//20261120T010000Z_x/e",
        "shop/../y",
        "shop/./a/b",
        "shop/\u{1}bad/20261120T010000Z_x/manifest.json",
        "shop/line\nbreak",
        ".hidden/20261120T010000Z_x/manifest.json",
        "ä/20261120T010000Z_x/manifest.json",
        "bad%00/20261120T010000Z_x/manifest.json",
        "x y/20261120T010000Z_x/manifest.json",
    ] {
        watch.put(key, b"{}");
    }
    watch.bring(&batch("shop", 1));
    watch.bring(&batch("other", 1));
    assert_eq!(watch.poll(), 2);
    assert_eq!(watch.published(), 2);
    let (empty, dots, control) =
        ("an empty part: rename it", "`.` or `..`: rename it", "control characters: rename it");
    watch.expect(
        InboxFolderState::Ignored,
        &[
            ("/", empty),
            ("shop//", empty),
            ("shop/..", dots),
            ("shop/.", dots),
            ("shop/\\u{1}bad", control),
            ("shop/line\\nbreak", control),
            (".hidden", "begins with a dot"),
            ("ä/20261120T010000Z_x", "source_id"),
            ("bad%00/20261120T010000Z_x", "source_id"),
            ("x y/20261120T010000Z_x", "source_id"),
        ],
    );
    let doctor = watch.doctor();
    assert!(doctor.contains("warning") && doctor.contains("9 are ignored"), "{doctor}");

    // What is done with lies before the mark; from here on the listing has no folders.
    watch.poll();
    for key in ["shop/2026", "shop/30\u{1}/a/b", "shop/30/a//b", "shop/30/../b", "shop/40//"] {
        watch.put(key, b"");
    }
    watch.bring(&batch("shop", 2));
    assert_eq!(watch.poll(), 1);
    assert_eq!(watch.published(), 3);
}

#[test]
fn odd_keys_among_many_are_got_over_and_cost_nothing_where_there_are_none() {
    let watch = Watch::new(true, |_| {});
    let mut names: Vec<String> = (0..2500).map(|n| format!("n{n:04}")).collect();
    names.iter().for_each(|name| watch.put(&format!("many/{name}/f"), b""));
    watch.put("few/a/f", b"");
    let cost = |folder: &str| {
        let before = watch.prefix.listings();
        let mut folders = watch.prefix.folders(folder).unwrap();
        folders.sort();
        (folders, watch.prefix.listings() - before)
    };
    assert_eq!(cost("few"), (vec!["a".to_owned()], 1));
    assert_eq!(cost("many"), (names.clone(), 3));
    for key in ["n0000\u{1}/f", "n0999\u{1}/f", "n0999\u{2}/f", "n1000\u{1}", "n2499\u{1}/f", "/f", "0/f"] {
        watch.put(&format!("many/{key}"), b"");
    }
    names.insert(0, "0".to_owned());
    let (found, requests) = cost("many");
    assert_eq!(found, names);
    assert!(requests < 80, "{requests}");
    let odd = watch.prefix.unusable("many").unwrap();
    assert_eq!(odd.len(), 6, "{odd:?}");
    let tail = watch.prefix.tail("many", "n0998").unwrap();
    let tail: Vec<String> = tail.into_iter().map(|(name, _)| name).collect();
    assert_eq!(tail, names[1000..]);
}

#[test]
fn a_data_file_that_cant_be_read_is_never_left_out_unseen() {
    let watch = Watch::new(true, |settings| {
        settings.inboxes[0].complete = Complete::Marker("_SUCCESS".into());
        for source in ["shop", "other"] {
            settings.sources.entry(SourceId::new(source).unwrap()).or_default().mode = Some(Mode::Full);
        }
    });
    let line = b"{\"type\":\"t\",\"qualified_name\":\"a\",\"attributes\":{}}\n";
    for source in ["shop", "other"] {
        for name in ["entities-0.ndjson", "_SUCCESS"] {
            watch.put(&format!("{source}/20261120T010000Z_r/{name}"), line);
        }
    }
    watch.put("shop/20261120T010000Z_r/entities-\u{1}.ndjson", line);
    assert_eq!(watch.poll(), 1);
    assert_eq!(watch.published(), 1);
    let why = "its entities-\\u{1}.ndjson can't be used: its key has control characters";
    watch.expect(InboxFolderState::Waiting, &[("shop/20261120T010000Z_r", why)]);
}

#[test]
fn what_is_not_read_by_its_name_keeps_a_folder_without_a_manifest_back() {
    let watch = Watch::new(true, |settings| {
        settings.inboxes[0].complete = Complete::Marker("_SUCCESS".into());
        settings.sources.entry(SourceId::new("shop").unwrap()).or_default().mode = Some(Mode::Full);
    });
    let line = b"{\"type\":\"t\",\"qualified_name\":\"a\",\"attributes\":{}}\n";
    let unread = ["entities-1.jsonl", "part-00000.json", "sub/entities-1.ndjson"];
    for (n, other) in unread.iter().chain(&["_stats", "_sub/part"]).enumerate() {
        for name in ["entities-0.ndjson", "_SUCCESS", *other] {
            watch.put(&format!("shop/20261120T0{n}0000Z_r/{name}"), line);
        }
    }
    assert_eq!(watch.poll(), 2);
    let waiting: Vec<(String, String)> = unread
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let name = name.split_once('/').map_or(*name, |(folder, _)| folder);
            (format!("shop/20261120T0{n}0000Z_r"), format!("its {name} would not be read"))
        })
        .collect();
    let waiting: Vec<(&str, &str)> =
        waiting.iter().map(|(path, why)| (path.as_str(), why.as_str())).collect();
    watch.expect(InboxFolderState::Waiting, &waiting);
}

/// A prefix with a folder that can't be listed.
struct Refusing {
    inner: Arc<dyn Prefix>,
    folder: &'static str,
}

impl Prefix for Refusing {
    fn folders(&self, folder: &str) -> Result<Vec<String>> {
        Ok(self.listing(folder)?.folders)
    }

    fn objects(&self, folder: &str) -> Result<Vec<Object>> {
        Ok(self.listing(folder)?.objects)
    }

    fn listing(&self, folder: &str) -> Result<Listing> {
        if folder == self.folder {
            return Err(Error::new(ErrorKind::ObjectStore, "nobody may look"));
        }
        self.inner.listing(folder)
    }

    fn changed(&self, folder: &str) -> Result<Changed> {
        self.inner.changed(folder)
    }

    fn tail(&self, folder: &str, after: &str) -> Result<Vec<(String, Vec<Object>)>> {
        self.inner.tail(folder, after)
    }

    fn listings(&self) -> u64 {
        self.inner.listings()
    }

    fn local(&self, folder: &str) -> Option<PathBuf> {
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
fn a_folder_of_a_source_that_cant_be_listed_is_told_of() {
    let mut watch = Watch::new(false, |_| {});
    watch.bring(&batch("shop", 1));
    watch.bring(&batch("other", 1));
    let prefix = Arc::new(Refusing { inner: Arc::clone(&watch.prefix), folder: "shop" });
    watch.engine = watch.engine.with_prefix(watch.settings.inboxes[0].url.clone(), prefix);
    assert_eq!(watch.poll(), 1);
    watch.expect(InboxFolderState::Waiting, &[("shop", "it can't be listed, and nothing in it is taken")]);
    let doctor = watch.doctor();
    assert!(doctor.contains("warning") && doctor.contains("1 can't be listed, such as shop"), "{doctor}");
}

#[test]
fn batches_in_the_wrong_place_are_listed_with_the_right_one() {
    for remote in [false, true] {
        let watch = Watch::new(remote, |_| {});
        let bare = batch("shop", 1).folder_name();
        watch.deliver(&batch("shop", 1), &bare);
        watch.deliver(&batch("shop", 1), "shop");
        watch.put("manifest.json", b"{}");
        watch.put("README", b"what lies beside is nobody's business");
        watch.put("shop/README", b"neither here");
        // A source may be called like that.
        let named = "20261120T010000Z_source";
        watch.bring(&batch(named, 2));
        assert_eq!(watch.poll(), 1);
        assert_eq!(watch.published(), 1);
        watch.expect(
            InboxFolderState::Ignored,
            &[
                (&bare, "it lies in no source's folder: put it into <source>/"),
                ("shop", "put it into shop/<YYYYMMDDTHHMMSSZ>_<run_id>/"),
                ("manifest.json", "put it into <source>/<YYYYMMDDTHHMMSSZ>_<run_id>/"),
            ],
        );
        assert!(watch.doctor().contains("3 are ignored"));
    }
}

#[test]
fn hidden_folders_are_listed_and_the_doctor_does_not_mind_them() {
    for remote in [false, true] {
        let watch = Watch::new(remote, |_| {});
        let folder = batch("shop", 1).folder_name();
        watch.deliver(&batch("shop", 1), &format!(".tmp/{folder}"));
        watch.deliver(&batch("shop", 1), &format!("shop/.{folder}"));
        watch.put(".file", b"");
        assert_eq!(watch.poll(), 0);
        let why = "its name begins with a dot";
        watch.expect(InboxFolderState::Ignored, &[(".tmp", why), (&format!("shop/.{folder}"), why)]);
        let doctor = watch.doctor();
        assert!(doctor.contains("\"ok\""), "{doctor}");
    }
}
