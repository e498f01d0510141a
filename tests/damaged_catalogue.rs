//! A catalogue's file that is damaged: what uses it says so, and does not panic.

mod support;

use std::io::{Seek, SeekFrom, Write};

use support::batches::{TestBatch, edge, entity, says};
use support::shell::Shell;

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
