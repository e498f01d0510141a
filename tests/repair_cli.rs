//! The repair of dead letters as a person at a terminal does it: what is shown
//! and asked, and what becomes of what was typed.

mod support;

use support::batches::{Line, TestBatch, entity, says};
use support::shell::Shell;
use support::terminal::at_a_terminal;

/// A failed batch whose manifest counts one line too many: dead letter 1.
fn counted_wrong() -> Shell {
    let shell = Shell::new();
    let batch = TestBatch::full("alpha", 1).with([says(entity("a"), 1), says(entity("b"), 1)]);
    let folder = shell.write(&batch);
    let manifest = std::path::Path::new(&folder).join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"count\":2", "\"count\":3")).unwrap();
    shell.expect(1, &["publish", &folder]);
    shell
}

fn bad_line() -> Shell {
    let shell = Shell::new();
    let batch = TestBatch::incremental("alpha", 1).with([Line::BadKeyed(entity("b"))]);
    shell.expect(4, &["publish", &shell.write(&batch)]);
    shell
}

#[test]
fn a_batch_that_was_made_of_letters_is_published_by_a_server_alone() {
    let shell = bad_line();
    let file = shell.folder.path().join("line");
    std::fs::write(&file, r#"{"type":"t","qualified_name":"b","attributes":{"x":1}}"#).unwrap();
    shell.expect(0, &["--yes", "dlq", "edit", "1", "--file", file.to_str().unwrap(), "--reason", "x"]);
    shell.expect(0, &["sources", "pause", "alpha"]);
    shell.run(&["--yes", "dlq", "requeue", "1", "--reason", "mended"]);
    shell.expect(0, &["sources", "resume", "alpha"]);
    let batches = shell.json(0, &["batches", "list"]);
    let id = batches["items"][0]["batch_id"].as_str().unwrap();
    assert!(id.ends_with("~1"), "{batches}");
    let told = shell.expect(0, &["batches", "show", id]);
    assert!(told.contains("`tidegate serve` publishes it\n"), "{told}");
    assert!(!told.contains("tidegate publish"), "{told}");
    let server = shell.serve();
    shell.expect(0, &["batches", "wait", id]);
    server.stop();
}

#[test]
fn a_content_of_no_use_is_told_and_asked_about_before_it_is_kept() {
    let shell = counted_wrong();
    let content = shell.json(0, &["dlq", "show", "1"])["content"].as_str().unwrap().to_owned();
    let file = shell.folder.path().join("manifest.json");
    std::fs::write(&file, content.replace("\"count\":3", "\"count\":9")).unwrap();
    let edit = ["dlq", "edit", "1", "--file", file.to_str().unwrap(), "--reason", "x"];
    for more in [&[][..], &["--requeue"]] {
        let command = [&edit[..], more].concat();
        let output = shell.run(&command);
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(64), "{stdout}{stderr}");
        assert!(stdout.contains("the manifest says 9"), "{stdout}");
        assert!(stderr.contains("all the same?"), "{stderr}");
        let letter = shell.json(0, &["dlq", "show", "1"]);
        assert_eq!((&letter["edited"], &letter["attempts"]), (&false.into(), &1.into()), "{letter}");
    }
    // Who says so is obeyed.
    shell.expect(0, &[&edit[..], &["--yes"]].concat());
    // To take it back is asked too.
    assert!(shell.refused(64, &["dlq", "edit", "1", "--undo"]).contains("Take back the edit"));
    assert_eq!(shell.json(0, &["dlq", "show", "1"])["edited"], true);
    shell.expect(0, &["dlq", "edit", "1", "--undo", "--yes"]);
    assert_eq!(shell.json(0, &["dlq", "show", "1"])["edited"], false);
}

