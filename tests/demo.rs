//! The demo, as a new user runs it, against counts folded naively from the
//! same material.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::limit::Limit;

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

    // The guard's plan can be followed to the keys that would go, and no plan
    // is a table alone.
    let guards: Vec<&str> = text.split("\n── ").filter(|part| part.contains("\nguard: ")).collect();
    assert_eq!(guards.len(), 1);
    assert!(guards[0].contains("- 26 rdbms_table\n      rdbms_table halden"), "{}", guards[0]);
    for part in text.split("\n── ").filter(|part| part.contains("\nTYPE ")) {
        assert!(["\n+ ", "\n~ ", "\n- "].iter().any(|sign| part.contains(sign)), "{part}");
    }

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
fn the_demo_is_the_real_service_and_cleans_up_when_it_is_asked_to_end() {
    let folder = support::folder();
    let mut demo = tidegate()
        .args(["demo", "--minutes", "0", "--hurry"])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let _limit = Limit::of(&demo);
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let url = lines.by_ref().map(Result::unwrap).find_map(|line| {
        line.strip_prefix("The demo company is published at").map(|url| url.trim().to_owned())
    });
    let url = url.unwrap();
    let until_the_end = lines.map(Result::unwrap).any(|line| line.starts_with("No more batches"));
    assert!(until_the_end);
    let look = |arguments: &[&str]| {
        let output = tidegate().args(["--json", "--server", &url]).args(arguments).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let batches = look(&["batches", "list"]);
    let code = |run: &str| {
        let items = batches["items"].as_array().unwrap();
        let batch = items.iter().find(|batch| batch["batch_id"].as_str().unwrap().ends_with(run)).unwrap();
        (batch["status"].clone(), batch["failure_details"]["error_code"].clone())
    };
    assert_eq!(batches["items"].as_array().unwrap().len(), 15);
    assert_eq!(code("_inc-0003"), ("COMPLETE".into(), "PARTIAL".into()));
    assert_eq!(code("_inc-0002"), ("COMPLETE".into(), Value::Null));
    assert_eq!(code("010000Z_run-0005"), ("FAILED".into(), "SUPERSEDED".into()));
    assert_eq!(code("100000Z_run-0003"), ("COMPLETE".into(), "PARTIAL".into()));
    // One dead letter is left to be looked at, whenever somebody comes.
    let letters = look(&["dlq", "list"]);
    let open: Vec<&str> =
        letters["items"].as_array().unwrap().iter().map(|letter| letter["state"].as_str().unwrap()).collect();
    assert_eq!(open, ["open"], "{letters:#}");
    assert_eq!(letters["items"][0]["key"]["qualified_name"], "halden/stock-health/slow-movers");
    let counts = look(&["sources", "list"]);
    assert_eq!(counts["items"].as_array().unwrap().len(), 3);
    let id = rustix::process::Pid::from_child(&demo);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_served_demo_prints_json_alone_when_it_is_asked_for_that() {
    let folder = support::folder();
    let mut demo = tidegate()
        .args(["demo", "--json", "--minutes", "0", "--hurry"])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let _limit = Limit::of(&demo);
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let told: Vec<String> = lines.by_ref().take_while(|line| line != "}").collect();
    let told: Value = serde_json::from_str(&format!("{}}}", told.concat())).unwrap();
    assert!(told["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{told}");
    let id = rustix::process::Pid::from_child(&demo);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(lines.count(), 0);
    assert_eq!(demo.wait().unwrap().code(), Some(0));
}

#[test]
fn the_demo_takes_nothing_away_where_somebody_has_settings() {
    let data = support::folder();
    for name in ["tidegate.toml", "tidegate.redb"] {
        let folder = data.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(name), "# mine\n").unwrap();
        let output = tidegate().args(["demo", "--once", "--data"]).arg(&folder).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(name) && told.contains("TIDEGATE_DATA"), "{told}");
        assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), "# mine\n");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }
}

#[test]
fn the_material_is_as_its_script_makes_it() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/demo/make.py");
    match Command::new("python3").arg(script).arg("--check").output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => support::python::skip_without_python("there is no python3"),
    }
}
