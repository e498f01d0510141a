//! Commands that only look make nothing, and say what is missing and what
//! brings it back: a data directory without anything, a store that is lost or
//! damaged, a state folder that is away.

mod support;

use std::path::Path;

use serde_json::Value;
use support::batches::{TestBatch, entity, says};
use support::shell::Shell;

const ID: &str = "alpha:20261101T000100Z_r1";

/// Every command that looks, and that does something with what is there.
const LOOKS: &[&[&str]] = &[
    &["batches", "list"],
    &["batches", "show", ID],
    &["batches", "wait", ID],
    &["batches", "watch"],
    &["dlq", "list"],
    &["dlq", "groups"],
    &["dlq", "show", "1"],
    &["dlq", "edit", "1", "--check"],
    &["inbox", "list"],
    &["sources", "list"],
    &["sources", "show", "alpha"],
    &["sources", "skips", "alpha"],
    &["snapshots", "list"],
    &["targets", "list"],
    &["targets", "check"],
    &["issues", "list"],
    &["catalogue", "get", "t", "a"],
    &["catalogue", "search", "a"],
    &["catalogue", "export"],
    &["why", "t", "a"],
    &["batches", "approve", ID],
    &["batches", "retry", ID],
    &["dlq", "requeue", "1", "--yes"],
    &["dlq", "discard", "1", "--yes", "--reason", "known"],
    &["issues", "lift", "1"],
    &["sources", "unskip", "alpha", "t", "a"],
];

fn batch(time: u32, names: &[&str]) -> TestBatch {
    TestBatch::full("alpha", time).with(names.iter().map(|name| says(entity(name), i64::from(time))))
}

/// What lies in a folder, by name.
fn listing(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn check<'a>(view: &'a Value, name: &str) -> &'a Value {
    let checks = view["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["check"].as_str().unwrap().starts_with(name));
    found.unwrap_or_else(|| panic!("{name} is not in {view:#}"))
}

fn published() -> Shell {
    let shell = Shell::new();
    shell.settings("");
    shell.expect(0, &["publish", &shell.write(&batch(1, &["a"]))]);
    shell
}

#[test]
fn looking_at_nothing_makes_nothing_and_says_what_to_run() {
    for settings in [false, true] {
        let shell = Shell::new();
        if settings {
            shell.settings("[sources.alpha]\n");
        }
        let before = listing(&shell.data());
        for command in LOOKS {
            let error = shell.refused(1, command);
            let says = |text: &str| assert!(error.contains(text), "{command:?}: {text}: {error}");
            says("DATA_MISSING");
            says("data");
            says("tidegate serve");
            says("tidegate publish");
            assert!(!error.contains("recover"), "{command:?}: {error}");
        }
        let found = shell.json(0, &["doctor"]);
        let store = check(&found, "store");
        assert_eq!(store["status"], "warning", "{store:#}");
        assert!(store["mend"].as_str().unwrap().contains("tidegate serve"), "{store:#}");
        shell.expect(0, &["config", "check"]);
        assert_eq!((shell.data().exists(), listing(&shell.data())), (settings, before));
    }
}

#[test]
fn a_plan_without_a_data_directory_is_made_and_leaves_nothing_behind() {
    for settings in [false, true] {
        let shell = Shell::new();
        if settings {
            shell.settings("[targets.other]\nkind = \"embedded\"\n[sources.alpha]\ntarget = \"other\"\n");
        }
        let before = listing(&shell.data());
        let scratch = shell.folder.path().join("scratch");
        std::fs::create_dir(&scratch).unwrap();
        let folder = shell.write(&batch(1, &["a"]));
        let output = shell.command(&["plan", &folder]).env("TMPDIR", &scratch).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("+ t a"));
        assert_eq!((shell.data().exists(), listing(&shell.data())), (settings, before));
        assert_eq!(listing(&scratch), Vec::<String>::new());
        shell.expect(0, &["publish", &folder]);
        shell.expect(0, &["plan", &folder]);
    }
}

#[test]
fn a_lost_store_is_not_made_anew_by_whoever_comes_first() {
    let shell = published();
    let file = shell.data().join("tidegate.redb");
    let state = shell.data().join("state").display().to_string();
    let next = shell.write(&batch(2, &["b"]));
    for empty in [false, true] {
        std::fs::remove_file(&file).unwrap();
        if empty {
            std::fs::write(&file, "").unwrap();
        }
        let before = listing(&shell.data());
        let writes: &[&[&str]] = &[
            &["plan", &next],
            &["publish", &next],
            &["serve"],
            &["sources", "pause", "alpha"],
            &["issues", "declare", "--source", "alpha", "--note", "known"],
        ];
        for command in LOOKS.iter().chain(writes) {
            let error = shell.refused(1, command);
            assert!(error.contains("tidegate.redb"), "{command:?}: {error}");
            assert!(error.contains("tidegate recover --state"), "{command:?}: {error}");
        }
        let found = shell.json(1, &["doctor"]);
        let wrong = found["checks"].as_array().unwrap().iter().find(|check| check["status"] == "error");
        assert!(wrong.unwrap()["mend"].as_str().unwrap().contains("tidegate recover"), "{found:#}");
        assert_eq!(listing(&shell.data()), before);
        if empty {
            std::fs::remove_file(&file).unwrap();
        }
        shell.expect(0, &["recover", "--state", &state]);
        shell.expect(0, &["catalogue", "get", "t", "a"]);
    }
    shell.expect(0, &["publish", &next]);
}

