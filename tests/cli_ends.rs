//! Where a command ends before its work: a data directory that is hidden from
//! it, a reader that has gone, arguments that can't be taken, settings that
//! come from somewhere else than one thinks, and lists that are cut.

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::batches::{Line, TestBatch, entity, says};
use support::shell::Shell;

/// A user that nothing belongs to.
const NOBODY: u32 = 65534;

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A command of another user; `None` where there can be none.
fn as_nobody(shell: &Shell, arguments: &[&str]) -> Option<Output> {
    let own = shell.command(arguments);
    let id = NOBODY.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(own.get_program());
    command.args(own.get_args()).env_clear().current_dir(shell.folder.path()).stdin(Stdio::null());
    command.env("PATH", "/usr/bin:/bin");
    command.output().ok()
}

/// Whether commands of another user can be run here.
fn can_be_nobody(shell: &Shell) -> bool {
    mode(shell.folder.path(), 0o755);
    let can = rustix::process::geteuid().is_root()
        && as_nobody(shell, &["--version"]).is_some_and(|output| output.status.success());
    if !can {
        eprintln!("skipped: commands of another user can't be run here");
    }
    can
}

/// A command of another user has to end with this code, and names what it may
/// not look at.
#[track_caller]
fn refused_to_nobody(shell: &Shell, code: i32, hidden: &Path, arguments: &[&str]) {
    let output = as_nobody(shell, arguments).unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let all = format!("{stdout}{stderr}");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{all}");
    assert!(all.contains("Permission denied"), "{arguments:?}\n{all}");
    assert!(all.contains(&*hidden.to_string_lossy()), "{arguments:?}\n{all}");
    for wrong in ["DATA_MISSING", "STATE_MISSING", "to create", "settings are valid", "panicked"] {
        assert!(!all.contains(wrong), "{arguments:?}\n{all}");
    }
}

#[test]
fn a_data_directory_that_is_hidden_is_not_taken_for_an_empty_one() {
    let shell = Shell::new();
    if !can_be_nobody(&shell) {
        return;
    }
    shell.settings("[sources.alpha]\nimportance = 7\n");
    let folder = shell.write(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    shell.expect(0, &["publish", &folder]);
    mode(&shell.data(), 0o700);
    let hidden = shell.data();
    for command in [
        &["plan", &*folder][..],
        &["--json", "plan", &folder],
        &["publish", &folder],
        &["batches", "list"],
        &["sources", "list"],
        &["catalogue", "search"],
        &["catalogue", "export"],
        &["doctor"],
        &["demo", "--once"],
    ] {
        refused_to_nobody(&shell, 1, &hidden, command);
    }
    let state = shell.data().join("state").display().to_string();
    for command in
        [&["config", "check"][..], &["config", "show"], &["serve"], &["recover", "--state", &state]]
    {
        refused_to_nobody(&shell, 64, &hidden, command);
    }
    // With settings from elsewhere too.
    let file = shell.folder.path().join("other.toml");
    std::fs::write(&file, "").unwrap();
    let file = file.display().to_string();
    refused_to_nobody(&shell, 1, &hidden, &["--config", &file, "plan", &folder]);
    refused_to_nobody(&shell, 1, &hidden, &["--config", &file, "serve"]);
    refused_to_nobody(&shell, 1, &hidden, &["--config", &file, "recover", "--state", &state]);
    // What to do is said.
    let output = as_nobody(&shell, &["--json", "plan", &folder]).unwrap();
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error_code"], "IO_FAILED", "{error}");
    assert!(error["action"].as_str().unwrap().contains("the right to read"), "{error}");
    // One that is not there yet is none that is hidden.
    let away = Shell::new();
    mode(away.folder.path(), 0o755);
    let output = as_nobody(&away, &["batches", "list"]).unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("DATA_MISSING"));
}

