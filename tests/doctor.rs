//! `tidegate doctor`, its archive, `recover` and `sources skip`, as a person
//! runs them: with a server, without one, and when something is wrong.

mod support;

use std::path::Path;

use serde_json::Value;
use support::batches::{TestBatch, entity, says};
use support::shell::{Shell, unpack};

fn batch(time: u32, names: &[&str]) -> TestBatch {
    TestBatch::full("alpha", time).with(names.iter().map(|name| says(entity(name), i64::from(time))))
}

fn check<'a>(view: &'a Value, name: &str) -> &'a Value {
    let checks = view["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["check"].as_str().unwrap().starts_with(name));
    found.unwrap_or_else(|| panic!("{name} is not in {view:#}"))
}

#[test]
fn all_is_well_with_a_server_and_without_one() {
    let shell = Shell::new();
    shell.settings("");
    shell.expect(0, &["publish", &shell.write(&batch(1, &["a"]))]);
    let look = || {
        let view = shell.json(0, &["doctor"]);
        for name in [
            "settings",
            "versions",
            "store",
            "state",
            "inbox file:",
            "target catalogue",
            "sources",
            "dead letters",
            "clock",
            "disk of",
        ] {
            let found = check(&view, name);
            assert_eq!((found["status"].as_str(), &found["mend"]), (Some("ok"), &Value::Null), "{found:#}");
        }
        assert!(["ok", "warning"].contains(&check(&view, "time zone")["status"].as_str().unwrap()));
        check(&view, "store")["found"].as_str().unwrap().to_owned()
    };
    assert!(look().contains("held by this command"));
    let server = shell.serve();
    let found = look();
    assert!(found.contains(&format!("held by a server, process {}", server.process.id())), "{found}");
    let text = shell.expect(0, &["doctor"]);
    assert!(text.contains("CHECK") && text.contains("store"), "{text}");
    server.stop();
    // The probe is gone.
    assert_eq!(std::fs::read_dir(shell.data().join("state/tmp")).unwrap().count(), 0);
}

#[test]
fn a_server_reads_its_store_at_most_every_ten_minutes_however_many_ask() {
    let server = support::server::Server::new();
    let told = || check(&server.fetch("/api/v1/doctor"), "store")["found"].as_str().unwrap().to_owned();
    let before = told();
    assert!(before.contains("records could be read at 2026-11-24 00:00:00 UTC"), "{before}");
    server.publish(&batch(1, &["a", "b"]));
    server.clock.advance(std::time::Duration::from_secs(599));
    assert_eq!(records(&told()), records(&before));
    server.clock.advance(std::time::Duration::from_secs(1));
    assert_ne!(records(&told()), records(&before));
}

/// What was read, and when; the file may have grown meanwhile.
fn records(found: &str) -> &str {
    &found[found.find("all ").unwrap()..]
}

#[test]
fn what_is_wrong_is_told_with_what_mends_it() {
    // Settings.
    let shell = Shell::new();
    shell.settings("[service]\nworker = 2\n");
    let view = shell.json(1, &["doctor"]);
    let found = check(&view, "settings");
    assert_eq!(found["status"], "error");
    assert!(found["found"].as_str().unwrap().contains("did you mean `workers`?"), "{found:#}");
    assert!(found["mend"].as_str().unwrap().contains("tidegate config check"));
    // What is wrong with a cron expression is told.
    shell.settings("[[sources.alpha.maintenance]]\ncron = \"61 * * * *\"\nduration = \"1h\"\n");
    let view = shell.json(1, &["doctor"]);
    let found = check(&view, "settings")["found"].as_str().unwrap();
    let wrong = found.split("is no cron expression: ").nth(1).unwrap_or_else(|| panic!("{found}"));
    assert!(wrong.len() > 10 && !wrong.contains("failed to parse"), "{found}");
    // An inbox, and too little room.
    let away = shell.folder.path().join("away/inbox");
    shell.settings(&format!(
        "[service]\nmin_free = \"9000000GiB\"\n[[inbox]]\nurl = \"{}\"\n",
        away.display()
    ));
    let view = shell.json(1, &["doctor"]);
    for (name, mend) in [("inbox", "`inbox.url`"), ("disk of data directory", "`service.min_free`")] {
        let found = check(&view, name);
        assert_eq!(found["status"], "error", "{found:#}");
        assert!(found["mend"].as_str().unwrap().contains(mend), "{found:#}");
    }
    let text = shell.expect(1, &["doctor"]);
    assert!(text.contains("What to do:") && text.contains("ERROR"), "{text}");
    // A store that can't be opened.
    shell.settings("");
    shell.expect(0, &["publish", &shell.write(&batch(1, &["a"]))]);
    std::fs::write(shell.data().join("tidegate.redb"), "no database").unwrap();
    let view = shell.json(1, &["doctor"]);
    assert_eq!(check(&view, "store")["status"], "error");
    assert_eq!(check(&view, "inbox")["status"], "ok");
    // A state folder of another data directory.
    let other = Shell::new();
    other.settings(&format!("[state]\nurl = \"{}\"\n", shell.data().join("state").display()));
    let view = other.json(1, &["doctor"]);
    let found = check(&view, "state");
    assert!(found["found"].as_str().unwrap().contains("belongs to the data directory"), "{found:#}");
    assert!(found["mend"].as_str().unwrap().contains("state URL of its own"), "{found:#}");
    // A server that was named and does not answer.
    let view = shell.json(1, &["--server", "http://127.0.0.1:1", "doctor"]);
    assert_eq!(check(&view, "server")["status"], "error");
}