#[test]
fn a_damaged_store_is_told_with_what_makes_a_new_one() {
    let shell = published();
    let file = shell.data().join("tidegate.redb");
    let good = std::fs::read(&file).unwrap();
    let cut = |share: usize| good[..good.len() * share / 100].to_vec();
    let mut torn = good.clone();
    torn[4096..].iter_mut().for_each(|byte| *byte ^= 0x5a);
    let damaged = [b"no database".to_vec(), vec![b'x'; 50_000], good[..100].to_vec(), cut(50), cut(99), torn];
    for (n, bytes) in damaged.iter().enumerate() {
        std::fs::write(&file, bytes).unwrap();
        for command in [&["batches", "list"][..], &["plan", &shell.write(&batch(2, &["b"]))]] {
            let error = shell.refused(1, command);
            let says = |text: &str| assert!(error.contains(text), "{n}: {text}: {error}");
            says("STORE_DAMAGED");
            says(&file.display().to_string());
            says("tidegate recover");
            says("state folder");
        }
        let found = shell.json(1, &["doctor"]);
        assert!(check(&found, "store")["mend"].as_str().unwrap().contains("tidegate recover"), "{found:#}");
    }
    std::fs::rename(&file, shell.data().join("damaged")).unwrap();
    let state = shell.data().join("state").display().to_string();
    shell.expect(0, &["recover", "--state", &state]);
    shell.expect(0, &["catalogue", "get", "t", "a"]);
}

#[test]
fn a_state_folder_that_is_away_is_told_and_not_made_anew() {
    let shell = published();
    let (state, away) = (shell.data().join("state"), shell.data().join("away"));
    let look = || {
        let found = shell.json(1, &["doctor"]);
        let found = check(&found, "state");
        assert_eq!(found["status"], "error", "{found:#}");
        assert!(found["found"].as_str().unwrap().contains(&state.display().to_string()), "{found:#}");
        assert!(found["mend"].as_str().unwrap().contains("`state.url`"), "{found:#}");
        shell.expect(0, &["batches", "list"]);
        shell.expect(0, &["catalogue", "get", "t", "a"]);
    };
    std::fs::rename(&state, &away).unwrap();
    look();
    assert!(!state.exists());
    let next = shell.write(&batch(2, &["b"]));
    for command in [&["publish", &next][..], &["plan", &next], &["serve"]] {
        let error = shell.refused(1, command);
        assert!(error.contains("STATE_MISSING") && error.contains("`state.url`"), "{error}");
        assert!(!state.exists(), "{command:?}");
    }
    // The place that it is mounted at.
    std::fs::create_dir(&state).unwrap();
    look();
    assert_eq!(listing(&state), Vec::<String>::new());
    std::fs::remove_dir(&state).unwrap();
    std::fs::rename(&away, &state).unwrap();
    shell.json(0, &["doctor"]);
    // Under a server.
    let server = shell.serve();
    std::fs::rename(&state, &away).unwrap();
    look();
    assert!(!state.exists());
    std::fs::rename(&away, &state).unwrap();
    shell.json(0, &["doctor"]);
    server.stop();
}

#[test]
fn the_file_of_a_catalogue_that_is_gone_is_told_and_not_made_anew() {
    let shell = published();
    let file = shell.data().join("catalogue.redb");
    std::fs::rename(&file, shell.data().join("away")).unwrap();
    let before = listing(&shell.data());
    let found = shell.json(1, &["doctor"]);
    let found = check(&found, "target catalogue");
    assert_eq!(found["status"], "error", "{found:#}");
    assert!(found["found"].as_str().unwrap().contains("catalogue.redb"), "{found:#}");
    shell.expect(0, &["batches", "list"]);
    shell.expect(0, &["targets", "list"]);
    let error = shell.refused(1, &["catalogue", "get", "t", "a"]);
    assert!(error.contains("catalogue.redb"), "{error}");
    assert_eq!(listing(&shell.data()), before);
    // One that nothing was published to yet is no failure.
    std::fs::rename(shell.data().join("away"), &file).unwrap();
    shell.settings("[targets.catalogue]\nkind = \"embedded\"\n[targets.next]\nkind = \"embedded\"\n");
    let found = shell.json(0, &["doctor"]);
    assert_eq!(check(&found, "target next")["status"], "ok", "{found:#}");
    assert_eq!(
        listing(&shell.data()),
        before
            .iter()
            .map(|name| name.replace("away", "catalogue.redb"))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
}