#[test]
fn the_commands_of_the_readme_lead_from_a_failure_to_its_dead_letter() {
    let shell = Shell::new();
    let batch = TestBatch::incremental("alpha", 1).with(["b", "c"].map(|name| Line::BadKeyed(entity(name))));
    shell.expect(4, &["publish", &shell.write(&batch)]);
    let groups = shell.expect(0, &["dlq", "groups"]);
    let row = groups.lines().find(|line| line.contains("LINE_INVALID")).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(&words[..2], ["2", "2"], "{groups}");
    assert!(groups.contains("tidegate dlq show NUMBER"), "{groups}");
    // A group is as good as a number.
    let shown = shell.expect(0, &["dlq", "show", words[2]]);
    assert!(shown.starts_with("Dead letter 2: t c"), "{shown}");
    assert!(shown.contains(&format!("tidegate dlq list --group {}", words[2])), "{shown}");
    for list in ["list", "groups"] {
        let error = shell.refused(1, &["dlq", list, "--code", "bogus"]);
        assert!(error.contains("bogus is no error code"), "{error}");
        shell.expect(0, &["dlq", list, "--code", "line_invalid"]);
    }
    let error = shell.refused(1, &["dlq", "show", "nothing"]);
    assert!(error.contains("neither the number of a dead letter nor a group"), "{error}");
    let shown = shell.expect(0, &["batches", "show", &batch.id(), "--summary"]);
    assert!(shown.contains(&format!("dlq list --batch {}", batch.id())), "{shown}");
}

#[test]
fn a_line_that_is_no_json_is_shown_as_it_is() {
    let shell = Shell::new();
    let folder = shell.write(&TestBatch::incremental("alpha", 1).with([Line::BadKeyless(1)]));
    let (file, manifest) = (
        std::path::Path::new(&folder).join("entities-00000.ndjson"),
        std::path::Path::new(&folder).join("manifest.json"),
    );
    let bytes = std::fs::metadata(&file).unwrap().len();
    std::fs::write(&file, "this is not json\n").unwrap();
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace(&format!("\"bytes\":{bytes}"), "\"bytes\":17")).unwrap();
    shell.expect(4, &["publish", &folder]);
    let shown = shell.expect(0, &["dlq", "show", "1"]);
    assert!(shown.contains("\nthis is not json\n"), "{shown}");
}

#[test]
fn what_was_written_in_an_editor_is_not_lost() {
    let shell = bad_line();
    let there = shell.folder.path().join("tmp");
    std::fs::create_dir(&there).unwrap();
    let drafts = || {
        let found = std::fs::read_dir(&there).unwrap().map(|entry| entry.unwrap().path());
        found.collect::<Vec<_>>()
    };
    let good = r#"{"type":"t","qualified_name":"b","attributes":{"x":2}}"#;
    let edit = |editor: &str, typed: &str, more: &[&str]| {
        let mut command = shell.command(&[&["dlq", "edit", "1"], more].concat());
        command.env("TMPDIR", &there).env("PATH", std::env::var_os("PATH").unwrap());
        command.env("EDITOR", editor);
        at_a_terminal(&command, typed)
    };
    let write = |text: &str| format!("printf '%s' '{text}' >");
    // It is no JSON; the person says no; the editor fails.
    for (editor, code) in
        [(write("{\"type\": oh"), 1), (write(good), 1), (format!("false; {} \"$1\"; false", write(good)), 1)]
    {
        let Some((found, text)) = edit(&editor, "n\n", &[]) else { return };
        assert_eq!(found, code, "{text}");
        let kept = drafts().pop().unwrap_or_else(|| panic!("nothing was kept: {text}"));
        assert!(text.contains(&format!("What you wrote is in {}", kept.display())), "{text}");
        std::fs::remove_file(kept).unwrap();
    }
    // Another operator was first.
    let other = shell.folder.path().join("other.json");
    std::fs::write(&other, good).unwrap();
    let first = format!(
        "{} --data {} dlq edit 1 --file {} --yes; {}",
        env!("CARGO_BIN_EXE_tidegate"),
        shell.data().display(),
        other.display(),
        write(r#"{"type":"t","qualified_name":"b","attributes":{"x":3}}"#)
    );
    let server = shell.serve();
    let (code, text) = edit(&first, "y\n", &[]).unwrap();
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("was changed since it was looked at"), "{text}");
    assert_eq!(drafts().len(), 1, "{text}");
    // What is kept as an edit leaves no draft; nor does what stayed the same.
    std::fs::remove_file(drafts().pop().unwrap()).unwrap();
    let (code, text) = edit(&write(good).replace(":2", ":4"), "y\n", &["--requeue"]).unwrap();
    assert_eq!((code, drafts().len()), (0, 0), "{text}");
    assert!(server.stop().success());
}

