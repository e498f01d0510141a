//! The originals of dead letters: whole, byte for byte, for as long as the
//! letter is kept.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use support::batches::{TestBatch, entity, says};
use support::shell::Shell;
use support::world::World;
use tidegate::domain::ids::BatchId;
use tidegate::domain::publish_state::PublishStatus;

/// A batch folder of one file of these bytes.
fn folder(under: &Path, mode: &str, hour: u32, bytes: &[u8]) -> PathBuf {
    let time = format!("2026-11-01T{hour:02}:00:00Z");
    let folder = under.join(format!("alpha/20261101T{hour:02}0000Z_r{hour}"));
    std::fs::create_dir_all(&folder).unwrap();
    let manifest = json!({
        "format": "tidegate.batch/1", "source_id": "alpha", "run_id": format!("r{hour}"), "workflow": "w",
        "mode": mode, "source_timestamp": time, "processing_timestamp": time,
        "files": [{"path": "entities-0.ndjson", "kind": "entities"}],
    });
    std::fs::write(folder.join("entities-0.ndjson"), bytes).unwrap();
    std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    folder
}

fn publish(world: &World, mode: &str, hour: u32, bytes: &[u8]) {
    let id = world.engine().accept(&folder(&world.data.path().join("delivered"), mode, hour, bytes)).unwrap();
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
}

/// A line of a megabyte with a member twice.
fn long_bad(name: &str) -> String {
    let text = "y".repeat(1 << 20);
    format!("{{\"type\":\"t\",\"qualified_name\":\"{name}\",\"attributes\":{{\"x\":1,\"x\":\"{text}\"}}}}")
}

fn long_good(name: &str, letter: &str, len: usize) -> String {
    let text = letter.repeat(len);
    format!("{{\"type\":\"t\",\"qualified_name\":\"{name}\",\"attributes\":{{\"x\":\"{text}\"}}}}")
}

fn work(world: &World, batch: &BatchId) {
    world.work();
    assert_eq!(world.batch(batch).status, PublishStatus::Complete);
}

/// Files of originals.
fn files(world: &World) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(world.data.path().join("state/alpha/letters")) else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_long_line_is_kept_whole_and_can_be_edited_and_requeued() {
    let mut world = World::new();
    let line = long_bad("a");
    publish(&world, "full", 1, format!("{line}\n{}\n", long_good("b", "z", 3)).as_bytes());
    let shown = world.engine().letter(1).unwrap();
    assert_eq!((shown.content.as_deref().unwrap_or_default().len(), shown.cut), (line.len(), false));
    assert!(shown.content.as_deref() == Some(&line));

    // Neither other batches nor a restart take it away.
    for hour in 2..6 {
        publish(&world, "incremental", hour, long_good("b", "z", 3 + hour as usize).as_bytes());
    }
    world.restart();
    let kept = world.engine().letter(1).unwrap().content.unwrap();
    assert!(kept == line);
    let mended = kept.replace("\"x\":1,", "");
    world.engine().edit_letter(1, None, Some(mended.as_bytes()), "ann", "once is enough").unwrap();
    let batch = world.engine().requeue_letter(1, None, "ann", "mended").unwrap();
    work(&world, &batch);
    assert!(world.export().contains(&"y".repeat(1 << 20)));

    // It goes with its letter.
    assert!(world.engine().letter(1).unwrap().content.as_deref() == Some(&line));
    world.clock.advance(Duration::from_secs(91 * 24 * 3600));
    assert_eq!(world.engine().expire_letters().unwrap(), (1, 0));
    assert_eq!(files(&world), [""; 0].map(PathBuf::from));
}

#[test]
fn a_long_value_that_the_target_refused_is_requeued_as_it_is() {
    let world = World::new();
    world.faults.refuse([entity("a")]);
    let line = long_good("a", "v", 300_000);
    publish(&world, "full", 1, format!("{line}\n{}\n", long_good("b", "z", 3)).as_bytes());
    let shown: Value = serde_json::from_str(&world.engine().letter(1).unwrap().content.unwrap()).unwrap();
    assert!(shown == serde_json::from_str::<Value>(&line).unwrap());
    assert_eq!(files(&world).len(), 1);
    world.faults.heal();
    let batch = world.engine().requeue_letter(1, None, "ann", "healed").unwrap();
    work(&world, &batch);
    assert!(world.export().contains(&"v".repeat(300_000)));
}

