//! What is wrong with the settings, as a person reads it: a line for each
//! problem, with the line of the file that it is about; and what does not
//! need the settings at all.

mod support;

use std::time::Duration;

use serde_json::Value;
use support::batches::{Line, TestBatch, entity, says};
use support::shell::Shell;
use tidegate::clock::{Clock, SystemClock};

const SEVERAL: &str = "[sources.alpha]\nprecedence = \"low\"\n\n[sources.beta]\nimportance = 5\nprecedence = \"high\"\n\
[sources.beta.guards]\ndelete_ratio = 7\n[sources.gamma.guards]\ndelete_ratio = 8\n[service]\nworker = 1\n\
[[webhook]]\nurl = \"http://127.0.0.1:1/\"\ntimeout = 1\n[[webhook]]\nurl = \"http://127.0.0.1:2/\"\ntimeout = 2\n\
[sources.delta]\nguards = { delete_ratio = 9 }\n[[webhook]]\ntimeout = \"5s\"\n";

/// Lines of the file, of which the first two are the server's.
const PLACES: [(&str, usize); 9] = [
    ("`sources.alpha.precedence`", 4),
    ("`sources.beta.precedence`", 8),
    ("`sources.beta.guards.delete_ratio`", 10),
    ("`sources.gamma.guards.delete_ratio`", 12),
    ("`service.worker`", 14),
    ("`webhook[0].timeout`", 17),
    ("`webhook[1].timeout`", 20),
    ("`sources.delta.guards.delete_ratio`", 22),
    ("`webhook[2].url`", 23),
];

#[test]
fn every_problem_of_the_settings_is_a_line_with_its_own_place() {
    let shell = Shell::new();
    shell.settings(SEVERAL);
    let checked = shell.expect(64, &["config", "check"]);
    let told = shell.refused(64, &["publish", "x"]);
    let looked = shell.expect(1, &["doctor"]);
    for text in [&checked, &told, &looked] {
        assert!(!text.contains("\\u{a}"), "{text}");
        for (key, line) in PLACES {
            let found: Vec<&str> = text.lines().filter(|line| line.contains(key)).collect();
            assert_eq!(found.len(), 1, "{key}: {text}");
            assert!(found[0].contains(&format!("tidegate.toml:{line}: {key}")), "{line}: {}", found[0]);
        }
    }
    assert_eq!(checked.lines().count(), PLACES.len(), "{checked}");
    // Where a value came from is its own line too.
    shell.settings("[sources.alpha]\nprecedence = 1\n[sources.beta]\nprecedence = 2\n");
    let shown = shell.expect(0, &["config", "show"]);
    let line =
        |value: &str| shown.lines().find(|line| line.starts_with(value)).unwrap_or_default().to_owned();
    assert!(line("precedence = 1").ends_with("tidegate.toml:4"), "{shown}");
    assert!(line("precedence = 2").ends_with("tidegate.toml:6"), "{shown}");
}

#[test]
fn a_server_is_found_by_who_can_not_read_its_settings() {
    let shell = Shell::new();
    shell.settings("[[webhook]]\nurl = \"http://127.0.0.1:1/\"\nsecret_env = \"ONLY_THERE\"\n");
    let mut command = shell.command(&["serve"]);
    command.env("ONLY_THERE", "a secret of the server");
    let server = shell.serve_with(command);
    assert!(shell.expect(0, &["batches", "list"]).contains("BATCH"));
    shell.expect(0, &["sources", "list"]);
    let watched = shell.refused(1, &["publish", &shell.write(&TestBatch::full("alpha", 1))]);
    assert!(watched.contains(&server.url), "{watched}");
    // What counts is what the server reads.
    let settings = |view: &Value| {
        let all = view["checks"].as_array().unwrap().iter().filter(|check| check["check"] == "settings");
        all.cloned().collect::<Vec<Value>>()
    };
    let found = settings(&shell.json(0, &["doctor"]));
    assert_eq!((found.len(), &found[0]["status"]), (1, &"ok".into()), "{found:#?}");
    let asked = || -> Value {
        let answer = reqwest::blocking::get(format!("{}api/v1/doctor", server.url)).unwrap();
        answer.json().unwrap()
    };
    let found = settings(&asked());
    assert_eq!((found.len(), &found[0]["status"]), (1, &"ok".into()), "{found:#?}");
    // A file that would be refused at the next start.
    shell.settings("[service]\nworker = 2\n");
    let found = settings(&asked());
    assert_eq!(found[0]["status"], "error", "{found:#?}");
    let text = found[0]["found"].as_str().unwrap();
    assert!(text.contains("tidegate.toml:4: `service.worker`"), "{text}");
    assert!(found[0]["mend"].as_str().unwrap().contains("SIGHUP"), "{found:#?}");
    assert_eq!(settings(&shell.json(1, &["doctor"])).len(), 1);
    // One that is valid and was not read yet.
    shell.settings("[sources.alpha]\nimportance = 7\n");
    let found = settings(&asked());
    assert_eq!(found[0]["status"], "warning", "{found:#?}");
    assert!(found[0]["found"].as_str().unwrap().contains("sources.alpha.importance"), "{found:#?}");
    server.stop();
}