#[test]
fn a_state_folder_or_catalogue_that_is_hidden_is_not_taken_for_a_missing_one() {
    let shell = Shell::new();
    if !can_be_nobody(&shell) {
        return;
    }
    let place = shell.folder.path().join("hidden");
    let settings = |state: bool, catalogue: bool| {
        let state = if state {
            format!("[state]\nurl = \"{}\"\n", place.join("state").display())
        } else {
            String::new()
        };
        let path = place.join("c.redb");
        let path = if catalogue { format!("path = \"{}\"\n", path.display()) } else { String::new() };
        shell.settings(&format!("{state}[targets.catalogue]\nkind = \"embedded\"\n{path}"));
    };
    settings(true, true);
    let folder = shell.write(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]));
    shell.expect(0, &["publish", &folder]);
    mode(&place, 0o700);
    for name in ["", "tidegate.redb", "tidegate.toml"] {
        chown(shell.data().join(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let list = ["batches", "list"];
    refused_to_nobody(&shell, 1, &place, &list);
    refused_to_nobody(&shell, 1, &place, &["plan", &folder]);
    refused_to_nobody(&shell, 1, &place, &["doctor"]);
    std::fs::remove_file(shell.data().join("tidegate.redb")).unwrap();
    for (state, catalogue) in [(true, false), (false, true)] {
        settings(state, catalogue);
        refused_to_nobody(&shell, 1, &place, &["plan", &folder]);
        refused_to_nobody(&shell, 1, &place, &list);
    }
}

/// Runs a command whose reader has gone before it begins.
fn unread(shell: &Shell, arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    shell.command(arguments).stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).output().unwrap()
}

/// The same; what it is told is its exit code alone.
#[track_caller]
fn unread_ends(shell: &Shell, code: i32, arguments: &[&str]) {
    // Its log is none of its results.
    let output = unread(shell, &[&["-q"], arguments].concat());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
}

/// A data directory with one entity, and a batch that would delete it.
fn guarded(shell: &Shell) -> String {
    shell.expect(0, &["publish", &shell.write(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]))]);
    shell.write(&TestBatch::full("alpha", 2))
}

#[test]
fn a_command_whose_reader_has_gone_keeps_its_exit_code() {
    let shell = Shell::new();
    let parked = guarded(&shell);
    unread_ends(&shell, 3, &["publish", &parked]);
    unread_ends(&shell, 3, &["--json", "publish", &parked]);
    let bad = TestBatch::incremental("beta", 1).with([Line::BadKeyed(entity("b"))]);
    let bad = shell.write(&bad);
    unread_ends(&shell, 4, &["publish", &bad]);
    unread_ends(&shell, 1, &["batches", "check", &bad]);
    unread_ends(&shell, 1, &["--json", "batches", "check", &bad]);
    unread_ends(&shell, 0, &["batches", "list"]);
    unread_ends(&shell, 0, &["catalogue", "export"]);
    unread_ends(&shell, 0, &["--help"]);
    shell.settings("[service]\nworker = 1\n");
    unread_ends(&shell, 64, &["config", "check"]);
    unread_ends(&shell, 1, &["doctor"]);
}

#[test]
fn a_plan_that_nobody_reads_keeps_its_exit_code() {
    let shell = Shell::new();
    let parked = guarded(&shell);
    unread_ends(&shell, 3, &["plan", &parked]);
    unread_ends(&shell, 3, &["--json", "plan", &parked]);
    unread_ends(&shell, 3, &["plan", &parked, "--summary"]);
}

