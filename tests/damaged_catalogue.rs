//! A catalogue's file that is damaged: what uses it says so, and does not panic.

mod support;

use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use support::batches::{TestBatch, edge, entity, says};
use support::shell::Shell;

/// A server with a catalogue for each of two sources, and the path of the second
/// one, which is damaged as `damage` says before it starts.
fn damaged(shell: &Shell, damage: impl FnOnce(&mut Vec<u8>)) -> (PathBuf, Vec<u8>) {
    let settings = "[targets.one]\nkind = \"embedded\"\n[targets.two]\nkind = \"embedded\"\n\
                    [sources.alpha]\ntarget = \"one\"\n[sources.beta]\ntarget = \"two\"\n";
    std::fs::create_dir_all(shell.data()).unwrap();
    std::fs::write(shell.data().join("tidegate.toml"), settings).unwrap();
    for source in ["alpha", "beta"] {
        shell.expect(0, &["publish", &shell.write(&TestBatch::full(source, 1).with([says(entity("a"), 1)]))]);
    }
    let path = shell.data().join("catalogue-two.redb");
    let good = std::fs::read(&path).unwrap();
    let mut bytes = good.clone();
    damage(&mut bytes);
    std::fs::write(&path, &bytes).unwrap();
    (path, good)
}

#[test]
fn a_damaged_catalogue_holds_up_nothing_but_what_is_published_to_it() {
    type Damage = fn(&mut Vec<u8>);
    let kinds: [(&str, Damage); 4] = [
        ("its beginning is overwritten", |bytes| bytes[..64].fill(0x82)),
        ("it is cut short", |bytes| bytes.truncate(5_000)),
        ("all of it is overwritten", |bytes| bytes.fill(0x82)),
        ("all but its beginning is overwritten", |bytes| bytes[512..].fill(0x82)),
    ];
    for (what, damage) in kinds {
        let shell = Shell::new();
        let (path, good) = damaged(&shell, damage);
        for command in [
            &["batches", "list"][..],
            &["sources", "list"],
            &["catalogue", "get", "t", "a", "--target", "one"],
        ] {
            shell.expect(0, command);
        }
        let next = |source| shell.write(&TestBatch::full(source, 2).with([says(entity("a"), 2)]));
        shell.expect(0, &["publish", &next("alpha")]);
        let refused = shell.run(&["publish", &next("beta")]);
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{what}: {stderr}");
        assert!(
            stderr.contains("CATALOGUE_FAILED") && stderr.contains("catalogue-two.redb"),
            "{what}: {stderr}"
        );
        assert!(!stderr.contains("panicked"), "{what}: {stderr}");
        let refused = shell.run(&["catalogue", "get", "t", "a", "--target", "two"]);
        assert_eq!(refused.status.code(), Some(1), "{what}");
        assert!(shell.expect(1, &["doctor"]).contains("catalogue-two.redb"), "{what}");

        // A server tells it, and goes on when the file is mended.
        let server = shell.serve();
        shell.expect(0, &["batches", "list"]);
        support::until("beta is held", || {
            shell.expect(0, &["--json", "sources", "show", "beta"]).contains("CATALOGUE_FAILED")
        });
        let beside = path.with_extension("back");
        std::fs::write(&beside, &good).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        shell.expect(0, &["sources", "resume", "beta", "--yes", "--reason", "restored"]);
        support::until("what waited was published", || {
            let found = shell.expect(0, &["catalogue", "get", "t", "a", "--target", "two", "--json"]);
            found.contains("\"x\":2")
        });
        server.stop();
    }
}

#[test]
fn damage_wherever_it_is_ends_no_command_by_a_panic() {
    let shell = Shell::new();
    let names: Vec<String> = (0..60).map(|n| format!("n{n:03}")).collect();
    let lines = names.iter().map(|name| says(entity(name), 1));
    let edges = names.windows(2).map(|pair| says(edge(&pair[0], &pair[1]), 1));
    shell.expect(0, &["publish", &shell.write(&TestBatch::full("alpha", 1).with(lines.chain(edges)))]);
    let path = shell.data().join("catalogue.redb");
    let good = std::fs::read(&path).unwrap();
    let mut told = 0;
    for place in (4096..good.len() as u64).step_by(4096) {
        std::fs::write(&path, &good).unwrap();
        let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(place)).unwrap();
        file.write_all(&[0x82]).unwrap();
        drop(file);
        let commands = [
            &["catalogue", "export"][..],
            &["catalogue", "get", "t", "n001"],
            &["catalogue", "search", "--ranked", "n001"],
            &["doctor"],
        ];
        for command in commands {
            let output = shell.run(command);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(0 | 1)), "{place} {command:?}: {stderr}");
            told += u32::from(stderr.contains("CATALOGUE_FAILED") && stderr.contains("catalogue.redb"));
        }
    }
    assert!(told > 0, "no command met the damage");
    // Undamaged it is as it was.
    std::fs::write(&path, &good).unwrap();
    assert_eq!(shell.expect(0, &["catalogue", "export"]).lines().count(), 119);
}

#[test]
fn a_catalogue_that_was_published_to_is_not_made_anew_whatever_became_of_its_file() {
    let shell = Shell::new();
    let batch = |time, x| shell.write(&TestBatch::full("alpha", time).with([says(entity("a"), x)]));
    shell.expect(0, &["publish", &batch(1, 1)]);
    let path = shell.data().join("catalogue.redb");
    let good = std::fs::read(&path).unwrap();
    let next = batch(2, 2);
    type Harm = fn(&std::path::Path, &[u8]);
    let harms: [(&str, Harm); 4] = [
        ("its first bytes are zeros", |path, good| {
            let mut bytes = good.to_vec();
            bytes[..16].fill(0);
            std::fs::write(path, bytes).unwrap();
        }),
        ("it is gone", |path, _| std::fs::remove_file(path).unwrap()),
        ("a folder is in its place", |path, _| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        }),
        ("it is a link to a disk that is not mounted", |path, _| {
            std::fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/nowhere/catalogue.redb", path).unwrap();
        }),
    ];
    for (what, harm) in harms {
        harm(&path, &good);
        let before = path.symlink_metadata().map(|meta| (meta.file_type(), meta.len())).ok();
        for command in [&["plan", next.as_str()][..], &["publish", &next], &["catalogue", "export"]] {
            let told = shell.refused(1, command);
            assert!(told.contains("CATALOGUE_FAILED"), "{what} {command:?}: {told}");
        }
        shell.expect(0, &["batches", "list"]);
        assert_eq!(path.symlink_metadata().map(|meta| (meta.file_type(), meta.len())).ok(), before, "{what}");
        if path.is_dir() {
            std::fs::remove_dir(&path).unwrap();
        }
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, &good).unwrap();
        shell.expect(0, &["catalogue", "get", "t", "a"]);
    }
    shell.expect(0, &["publish", &next]);
}

#[test]
fn a_folder_of_somebody_else_does_not_become_a_state_folder() {
    let shell = Shell::new();
    let folder = shell.folder.path().join("theirs");
    std::fs::create_dir_all(folder.join("tmp")).unwrap();
    std::fs::write(folder.join("tmp/thesis"), "mine").unwrap();
    shell.settings(&format!("[state]\nurl = {:?}\n", folder.display().to_string()));
    let told = shell
        .refused(1, &["publish", &shell.write(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)]))]);
    assert!(told.contains("STATE_FOREIGN") && told.contains("\"tmp\""), "{told}");
    assert_eq!(std::fs::read_to_string(folder.join("tmp/thesis")).unwrap(), "mine");
}