#[test]
fn long_names_do_not_widen_a_table() {
    let shell = Shell::new();
    let long = "n".repeat(10_000);
    let lines = [says(entity(&long), 1), says(entity("a"), 1), Line::BadKeyed(entity(&format!("bad{long}")))];
    shell.expect(4, &["publish", &shell.write(&TestBatch::full("alpha", 1).with(lines))]);
    let bad = TestBatch::incremental("beta", 2).with([Line::BadKeyed(entity("b"))]);
    shell.expect(4, &["publish", &shell.write(&bad)]);
    for command in [&["catalogue", "search"][..], &["dlq", "list", "--state", "all"]] {
        let text = shell.expect(0, command);
        let widest = text.lines().filter(|line| !line.contains("nnnn")).map(str::len).max().unwrap();
        assert!(widest < 400, "{command:?}: {widest}");
    }
    // Whoever reads it with a program gets all of it.
    let found = shell.json(0, &["dlq", "list", "--state", "all"]).to_string();
    assert!(found.contains(&long));
    assert!(shell.expect(0, &["catalogue", "search"]).contains(&long));
}

#[test]
fn an_inbox_that_is_gone_is_a_reason_though_the_service_works() {
    let shell = Shell::new();
    let place = shell.folder.path().join("mount/inbox");
    std::fs::create_dir_all(&place).unwrap();
    shell.settings(&format!("[[inbox]]\nurl = \"{}\"\npoll = \"100ms\"\n", place.display()));
    let server = shell.serve();
    let asked = || {
        let answer = reqwest::blocking::get(format!("{}readyz", server.url)).unwrap();
        (answer.status().as_u16(), answer.json::<Value>().unwrap())
    };
    let (status, body) = asked();
    assert_eq!((status, &body["degraded"]), (200, &serde_json::json!([])), "{body:#}");
    let read = |path: &str| {
        let asked = reqwest::blocking::Client::new().get(format!("{}{path}", server.url));
        asked.header("accept", "text/html").send().unwrap().text().unwrap()
    };
    assert!(!read("").contains("be looked into"));
    let gauge = |value: u8| format!("tidegate_inbox_lost{{inbox=\"file://{}/\"}} {value}\n", place.display());
    assert!(read("metrics").contains(&gauge(0)));
    std::fs::rename(shell.folder.path().join("mount"), shell.folder.path().join("away")).unwrap();
    let until = |degraded: bool| {
        for _ in 0..100 {
            let seen = asked();
            if seen.1["degraded"].as_array().unwrap().is_empty() != degraded {
                return seen;
            }
            SystemClock::default().sleep(Duration::from_millis(100));
        }
        panic!("it is not told: {:#}", asked().1);
    };
    let (status, body) = until(true);
    assert_eq!((status, &body["ready"]), (200, &Value::Bool(true)), "{body:#}");
    let text = body["degraded"][0].as_str().unwrap();
    assert!(text.contains("mount/inbox") && text.contains("not there"), "{body:#}");
    // The overview tells it, with the time since when; the page of inboxes does not say what it can't know.
    let overview: Value = serde_json::from_str(&read("api/v1/overview")).unwrap();
    let lost = &overview["lost_inboxes"][0];
    assert!(lost["url"].as_str().unwrap().contains("mount/inbox"), "{lost}");
    assert!(lost["error"].as_str().unwrap().contains("not there"), "{lost}");
    let since = lost["since"].as_str().unwrap();
    let page = read("");
    for words in ["Can’t be looked into", "mount/inbox/", "href=\"/inbox\"", since, "Needs a person"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(read("metrics").contains(&gauge(1)));
    let page = read("inbox");
    assert!(page.contains("not known") && !page.contains("very folder was accepted"), "{page}");
    std::fs::rename(shell.folder.path().join("away"), shell.folder.path().join("mount")).unwrap();
    until(false);
    let overview: Value = serde_json::from_str(&read("api/v1/overview")).unwrap();
    assert_eq!(overview["lost_inboxes"], serde_json::json!([]));
    assert!(read("metrics").contains(&gauge(0)));
    server.stop();
}

/// What a server says when it reads its settings again, `after` those `before`.
fn told_on_reload(before: &str, after: &str) -> Vec<String> {
    let shell = Shell::new();
    shell.settings(before);
    let server = shell.serve();
    shell.settings(after);
    server.signal(rustix::process::Signal::HUP);
    let url = format!("{}api/v1/doctor", server.url);
    let until = SystemClock::default();
    loop {
        let view: Value = reqwest::blocking::get(&url).unwrap().json().unwrap();
        let checks = view["checks"].as_array().unwrap();
        let soon = |check: &Value| check["found"].as_str().unwrap().contains("not in force yet");
        if !checks.iter().any(soon) {
            break;
        }
        assert!(until.monotonic() < Duration::from_secs(20), "{view}");
        until.sleep(Duration::from_millis(20));
    }
    let (_, log) = server.stop_with_log();
    log.lines().filter(|line| line.contains("a setting changed")).map(str::to_owned).collect()
}

#[test]
fn a_new_source_is_told_by_what_the_file_says_of_it() {
    let told = told_on_reload(
        "[sources.gone]\nimportance = 3\n",
        "[sources.alpha]\nimportance = 7\n[sources.beta]\n[targets.catalogue]\n",
    );
    let keys = ["sources.alpha.importance", "sources.beta", "sources.gone.importance"];
    assert_eq!(told.len(), keys.len(), "{told:#?}");
    for key in keys {
        assert!(told.iter().any(|line| line.contains(&format!("key=\"{key}\""))), "{key}: {told:#?}");
    }
    assert!(told[0].contains("(not set)") && told[0].contains("new=\"7\""), "{told:#?}");
}

#[test]
fn a_reload_tells_of_a_target_s_url_no_more_than_its_host() {
    let target =
        |path: &str| format!("[targets.catalogue]\nkind = \"http\"\nurl = \"http://127.0.0.1:9/{path}/\"\n");
    let told = told_on_reload(&target("s3cret-one"), &target("s3cret-two"));
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("targets.catalogue.url") && told[0].contains("http://127.0.0.1:9"), "{told:#?}");
    assert!(!told[0].contains("s3cret"), "{told:#?}");
}

