//! The demo, as a new user runs it, against counts folded naively from the
//! same material.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn tidegate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.env_clear().arg("-q");
    command
}

#[test]
fn the_demo_publishes_its_company_and_shows_every_plan() {
    let data = support::folder();
    let output = tidegate().args(["demo", "--once", "--data"]).arg(data.path().join("d")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.matches("\nPlan: ").count(), 15);
    assert!(text.contains("guard: ") && text.contains("FAILED REJECTED") && text.contains("superseded"));

    let export =
        tidegate().args(["catalogue", "export", "--data"]).arg(data.path().join("d")).output().unwrap();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for line in String::from_utf8(export.stdout).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        *counts.entry(line["type"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let expected = include_str!("../data/demo/expected.json");
    assert_eq!(counts, serde_json::from_str::<BTreeMap<String, u64>>(expected).unwrap());
}

#[test]
fn the_demo_leaves_nothing_behind_without_a_data_directory() {
    let folder = support::folder();
    let output = tidegate().args(["demo", "--once"]).env("TMPDIR", folder.path()).output().unwrap();
    assert!(output.status.success());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_material_is_as_its_script_makes_it() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/demo/make.py");
    match Command::new("python3").arg(script).arg("--check").output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => println!("skipped: there is no python3"),
    }
}