/// The manifest of the only batch.
fn its_manifest(shell: &Shell) -> std::path::PathBuf {
    let batches = shell.folder.path().join("batches/alpha");
    let folder = std::fs::read_dir(&batches).unwrap().next().unwrap().unwrap().path();
    folder.join("manifest.json")
}

#[test]
fn an_edit_is_of_the_manifest_that_the_editor_showed() {
    let shell = counted_wrong();
    let manifest = its_manifest(&shell);
    let good = shell.folder.path().join("good.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&good, text.replace("\"count\":3", "\"count\":2")).unwrap();
    let edit = |editor: String| {
        let mut command = shell.command(&["dlq", "edit", "1", "--requeue"]);
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("TMPDIR", shell.folder.path());
        at_a_terminal(command.env("EDITOR", editor), "y\n")
    };
    // It is delivered again, with another one, while somebody writes.
    let delivered = format!("printf ' ' >> {}; cp {}", manifest.display(), good.display());
    let Some((code, told)) = edit(delivered) else { return };
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("was changed since it was looked at"), "{told}");
    assert_eq!(shell.json(0, &["dlq", "show", "1"])["edited"], false);
    let (code, told) = edit(format!("cp {}", good.display())).unwrap();
    assert_eq!(code, 0, "{told}");
}

/// What is shown to begin with is that one, and not what was delivered since.
#[test]
fn an_edit_on_top_of_another_is_of_what_that_was_made_of() {
    let shell = counted_wrong();
    let manifest = its_manifest(&shell);
    let text = std::fs::read_to_string(&manifest).unwrap();
    let good = shell.folder.path().join("good.json");
    std::fs::write(&good, text.replace("\"count\":3", "\"count\":2")).unwrap();
    let edit = ["--yes", "dlq", "edit", "1", "--file", good.to_str().unwrap(), "--reason", "x"];
    shell.expect(0, &edit);
    std::fs::write(&manifest, text.replace("\"count\":3", "\"count\":4")).unwrap();
    let output = shell.run(&[&edit[..], &["--requeue"]].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("another manifest than the edit was made of"), "{told}");
    // What it says works.
    shell.expect(0, &["--yes", "dlq", "edit", "1", "--undo"]);
    shell.expect(0, &[&edit[..], &["--requeue"]].concat());
}

#[test]
fn a_skip_is_asked_about_and_told_with_the_dead_letter() {
    let shell = bad_line();
    let skip = ["sources", "skip", "alpha", "t", "b*", "--reason", "known"];
    let asked = shell.refused(64, &skip);
    assert!(asked.contains("Skip t b* of source alpha without an end?"), "{asked}");
    assert_eq!(shell.json(0, &["sources", "skips", "alpha"]), serde_json::json!([]));
    // A type is matched as it is.
    let error = shell.refused(64, &["sources", "skip", "alpha", "*", "*", "--reason", "x", "--yes"]);
    assert!(error.contains("matched as it is"), "{error}");
    shell.expect(0, &[&skip[..], &["--yes"]].concat());
    let shown = shell.expect(0, &["dlq", "show", "1"]);
    assert!(shown.contains("skipped      without an end by ") && shown.contains("t b*: known"), "{shown}");
}