#[test]
fn every_inbox_has_its_own_lines() {
    let shell = Shell::new();
    shell.settings(
        "[[inbox]]\nurl = \"one\"\npoll = \"3s\"\n\n[[inbox]]\nurl = \"two\"\nrescan = \"5m\"\ncomplete = \"marker:_OK\"\n",
    );
    let shown = shell.expect(0, &["config", "show"]);
    let parts: Vec<&str> = shown.split("[[inbox]]").skip(1).collect();
    assert_eq!(parts.len(), 2, "{shown}");
    let origin = |part: usize, key: &str| -> String {
        let line = parts[part].lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
        let origin = line.rsplit_once("# ").unwrap().1;
        origin.rsplit_once(':').map_or(origin, |(_, line)| line).to_owned()
    };
    let origins = |part: usize| ["url", "poll", "rescan", "complete"].map(|key| origin(part, key));
    assert_eq!(origins(0), ["4", "5", "default", "default"], "{shown}");
    assert_eq!(origins(1), ["8", "default", "9", "10"], "{shown}");
}

#[test]
fn a_batch_without_a_mode_is_held_where_it_can_be_seen_until_the_setting_is_read() {
    let inbox = "[[inbox]]\nurl = \"in\"\npoll = \"50ms\"\ncomplete = \"marker:_SUCCESS\"\n";
    let with_mode = format!("{inbox}[sources.alpha]\nmode = \"full\"\n");
    for restart in [false, true] {
        let shell = Shell::new();
        shell.settings(inbox);
        let batch = TestBatch::full("alpha", 1).with([says(entity("a"), 1)]);
        let made = shell.write(&batch);
        let folder = shell.data().join("in/alpha").join(batch.folder_name());
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["entities-00000.ndjson", "relationships-00000.ndjson"] {
            std::fs::copy(std::path::Path::new(&made).join(name), folder.join(name)).unwrap();
        }
        std::fs::write(folder.join("_SUCCESS"), "").unwrap();
        let server = shell.serve();
        // A missing setting settles it: nothing happens by itself.
        let clock = SystemClock::default();
        while !shell.expect(0, &["batches", "list"]).contains("`sources.alpha.mode` is not set") {
            assert!(clock.monotonic() < Duration::from_secs(20));
            clock.sleep(Duration::from_millis(20));
        }
        let list = shell.expect(0, &["batches", "list"]);
        assert!(list.contains("PENDING") && list.contains("held"), "{list}");
        assert!(shell.expect(0, &["inbox", "list"]).contains("`sources.alpha.mode` is not set"));
        assert!(shell.expect(0, &["sources", "list"]).contains("held"));
        shell.settings(&with_mode);
        let server = if restart {
            assert_eq!(server.stop().code(), Some(0));
            shell.serve()
        } else {
            server.signal(rustix::process::Signal::HUP);
            server
        };
        shell.expect(0, &["batches", "wait", &batch.id(), "--timeout", "20s"]);
        assert_eq!(server.stop().code(), Some(0));
    }
}