#[test]
fn a_watch_that_nobody_reads_ends() {
    let shell = Shell::new();
    let server = shell.serve();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut watch =
        shell.command(&["batches", "watch"]).stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    let mut time = 0;
    let mut ended = None;
    // Of what happened before it began to look it tells nothing.
    support::until("the end of the watch", || {
        if time < 100 {
            time += 1;
            shell.bring(&TestBatch::incremental("alpha", time).with([says(entity("a"), i64::from(time))]));
        }
        ended = watch.try_wait().unwrap();
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code(), Some(0));
    server.stop();
}

#[test]
fn with_json_wrong_arguments_are_told_as_json() {
    let shell = Shell::new();
    let known = shell.run(&["--json", "publish", "nowhere"]);
    let known: Value = serde_json::from_slice(&known.stderr).unwrap();
    let members = |error: &Value| error.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for (arguments, words) in [
        (&["--json", "plan", "x", "--nope"][..], "--nope"),
        (&["plan", "x", "--limit", "3", "--json"], "--limit"),
        (&["--json", "batches", "wait"], "<ID>"),
        (&["--json", "batches", "wait", "x", "--timeout", "soon"], "duration"),
        (&["--json", "batches"], "missing"),
        (&["--json", "bathces"], "bathces"),
        (&["--json"], ""),
    ] {
        let text = shell.refused(64, arguments);
        let error: Value =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"));
        assert_eq!(error["error_code"], "USAGE", "{error}");
        assert_eq!(members(&error), members(&known));
        let message = error["error_message"].as_str().unwrap();
        assert!(message.contains(words) && !message.is_empty(), "{error}");
        assert!(!message.contains('\n') && !message.contains("Usage:"), "{error}");
        assert!(!message.starts_with("error") && !message.contains("try '--help'"), "{error}");
    }
    // Only what is an option counts, and only wrong arguments are told so.
    for arguments in [&["plan", "--nope"][..], &["plan", "--nope", "--", "--json"]] {
        assert!(shell.refused(64, arguments).contains("Usage:"), "{arguments:?}");
    }
    assert!(shell.expect(0, &["--json", "--help"]).contains("Usage:"));
    assert!(shell.expect(0, &["--json", "--version"]).starts_with("tidegate "));
}

/// A command in the shell's folder that finds its data by itself.
fn plain(shell: &Shell, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.env_clear().envs(variables.iter().copied()).args(arguments);
    command.current_dir(shell.folder.path()).output().unwrap()
}

/// Every line of `config show` by its section and name, with where it came from.
fn shown(text: &str) -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, rest)) = line.split_once(" = ") {
            let origin = rest.rsplit_once("# ").unwrap().1;
            found.insert(format!("{section}.{name}"), origin.to_owned());
        } else {
            section = line.trim_matches(['[', ']']).to_owned();
        }
    }
    found
}