#[test]
fn a_group_source_or_code_that_nobody_knows_is_not_found_with_a_server_and_without_one() {
    let shell = Shell::new();
    let batch = TestBatch::incremental("alpha", 1).with([Line::BadKeyed(entity("b"))]);
    shell.expect(4, &["publish", &shell.write(&batch)]);
    let look = || {
        for unknown in [["--group", "deadbeefdeadbeef"], ["--source", "nosuch"], ["--code", "NOPE"]] {
            for command in [
                &["dlq", "list"][..],
                &["dlq", "requeue", "--yes"],
                &["dlq", "discard", "--yes", "--reason", "x"],
            ] {
                let error = shell.refused(1, &[command, &unknown[..]].concat());
                assert!(error.contains("NOT_FOUND") && error.contains(unknown[1]), "{error}");
            }
        }
        shell.refused(1, &["dlq", "groups", "--source", "nosuch"]);
        // What is known and fits nothing is no failure.
        for command in [
            &["dlq", "list"][..],
            &["dlq", "requeue", "--yes"],
            &["dlq", "discard", "--yes", "--reason", "x"],
        ] {
            let text = shell.expect(0, &[command, &["--code", "ENTITY_REJECTED"]].concat());
            assert_eq!(text, "nothing open fits\n");
        }
    };
    look();
    let server = shell.serve();
    look();
    // A group is known also when all of it is settled.
    let group = shell.json(0, &["dlq", "show", "1"])["signature"].as_str().unwrap().to_owned();
    shell.expect(0, &["dlq", "discard", "1", "--yes", "--reason", "a test"]);
    assert_eq!(shell.expect(0, &["dlq", "list", "--group", &group]), "nothing open fits\n");
    server.stop();
}

#[test]
fn a_requeue_without_a_number_says_what_it_takes_and_its_reason_is_kept() {
    let shell = Shell::new();
    let batch = TestBatch::incremental("alpha", 1).with([Line::BadKeyed(entity("b"))]);
    shell.expect(4, &["publish", &shell.write(&batch)]);
    for command in ["requeue", "discard"] {
        let error = shell.refused(64, &["dlq", command, "--yes", "--reason", "x"]);
        assert!(error.contains("--group") && error.contains("--all"), "{error}");
        let help = shell.expect(0, &["dlq", command, "--help"]);
        let (reason, filter) = (help.find("--reason").unwrap(), help.find("Filter:").unwrap());
        assert!(reason < filter, "it is no filter:\n{help}");
    }
    let good = r#"{"type":"t","qualified_name":"b","attributes":{"x":1}}"#;
    let file = shell.folder.path().join("line.json");
    std::fs::write(&file, good).unwrap();
    shell.expect(0, &["dlq", "edit", "1", "--yes", "--file", &file.display().to_string()]);
    shell.expect(0, &["dlq", "requeue", "1", "--yes", "--reason", "ticket 4711"]);
    let shown = shell.expect(0, &["dlq", "show", "1"]);
    assert!(shown.contains("ticket 4711"), "{shown}");
}

#[test]
fn an_edited_manifest_is_what_a_retry_reads_though_another_lies_there() {
    let shell = Shell::new();
    let batch = TestBatch::full("alpha", 1).with([says(entity("a"), 1)]);
    let made = std::path::PathBuf::from(shell.write(&batch));
    let good = std::fs::read_to_string(made.join("manifest.json")).unwrap();
    std::fs::write(made.join("manifest.json"), good.replace("\"mode\"", "\"mod\"")).unwrap();
    let place = shell.data().join("inbox/alpha");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::rename(made, place.join(batch.folder_name())).unwrap();
    let server = shell.serve();
    shell.expect(1, &["batches", "wait", &batch.id(), "--timeout", "60s"]);
    let file = shell.folder.path().join("good.json");
    std::fs::write(&file, good).unwrap();
    shell.expect(0, &["--yes", "dlq", "edit", "1", "--file", file.to_str().unwrap(), "--reason", "x"]);
    // It comes to its end for something else.
    shell.expect(0, &["sources", "pause", "alpha"]);
    shell.run(&["--yes", "dlq", "requeue", "1", "--reason", "mended"]);
    shell.expect(0, &["--yes", "batches", "cancel", &batch.id()]);
    assert_eq!(shell.json(0, &["batches", "list"])["items"][0]["status"], "FAILED");
    shell.expect(0, &["sources", "resume", "alpha"]);
    shell.expect(0, &["batches", "retry", &batch.id()]);
    shell.expect(0, &["batches", "wait", &batch.id(), "--timeout", "60s"]);
    server.stop();
    assert_eq!(shell.expect(0, &["catalogue", "export"]).lines().count(), 1);
}