#[test]
fn a_size_that_nothing_works_with_is_refused_and_not_changed_in_silence() {
    for (text, why) in [
        ("[limits]\nmax_line = 10\n", "at least \"1KiB\""),
        ("[limits]\nmax_line = \"2GiB\"\n", "at most \"1GiB\""),
        ("[planning]\nsort_memory = 0\n", "at least \"1MiB\""),
        ("[limits]\nmax_file = 0\n", "at least \"1KiB\""),
        ("[limits]\nmax_expansion = 0\n", "whole number from 1 to"),
        ("[planning]\nthreads = 257\n", "whole number from 0 to 256"),
        ("[planning]\nmax_layers = 0\n", "whole number from 1 to 64"),
        ("[planning]\nsmallest_base = 0\n", "whole number from 1 to"),
        ("[publishing]\nmax_changes = 0\n", "whole number from 1 to"),
        ("[priority]\nhalf_life = \"0s\"\n", "at least \"1s\""),
        ("[[inbox]]\nurl = \"in\"\npoll = \"0s\"\n", "at least \"10ms\""),
        ("[[inbox]]\nurl = \"\"\n", "`inbox[0].url` must not be empty"),
        ("[state]\nurl = \" \"\n", "`state.url` must not be empty"),
        ("[targets.t]\nkind = \"embedded\"\npath = \"\"\n", "`targets.t.path` must not be empty"),
        ("[[inbox]]\nurl = \"in\"\nrescan = \"0s\"\n", "at least \"1s\""),
        ("[[webhook]]\nurl = \"http://127.0.0.1:9/\"\ntimeout = \"2m\"\n", "at most \"60s\""),
    ] {
        let shell = Shell::new();
        shell.settings(text);
        let told = shell.refused(64, &["batches", "list"]);
        assert!(told.contains(why), "{text}: {told}");
    }
}