#[test]
fn an_original_that_a_newer_one_replaced_is_collected() {
    let world = World::new();
    for hour in [1, 2] {
        let bytes = format!("{}\n{}\n", long_bad("a"), long_good("b", "z", 3 + hour as usize));
        publish(&world, "full", hour, bytes.as_bytes());
    }
    assert_eq!(world.dead_letters("alpha").len(), 1);
    assert_eq!(files(&world).len(), 1);
}

#[test]
fn long_lines_without_a_key_that_begin_alike_are_letters_of_their_own() {
    let world = World::new();
    let lines: Vec<String> = ["1", "2"].map(|n| format!("[\"{}{n}\"]", "y".repeat(200_000))).into();
    publish(&world, "full", 1, format!("{}\n{}\n", lines.join("\n"), long_good("b", "z", 3)).as_bytes());
    let kept = [1, 2].map(|id| world.engine().letter(id).unwrap().content.unwrap());
    assert!(kept[..] == lines[..]);
}

#[test]
fn an_original_that_is_damaged_is_told_of_and_can_be_replaced() {
    let world = World::new();
    publish(&world, "full", 1, format!("{}\n{}\n", long_bad("a"), long_good("b", "z", 3)).as_bytes());
    let file = files(&world).pop().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[500_000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let shown = world.engine().letter(1).unwrap();
    assert_eq!(shown.content, None);
    assert!(shown.content_problem.unwrap().contains("its checksum does not match"));
    // It is told of as well where it is cut short, or gone.
    for (bytes, problem) in [(Some("{"), "the file is cut short"), (None, "the file is missing")] {
        match bytes {
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let shown = world.engine().letter(1).unwrap();
        assert!(shown.content_problem.unwrap().contains(problem));
        let view = world.engine().examine(false).unwrap();
        let check = view.checks.iter().find(|check| check.check == "dead letters").unwrap();
        assert!(check.found.contains(problem) && check.found.starts_with("1 of 1 long"), "{}", check.found);
        assert!(check.mend.as_deref().unwrap().contains("tidegate dlq edit 1 --file FILE"));
    }
    let error = world.engine().requeue_letter(1, None, "ann", "x").unwrap_err();
    assert!(error.action().contains("tidegate dlq edit 1 --file FILE"), "{error}");
    let good = long_good("a", "w", 5);
    let batch = world.engine().repair_letter(1, None, good.as_bytes(), "ann", "from the source").unwrap();
    work(&world, &batch);
}

#[test]
fn the_originals_of_a_batch_are_one_file_that_goes_with_the_last_of_them() {
    let world = World::new();
    let bad = |n: usize| {
        format!(
            "{{\"type\":\"t\",\"qualified_name\":\"a{n}\",\"attributes\":[\"{}\"]}}",
            "y".repeat(5_000 + n)
        )
    };
    let lines: Vec<String> = (0..300).map(bad).collect();
    publish(&world, "full", 1, lines.join("\n").as_bytes());
    let [file] = &files(&world)[..] else { panic!("{:?}", files(&world)) };
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let content = |id: u64| world.engine().letter(id).unwrap().content.unwrap();
    let mut kept: Vec<String> = (1..=300).map(content).collect();
    kept.sort_by_key(String::len);
    assert!(kept == lines);
    let view = world.engine().examine(false).unwrap();
    let check = view.checks.iter().find(|check| check.check == "dead letters").unwrap();
    assert!(check.found.starts_with("300 long originals are files, and all there"), "{}", check.found);
    assert!(check.found.contains("300 of 300 were read"), "{}", check.found);
    let whole = std::fs::read(file).unwrap();
    let flipped = whole.iter().enumerate().map(|(n, byte)| if n % 97 == 0 { byte ^ 1 } else { *byte });
    std::fs::write(file, flipped.collect::<Vec<u8>>()).unwrap();
    let view = world.engine().examine(false).unwrap();
    let check = view.checks.iter().find(|check| check.check == "dead letters").unwrap();
    assert!(check.found.starts_with("300 of 300 long originals are gone or damaged"), "{}", check.found);
    assert!(check.mend.as_deref().unwrap().contains("tidegate dlq edit 1 --file FILE"));
    std::fs::write(file, whole).unwrap();

    for id in 1..=299 {
        world.engine().discard_letter(id, None, "ann", "a test row").unwrap();
    }
    world.clock.advance(Duration::from_secs(91 * 24 * 3600));
    assert_eq!(world.engine().expire_letters().unwrap(), (299, 0));
    assert!(lines.contains(&content(300)));
    world.engine().discard_letter(300, None, "ann", "a test row").unwrap();
    world.clock.advance(Duration::from_secs(91 * 24 * 3600));
    assert_eq!(world.engine().expire_letters().unwrap(), (1, 0));
    assert_eq!(files(&world), [""; 0].map(PathBuf::from));
}

#[test]
fn what_a_commit_left_that_did_not_come_about_is_collected() {
    let world = World::new();
    publish(&world, "full", 1, format!("{}\n{}\n", long_bad("a"), long_good("b", "z", 3)).as_bytes());
    let kept = files(&world);
    let folder = kept[0].parent().unwrap();
    for name in ["20261101T000000Z-0123456789abcdef.lines", "20261101T000000Z-0123456789abcdef.partial"] {
        std::fs::write(folder.join(name), "left").unwrap();
    }
    publish(&world, "incremental", 2, long_good("b", "z", 4).as_bytes());
    assert_eq!(files(&world), kept);
}

#[test]
fn of_a_line_over_the_limit_it_is_told_how_much_was_kept() {
    let world = World::new();
    let line = long_good("a", "y", tidegate::limits::MAX_LINE);
    publish(&world, "full", 1, format!("{line}\n{}\n", long_good("b", "z", 3)).as_bytes());
    let error = world.engine().requeue_letter(1, None, "ann", "x").unwrap_err();
    assert!(error.to_string().contains("only the first 65536 bytes of its original were kept"), "{error}");
}

#[test]
fn the_longest_line_there_may_be_is_kept_byte_for_byte_also_where_it_is_no_text() {
    let world = World::new();
    let head = b"{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":{\"x\":\"";
    let bytes = tidegate::limits::MAX_LINE - head.len() - 3;
    let line = [&head[..], &vec![0xff; bytes], b"\"}}"].concat();
    let last = long_good("b", "z", 3);
    publish(&world, "full", 1, &[&line[..], b"\n", last.as_bytes(), b"\n"].concat());
    assert!(world.engine().letter_content(1).unwrap() == line);
    assert!(!world.engine().letter(1).unwrap().letter.message.contains('\u{fffd}'));
}

#[test]
fn everything_that_a_batch_says_of_a_key_is_kept() {
    let world = World::new();
    let lines = [long_good("a", "1", 200_000), long_good("a", "2", 200_000)];
    publish(&world, "full", 1, format!("{}\n{}\n", lines.join("\n"), long_good("b", "z", 3)).as_bytes());
    let shown = world.engine().letter(1).unwrap();
    assert_eq!((&shown.letter.code[..], shown.cut), ("KEY_CONFLICT", false));
    let content = shown.content.unwrap();
    let kept: Vec<Value> = content.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(kept == said);
    // One of them is chosen.
    let chosen = content.lines().next().unwrap();
    let batch = world.engine().repair_letter(1, None, chosen.as_bytes(), "ann", "the first").unwrap();
    work(&world, &batch);
    assert!(world.export().contains(&"1".repeat(200_000)));
}

#[test]
fn the_published_value_and_a_deletion_are_kept_of_a_conflict_too() {
    let world = World::new();
    world.publish(&TestBatch::full("alpha", 1).with([says(entity("a"), 1), says(entity("b"), 1)]));
    let same = "{\"type\":\"t\",\"qualified_name\":\"a\",\"attributes\":{\"x\":1}}";
    let other = "{\"type\":\"t\",\"qualified_name\":\"a\",\"attributes\":{\"x\":2}}";
    let gone = "{\"type\":\"t\",\"qualified_name\":\"a\",\"deleted\":true}";
    for (hour, mode, lines) in [
        (2, "incremental", vec![same, other, gone, other]),
        (3, "full", vec![same, other]),
        (4, "full", vec![other, same]),
    ] {
        publish(&world, mode, hour, lines.join("\n").as_bytes());
        let content = world.engine().letter(1).unwrap().content.unwrap();
        let mut said = lines.clone();
        said.dedup();
        said.truncate(3);
        assert_eq!(content.lines().collect::<Vec<_>>(), said, "{mode} {hour}");
    }
}

/// The same line with other bytes: blanks, an escape, and members in another order.
fn otherwise(x: u32) -> String {
    format!(
        "{{ \"attributes\" : {{\"x\": {x} }},\t\"qualified_name\":\"\\u0061\", \"note\":1, \"type\":\"t\" }}"
    )
}

#[test]
fn lines_that_contradict_each_other_are_kept_byte_for_byte() {
    let same = "{\"type\":\"t\",\"qualified_name\":\"a\",\"attributes\":{\"x\":1}}";
    let (one, two) = (otherwise(1), otherwise(2));
    let gone = "{\"deleted\" :true, \"type\":\"t\",\"qualified_name\":\"a\"}";
    let bad = "{\"type\":\"t\",\"qualified_name\":\"a\",\"attributes\": 7}";
    let filler = long_good("b", "z", 3);
    let cases: [(&str, Vec<&str>, Vec<&str>); 8] = [
        // New to the batch's source, and said before in other words.
        ("full", vec![&two, same], vec![&two, same]),
        ("incremental", vec![&two, gone, same, &one], vec![&two, gone, same]),
        // What is published is in a line that is not looked into, in its place
        // or elsewhere, or that has other bytes.
        ("full", vec![same, &filler, &two], vec![same, &two]),
        ("full", vec![&filler, same, "", &two, same], vec![same, &two]),
        ("full", vec![&one, &two], vec![&one, &two]),
        ("full", vec![&two, &one, &one], vec![&two, &one]),
        // Beside a bad line each good one is kept.
        ("full", vec![same, bad, &two], vec![bad, same, &two]),
        ("incremental", vec![&one, &two, bad], vec![bad, &one, &two]),
    ];
    for published in [false, true] {
        for fast_path in [true, false] {
            for (mode, lines, said) in &cases {
                let world = World::with(|settings| settings.planning.fast_path = fast_path);
                if published {
                    publish(&world, "full", 1, format!("{same}\n{filler}\n").as_bytes());
                }
                let text = lines.join("\r\n");
                publish(&world, mode, 2, text.as_bytes());
                let letters = world.dead_letters("alpha");
                assert_eq!(letters.len(), 1, "{published} {text}");
                let shown = world.engine().letter(letters[0].id).unwrap();
                let content = shown.content.unwrap();
                let mut kept: Vec<&str> = content.lines().collect();
                let mut said = said.clone();
                // Which of two that say the same is passed by is left open.
                kept.sort_unstable();
                said.sort_unstable();
                assert_eq!(kept, said, "published {published}, fast path {fast_path}, {mode}: {text}");
                assert!(!shown.cut);
            }
        }
    }
}

#[test]
fn of_a_key_with_thousands_of_values_it_is_told_that_some_are_left_out() {
    let world = World::new();
    let line =
        |n: usize| format!("{{\"type\":\"t\",\"qualified_name\":\"a\", \"attributes\":{{\"x\":{n}}}}}");
    let lines: Vec<String> = (0..3_000).map(line).collect();
    publish(&world, "full", 1, lines.join("\n").as_bytes());
    let shown = world.engine().letter(1).unwrap();
    let content = shown.content.unwrap();
    let kept: Vec<&str> = content.lines().collect();
    assert!(shown.cut && kept.len() > 1_000 && kept.len() < 2_000, "{}", kept.len());
    assert_eq!((kept[0], kept[kept.len() - 1]), (&lines[0][..], &lines[2_999][..]));
    // The same ones over and over leave nothing out.
    let again: Vec<String> = (0..4_000).map(|n| line(1 + n % 2)).collect();
    publish(&world, "full", 2, again.join("\n").as_bytes());
    let shown = world.engine().letter(1).unwrap();
    assert_eq!((shown.content.unwrap(), shown.cut), (again[..2].join("\n"), false));
}

#[test]
fn bytes_that_are_no_text_come_out_as_they_were_from_a_server_and_without_one() {
    let shell = Shell::new();
    let line = b"{\"type\":\"t\",\"qualified_name\":\"bad\",\"attributes\":{\"x\":\"\xff\xfe\"}}";
    let bytes = [&line[..], b"\n", long_good("b", "z", 3).as_bytes(), b"\n"].concat();
    let folder = folder(&shell.folder.path().join("delivered"), "full", 1, &bytes);
    shell.expect(4, &["publish", &folder.display().to_string()]);
    let raw = shell.run(&["dlq", "show", "1", "--raw"]);
    assert_eq!((raw.status.code(), &raw.stdout[..]), (Some(0), &line[..]));
    assert_eq!(shell.json(0, &["dlq", "show", "1"])["content_exact"], false);
    assert!(shell.expect(0, &["dlq", "show", "1"]).contains("tidegate dlq show 1 --raw"));
    shell.refused(64, &["dlq", "show", "1", "--raw", "--json"]);
    let server = shell.serve();
    let raw = shell.run(&["dlq", "show", "1", "--raw"]);
    assert_eq!((raw.status.code(), &raw.stdout[..]), (Some(0), &line[..]));
    server.stop();
}

/// A batch that was executed, and whose originals can't be written: a file is
/// where their folder should be.
fn stuck(world: &World) -> (BatchId, PathBuf) {
    let letters = world.data.path().join("state/alpha/letters");
    std::fs::create_dir_all(letters.parent().unwrap()).unwrap();
    std::fs::write(&letters, "in the way").unwrap();
    let bytes = format!("{}\n{}\n", long_bad("a"), long_good("b", "z", 3));
    let delivered = folder(&world.data.path().join("delivered"), "full", 1, bytes.as_bytes());
    let id = world.engine().accept(&delivered).unwrap();
    while world.engine().step().is_ok_and(|worked| worked.is_some()) {}
    (id, letters)
}

#[test]
fn a_batch_whose_originals_can_not_be_written_goes_on_at_a_time_that_a_restart_keeps() {
    let mut world = World::new();
    let (id, in_the_way) = stuck(&world);
    let view = world.engine().batch_view(&id).unwrap();
    assert_eq!(view.publish_state.status, PublishStatus::Executing);
    assert_eq!(view.retry.as_ref().unwrap().code, "IO_FAILED");
    let next = view.next_attempt.unwrap();
    assert_eq!(view.waits.unwrap().until, Some(next));
    let told = world.engine().examine(false).unwrap().checks;
    let told = told.iter().find(|check| check.check == "source alpha").unwrap();
    assert!(told.found.contains("IO_FAILED"), "{}", told.found);

    std::fs::remove_file(&in_the_way).unwrap();
    world.restart();
    assert_eq!(world.engine().step().unwrap(), None, "its time has not come");
    let view = world.engine().batch_view(&id).unwrap();
    assert_eq!((view.next_attempt, view.retry.unwrap().code.as_str()), (Some(next), "IO_FAILED"));
    world.clock.advance(Duration::from_secs(3));
    work(&world, &id);
    let view = world.engine().batch_view(&id).unwrap();
    assert_eq!((view.next_attempt, view.retry), (None, None));
    assert_eq!(world.dead_letters("alpha").len(), 1);
}

#[test]
fn who_asks_for_a_batch_that_goes_on_later_has_it_go_on_now() {
    let world = World::new();
    let (id, in_the_way) = stuck(&world);
    std::fs::remove_file(&in_the_way).unwrap();
    assert_eq!(world.engine().step().unwrap(), None);
    world.engine().retry(&id, "ann", "the file is gone").unwrap();
    work(&world, &id);
}