#[test]
fn settings_as_json_say_where_each_came_from() {
    let shell = Shell::new();
    shell.settings("[[inbox]]\nurl = \"in\"\n[sources.\"a.b\"]\nimportance = 7\n");
    let variables = [("TIDEGATE_PLANNING__THREADS", "3")];
    let output = plain(&shell, &variables, &["config", "show", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    // What was there is as it was.
    assert_eq!(json["server"]["listen"], "127.0.0.1:0");
    assert_eq!(json["planning"]["threads"], 3);
    assert_eq!(json["sources"]["a.b"]["importance"], 7);
    let origins = &json["origins"];
    for (key, origin) in [
        ("server.listen", "data/tidegate.toml:2"),
        ("inbox[0].url", "data/tidegate.toml:4"),
        ("inbox[0].poll", "default"),
        ("sources.a.b.importance", "data/tidegate.toml:6"),
        ("planning.threads", "TIDEGATE_PLANNING__THREADS"),
        ("limits.max_line", "default"),
    ] {
        assert_eq!(origins[key], origin, "{key}: {origins:#}");
    }
    // All that the text has.
    let text = plain(&shell, &variables, &["config", "show"]).stdout;
    let text = shown(std::str::from_utf8(&text).unwrap());
    assert_eq!(text.len(), origins.as_object().unwrap().len());
    for (key, origin) in text.iter().filter(|(key, _)| !key.contains(['"']) && !key.starts_with("inbox")) {
        assert_eq!(origins[key], **origin, "{key}");
    }
}

#[test]
fn what_config_show_prints_is_read_back_as_the_same_settings() {
    let given = "[state]\nurl = \"elsewhere/state\"\n[[inbox]]\nurl = \"in\"\n[[webhook]]\nurl = \"http://127.0.0.1:1/\"\n\
                 secret_file = \"key\"\n[targets.catalogue]\nkind = \"embedded\"\n[targets.other]\npath = \"o.redb\"\n\
                 [targets.far]\nkind = \"http\"\nurl = \"http://127.0.0.1:2/\"\ntoken_file = \"key\"\n\
                 [sources.\"a.b\"]\nmode = \"full\"\n[sources.\"a.b\".scope]\nnames = [\"x*\"]\n[publishing]\nmax_changes = 5\n";
    for file in [None, Some(given)] {
        let shell = Shell::new();
        if let Some(text) = file {
            shell.settings(text);
            std::fs::write(shell.data().join("key"), "whsec_c2VjcmV0\n").unwrap();
        }
        let show = || {
            let output = plain(&shell, &[], &["config", "show", "--json"]);
            let mut json: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
            json.as_object_mut().unwrap().remove("origins");
            json
        };
        let before = show();
        let state = Path::new(before["state"]["url"].as_str().unwrap());
        assert!(state.starts_with(shell.data()), "{before:#}");
        let text = plain(&shell, &[], &["config", "show"]).stdout;
        std::fs::create_dir_all(shell.data()).unwrap();
        std::fs::write(shell.data().join("tidegate.toml"), text).unwrap();
        assert_eq!(show(), before);
        let default = shell.data().join("catalogue.redb");
        assert_eq!(before["targets"]["catalogue"]["path"], *default.to_string_lossy());
    }
}

#[test]
fn a_section_that_only_a_variable_names_is_told_by_the_variable() {
    let shell = Shell::new();
    let told = |name: &str, value: &str| {
        let output = plain(&shell, &[(name, value)], &["config", "check"]);
        assert_eq!(output.status.code(), Some(64));
        String::from_utf8(output.stdout).unwrap()
    };
    for file in [None, Some("[priority]\nage_weight = 1\n")] {
        if let Some(text) = file {
            shell.settings(text);
        }
        assert_eq!(
            told("TIDEGATE_PRIORTY__HALF_LIFE", "3h"),
            "TIDEGATE_PRIORTY__HALF_LIFE: `priorty` is not known: did you mean `priority`?\n"
        );
        let inner = told("TIDEGATE_SOURCES__W__GAURDS__DELETE_MIN", "3");
        assert!(inner.starts_with("TIDEGATE_SOURCES__W__GAURDS__DELETE_MIN: `sources.w.gaurds` "), "{inner}");
        // What is missing in it is missing in the variables.
        let missing = told("TIDEGATE_TARGETS__CATALOGUE__KIND", "http");
        assert_eq!(missing, "TIDEGATE_TARGETS__CATALOGUE__KIND: `targets.catalogue.url` is missing\n");
    }
    // A section of the file is the file's.
    shell.settings("[priorty]\n");
    let both = told("TIDEGATE_PRIORTY__HALF_LIFE", "3h");
    assert_eq!(both, "data/tidegate.toml:3: `priorty` is not known: did you mean `priority`?\n");
}

#[test]
fn look_alikes_that_are_not_listed_are_counted() {
    let shell = Shell::new();
    let pairs = |count: usize| {
        let names = (0..count).flat_map(|n| [format!("name{n}"), format!("NAME{n}")]);
        names.map(|name| says(entity(&name), 1)).collect::<Vec<_>>()
    };
    let warnings = |batch: TestBatch| -> Vec<String> {
        let plan = shell.json(2, &["plan", &shell.write(&batch), "--summary"]);
        serde_json::from_value(plan["warnings"].clone()).unwrap()
    };
    const DIFFER: &str = "only by case, Unicode form or outer blanks";
    for (count, last) in [
        (10, None),
        (11, Some(format!("and 1 more group of names differs {DIFFER}"))),
        (300, Some(format!("and 290 more groups of names differ {DIFFER}"))),
    ] {
        let told = warnings(TestBatch::full("alpha", count as u32).with(pairs(count)));
        assert_eq!(told.len(), 10 + usize::from(last.is_some()), "{told:#?}");
        assert!(told[..10].iter().all(|warning| warning.starts_with("t \"NAME")), "{told:#?}");
        assert_eq!(told.get(10), last.as_ref());
    }
    // More names than spellings that are looked up among what is published.
    shell.expect(0, &["publish", &shell.write(&TestBatch::full("alpha", 1000).with([says(entity("a"), 1)]))]);
    let many = (0..5000).map(|n| says(entity(&format!("other{n}")), 1));
    let told = warnings(TestBatch::incremental("alpha", 1001).with(pairs(12)).with(many));
    let more = format!("and at least 2 more groups of names differ {DIFFER}");
    assert_eq!(told[10], more, "{told:#?}");
    assert!(told[11].contains("only a part of them was compared"), "{told:#?}");
}