#[test]
fn a_source_that_is_held_is_a_warning_with_the_command_that_shows_it() {
    let shell = Shell::new();
    shell.settings("[sources.alpha]\n");
    shell.expect(0, &["sources", "pause", "alpha", "--reason", "moving"]);
    let view = shell.json(0, &["doctor"]);
    let found = check(&view, "source alpha");
    assert_eq!(found["status"], "warning");
    assert!(found["mend"].as_str().unwrap().contains("tidegate sources resume alpha"), "{found:#}");
}

#[test]
fn a_source_that_a_failed_batch_holds_is_told_how_it_goes_on_without_that_one() {
    let shell = Shell::new();
    let folder = shell.write(&TestBatch::incremental("alpha", 1).with([says(entity("a"), 1)]));
    std::fs::remove_file(Path::new(&folder).join("entities-00000.ndjson")).unwrap();
    shell.expect(1, &["publish", &folder]);
    let next = shell.write(&TestBatch::incremental("alpha", 2).with([says(entity("b"), 1)]));
    shell.expect(5, &["publish", &next]);
    let view = shell.json(0, &["doctor"]);
    let mend = check(&view, "source alpha")["mend"].as_str().unwrap().to_owned();
    assert!(mend.contains("tidegate dlq discard 1 goes on without that batch"), "{mend}");
    assert!(
        mend.contains("tidegate sources resume alpha without any batch of the source that failed"),
        "{mend}"
    );
    shell.expect(0, &["--yes", "dlq", "discard", "1", "--reason", "it is not wanted"]);
    shell.expect(0, &["publish", &next]);
    let view = shell.json(0, &["doctor"]);
    assert_eq!(check(&view, "sources")["status"], "ok");
}

#[test]
fn the_archive_has_what_is_needed_and_no_secret_and_no_attribute_value() {
    let shell = Shell::new();
    let secret_file = shell.folder.path().join("secret");
    std::fs::write(&secret_file, "planted-in-a-file\n").unwrap();
    shell.settings(&format!(
        "[[webhook]]\nurl = \"http://127.0.0.1:1/planted-in-a-path?planted-in-a-query=1\"\nsecret_file = \"{}\"\n",
        secret_file.display()
    ));
    let settings = std::fs::read_to_string(shell.data().join("tidegate.toml")).unwrap();
    let more = "[[webhook]]\nurl = \"http://127.0.0.1:1/\"\nsecret_env = \"HOOK\"\n";
    std::fs::write(shell.folder.path().join("more.toml"), settings + more).unwrap();
    let mut valued = batch(1, &[]);
    let value = [("x".to_owned(), serde_json::json!("planted-as-a-value"))].into();
    valued.lines.push(support::batches::Line::Value(entity("a"), value, 0));
    shell.expect(0, &["publish", &shell.write(&valued)]);
    let cut = shell.write(&TestBatch::full("gamma", 5).with([says(entity("b"), 1)]));
    std::fs::write(Path::new(&cut).join("entities-00000.ndjson"), "").unwrap();
    shell.expect(1, &["publish", &cut]);
    let log = shell.folder.path().join("server.log");
    std::fs::write(&log, "INFO started\nWARN planted-as-a-key was refused by planted-as-a-password and planted-in-a-variable\n").unwrap();
    let bundle = |name: &str| {
        let mut command = shell.command(&[
            "--json",
            "--config",
            "more.toml",
            "doctor",
            "bundle",
            "--out",
            name,
            "--log",
            log.to_str().unwrap(),
        ]);
        command
            .env("HOOK", "planted-in-a-variable")
            .env("AWS_SECRET_ACCESS_KEY", "planted-as-a-key")
            .env("HTTPS_PROXY", "http://ann:planted-as-a-password@proxy:3128/")
            .env("AWS_REGION", "eu-central-1");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        unpack(&shell.folder.path().join(name))
    };
    let offline = bundle("one.tar.gz");
    let server = shell.serve();
    let online = bundle("two.tar.gz");
    server.stop();
    for files in [&offline, &online] {
        let text = |name: &str| {
            let found = files.iter().find(|(path, _)| path.ends_with(name));
            &found.unwrap_or_else(|| panic!("{name} is missing")).1
        };
        for (name, text) in files {
            assert!(!text.contains("planted"), "{name}: {text}");
        }
        let doctor: Value = serde_json::from_str(text("/doctor.json")).unwrap();
        assert!(doctor["checks"].as_array().unwrap().len() > 6);
        assert!(text("/settings.toml").contains("[[webhook]]"));
        assert!(text("/environment.json").contains("AWS_SECRET_ACCESS_KEY"));
        assert!(text("/batches.json").contains("BATCH_SIZE_MISMATCH"));
        assert!(text("/sources.json").contains("alpha"));
        assert!(text("/log.txt").contains("INFO started"));
        assert!(files.iter().any(|(name, _)| name.contains("/timelines/alpha_")));
    }
    assert!(offline.iter().any(|(name, text)| name.ends_with("/store.json") && text.contains("\"batches\"")));
    // It is nobody else's to read, and is not written over.
    use std::os::unix::fs::PermissionsExt;
    let path = shell.folder.path().join("one.tar.gz");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    shell.refused(1, &["doctor", "bundle", "--out", "one.tar.gz"]);
    // Several of one second have names of their own.
    let named: std::collections::BTreeSet<String> =
        (0..3).map(|_| shell.json(0, &["doctor", "bundle"])["bundle"].to_string()).collect();
    assert_eq!(named.len(), 3);
}

#[test]
fn a_lost_store_is_recovered_on_the_command_line() {
    let shell = Shell::new();
    shell.settings("");
    shell.expect(0, &["publish", &shell.write(&batch(1, &["a", "b"]))]);
    let state = shell.data().join("state").display().to_string();
    let error = shell.refused(1, &["recover", "--state", &state]);
    assert!(error.contains("move it away first"), "{error}");
    std::fs::remove_file(shell.data().join("tidegate.redb")).unwrap();
    let error = shell.refused(64, &["recover", "--state", &shell.folder.path().display().to_string()]);
    assert!(error.contains("set `state.url`"), "{error}");
    let text = shell.expect(0, &["recover", "--state", &state]);
    assert!(text.contains("alpha") && text.contains("Not recovered: the history of batches"), "{text}");
    assert_eq!(shell.json(0, &["snapshots", "list"])["items"].as_array().unwrap().len(), 1);
    let published = shell.json(0, &["publish", &shell.write(&batch(2, &["a"]))]);
    assert_eq!(published["status"], "COMPLETE");
    assert_eq!(published["metrics"]["entities_deleted"], 1);
}

#[test]
fn keys_are_skipped_and_lifted_with_a_server_and_without_one() {
    let shell = Shell::new();
    shell.settings("");
    shell.expect(0, &["publish", &shell.write(&batch(1, &["a", "b"]))]);
    let skip = |shell: &Shell| {
        let text = shell.expect(
            0,
            &["sources", "skip", "alpha", "t", "a*", "--reason", "known to be bad", "--until", "7d", "--yes"],
        );
        assert!(text.contains("known to be bad") && text.contains("a*"), "{text}");
        let list = shell.json(0, &["sources", "skips", "alpha"]);
        assert_eq!((&list[0]["type"], &list[0]["name"]), (&"t".into(), &"a*".into()));
        assert!(shell.expect(0, &["sources", "show", "alpha"]).contains("skips"));
    };
    skip(&shell);
    let published = shell.expect(0, &["publish", &shell.write(&batch(2, &["a", "b"]))]);
    assert!(published.contains("COMPLETE"), "{published}");
    let shown = shell.expect(0, &["batches", "show", &batch(2, &[]).id()]);
    assert!(shown.contains("skipped"), "{shown}");
    let why = shell.json(0, &["why", "t", "a"]);
    assert_eq!(why["verdict"]["code"], "skipped");
    assert!(why["verdict"]["text"].as_str().unwrap().contains("known to be bad"), "{why:#}");
    let plan = shell.json(2, &["plan", &shell.write(&batch(3, &["a", "b"]))]);
    assert_eq!(
        (&plan["summary"]["entities"]["skipped"], &plan["summary"]["entities"]["update"]),
        (&1.into(), &1.into())
    );
    shell.expect(0, &["sources", "unskip", "alpha", "t", "a*"]);
    assert!(shell.expect(0, &["sources", "skips", "alpha"]).contains("skips nothing"));
    let error = shell.refused(1, &["sources", "unskip", "alpha", "t", "a*"]);
    assert!(error.contains("it skips nothing"), "{error}");
    let error = shell.refused(64, &["sources", "skip", "alpha", "t", "a"]);
    assert!(error.contains("--reason"), "{error}");
    let error =
        shell.refused(64, &["sources", "skip", "alpha", "t", "a", "--reason", "x", "--until", "soon"]);
    assert!(error.contains("--until soon"), "{error}");
    let server = shell.serve();
    skip(&shell);
    shell.expect(0, &["sources", "unskip", "alpha", "t", "a*"]);
    shell.refused(1, &["sources", "skip", "nobody", "t", "a", "--reason", "x", "--yes"]);
    server.stop();
}

#[test]
fn what_waits_for_somebody_is_told_with_the_command_that_goes_on() {
    // A batch that failed and holds its source.
    let shell = Shell::new();
    shell.settings("");
    shell.expect(0, &["publish", &shell.write(&batch(1, &["a"]))]);
    let next = TestBatch::incremental("alpha", 2).with([says(entity("b"), 1)]);
    let folder = shell.write(&next);
    std::fs::write(Path::new(&folder).join("entities-00000.ndjson"), "").unwrap();
    shell.expect(1, &["publish", &folder]);
    let view = shell.json(0, &["doctor"]);
    let found = check(&view, "open dead letters");
    assert_eq!((&found["status"], &found["mend"]), (&"warning".into(), &"tidegate dlq groups".into()));
    assert!(found["found"].as_str().unwrap().contains("1 are not settled"), "{found:#}");
    assert!(found["found"].as_str().unwrap().contains("BATCH_SIZE_MISMATCH of source alpha"), "{found:#}");
    let mend = check(&view, "source alpha")["mend"].as_str().unwrap();
    assert!(mend.starts_with("tidegate dlq show 1,") && mend.contains("tidegate dlq requeue 1"), "{mend}");
    assert!(!shell.expect(0, &["doctor"]).contains("All is well"));

    // A catalogue that is another one than was published to.
    std::fs::remove_file(shell.data().join("catalogue.redb")).unwrap();
    let other = Shell::new();
    other.settings("");
    other.expect(0, &["publish", &other.write(&batch(1, &["c"]))]);
    std::fs::copy(other.data().join("catalogue.redb"), shell.data().join("catalogue.redb")).unwrap();
    let view = shell.json(1, &["doctor"]);
    let mend = check(&view, "target catalogue")["mend"].as_str().unwrap();
    assert!(mend.contains("Restore both from the same time"), "{mend}");
}

#[test]
fn a_webhook_that_takes_nothing_is_told() {
    let shell = Shell::new();
    // Nobody answers there.
    shell.settings("[[webhook]]\nurl = \"http://127.0.0.1:9/planted\"\n");
    let server = shell.serve();
    shell.bring(&batch(1, &["a"]));
    shell.expect(0, &["batches", "wait", &batch(1, &[]).id(), "--timeout", "60s"]);
    let told = |view: &Value| {
        let checks = view["checks"].as_array().unwrap();
        checks.iter().find(|check| check["check"] == "webhook 0").cloned()
    };
    let mut looks = (0..100).filter_map(|_| {
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        told(&shell.json(0, &["doctor"]))
    });
    let found = looks.next().unwrap();
    assert_eq!(found["status"], "warning");
    assert!(found["mend"].as_str().unwrap().contains("`webhook[0].url`"), "{found:#}");
    assert!(!found.to_string().contains("planted"), "{found:#}");
    server.stop();
}

#[test]
fn a_store_that_failed_is_told_of_once_with_what_to_do() {
    let world = support::world::World::new();
    let engine = world.engine();
    // Such a write is never committed, and nothing is written after it.
    let failed = engine.store().write(|_| -> tidegate::error::Result<()> { panic!("on purpose") });
    failed.unwrap_err();
    let checks = engine.examine(true).unwrap().checks;
    let told: Vec<_> =
        checks.iter().filter(|check| check.found.contains("tidegate.redb") && check.mend.is_some()).collect();
    assert_eq!(told.len(), 1, "{checks:#?}");
    assert_eq!(told[0].check, "store");
    let mend = told[0].mend.as_deref().unwrap();
    assert!(mend.contains("make room") && mend.contains("start Tidegate again"), "{mend}");
    // What could not be looked at is neither well nor wrong.
    for gone in ["inbox", "target", "source", "dead letters", "clock"] {
        assert!(checks.iter().all(|check| !check.check.starts_with(gone)), "{gone}: {checks:#?}");
    }
    assert!(engine.stopping(), "whoever waits for work learns of it");
    assert!(engine.not_ready()[0].contains("start Tidegate again"));
}
