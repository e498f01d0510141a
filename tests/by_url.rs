//! `plan` and `publish` of a batch that is given by its URL.

mod support;

use std::process::Output;

use serde_json::Value;
use support::batches::{TestBatch, entity, says};
use support::bucket::{self, Objects};
use support::shell::Shell;

fn batch(time: u32, count: i64) -> TestBatch {
    TestBatch::full("alpha", time).with((0..count).map(|n| says(entity(&format!("n{n}")), 1)))
}

/// Puts the files of a batch into a folder of the bucket.
fn put(objects: &Objects, shell: &Shell, name: &str, batch: &TestBatch) {
    for entry in std::fs::read_dir(shell.write(batch)).unwrap() {
        let entry = entry.unwrap();
        let key = format!("batches/{name}/{}", entry.file_name().to_string_lossy());
        objects.lock().unwrap().insert(key, std::fs::read(entry.path()).unwrap());
    }
}

/// Runs the binary with the bucket at hand.
fn run(shell: &Shell, endpoint: &str, code: i32, arguments: &[&str]) -> Output {
    let mut command = shell.command(arguments);
    command.env("AWS_ENDPOINT", endpoint).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "here");
    let output = command.env("AWS_SKIP_SIGNATURE", "true").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    output
}

fn state(output: Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_batch_in_an_object_store_is_planned_and_published_by_its_url() {
    let shell = Shell::new();
    let objects = Objects::default();
    put(&objects, &shell, "monday", &batch(1, 20));
    put(&objects, &shell, "tuesday", &batch(2, 0));
    let endpoint = bucket::serve(&objects);
    let run = |code: i32, arguments: &[&str]| run(&shell, &endpoint, code, arguments);

    let planned = run(2, &["plan", "s3://metadata/batches/monday"]);
    assert!(String::from_utf8_lossy(&planned.stdout).contains("+ t n0"));
    assert!(!shell.data().exists());
    let published = state(run(0, &["--json", "publish", "s3://metadata/batches/monday/"]));
    assert_eq!(published["s3_path"], "s3://metadata/batches/monday/");
    assert_eq!(published["metrics"]["entities_created"], 20);
    let again = state(run(0, &["--json", "publish", "s3://metadata/batches/monday"]));
    assert_eq!(again, published);
    // What waits for a person is kept, wherever it came from.
    let parked = state(run(3, &["--json", "publish", "s3://metadata/batches/tuesday"]));
    shell.expect(0, &["batches", "approve", parked["batch_id"].as_str().unwrap()]);
    assert_eq!(shell.expect(0, &["catalogue", "export"]), "");

    let absent = run(1, &["publish", "s3://metadata/batches/nothing"]);
    let absent = String::from_utf8_lossy(&absent.stderr).into_owned();
    assert!(absent.contains("there is nothing in s3://metadata/batches/nothing/"), "{absent}");
}

#[test]
fn a_folder_may_be_given_by_its_url_and_other_urls_are_refused() {
    let shell = Shell::new();
    let url = format!("file://{}", shell.write(&batch(1, 3)));
    shell.expect(2, &["plan", &url]);
    shell.expect(0, &["publish", &url]);
    let error = shell.refused(64, &["plan", "ftp://metadata/monday"]);
    assert!(error.contains("there are file and s3"), "{error}");
    shell.refused(64, &["publish", "s3://metadata"]);
}

#[test]
fn one_whose_manifest_cant_be_used_is_failed_and_goes_on_when_it_was_mended() {
    let shell = Shell::new();
    let objects = Objects::default();
    put(&objects, &shell, "monday", &batch(1, 20));
    let endpoint = bucket::serve(&objects);
    let run = |code: i32, arguments: &[&str]| run(&shell, &endpoint, code, arguments);
    let publish = ["--json", "publish", "s3://metadata/batches/monday"];
    let manifest = "batches/monday/manifest.json".to_owned();
    let good = objects.lock().unwrap()[&manifest].clone();
    let broken = |word: &str| String::from_utf8_lossy(&good).replace("\"mode\"", word).into_bytes();

    objects.lock().unwrap().insert(manifest.clone(), broken("\"mod\""));
    let failed = state(run(1, &publish));
    assert_eq!(failed["batch_id"], batch(1, 20).id());
    assert_eq!(failed["failure_details"]["error_code"], "BATCH_MANIFEST_INVALID");
    // As it is, it is that again.
    run(1, &publish);
    let id = batch(1, 20).id();
    let refused = run(1, &["batches", "retry", &id]);
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("mod"), "{refused}");
    // Mended once for a person's retry, once for another publish.
    objects.lock().unwrap().insert(manifest.clone(), good.clone());
    run(0, &["batches", "retry", &id]);
    let published = state(run(0, &publish));
    assert_eq!(
        (&published["status"], &published["metrics"]["entities_created"]),
        (&"COMPLETE".into(), &20.into())
    );

    put(&objects, &shell, "tuesday", &batch(2, 21));
    let manifest = "batches/tuesday/manifest.json".to_owned();
    let good = objects.lock().unwrap()[&manifest].clone();
    objects.lock().unwrap().insert(manifest.clone(), b"{".to_vec());
    // Nothing tells which batch it is.
    run(1, &["publish", "s3://metadata/batches/tuesday"]);
    let text = String::from_utf8_lossy(&good).replace("\"mode\"", "\"mod\"");
    objects.lock().unwrap().insert(manifest.clone(), text.into_bytes());
    let failed = state(run(1, &["--json", "publish", "s3://metadata/batches/tuesday"]));
    assert_eq!(failed["status"], "FAILED");
    objects.lock().unwrap().insert(manifest, good);
    let published = state(run(0, &["--json", "publish", "s3://metadata/batches/tuesday"]));
    assert_eq!(
        (&published["batch_id"], &published["metrics"]["entities_created"]),
        (&batch(2, 21).id().into(), &1.into())
    );
}

#[test]
fn a_mended_manifest_without_its_data_takes_no_copy_away() {
    let shell = Shell::new();
    let objects = Objects::default();
    put(&objects, &shell, "monday", &batch(1, 20));
    let endpoint = bucket::serve(&objects);
    let run = |code: i32, arguments: &[&str]| run(&shell, &endpoint, code, arguments);
    let publish = ["--json", "publish", "s3://metadata/batches/monday"];
    let [file, manifest] =
        ["entities-00000.ndjson", "manifest.json"].map(|name| format!("batches/monday/{name}"));
    let good = objects.lock().unwrap()[&manifest].clone();
    let broken = String::from_utf8_lossy(&good).replace("\"mode\"", "\"mod\"").into_bytes();
    objects.lock().unwrap().insert(manifest.clone(), broken);
    run(1, &publish);
    let copy = shell.data().join("state").join(batch(1, 20).id().replace(':', "/pins/"));
    assert!(copy.join("entities-00000.ndjson").is_file());
    let data = objects.lock().unwrap().remove(&file).unwrap();
    objects.lock().unwrap().insert(manifest, good);
    let refused = run(1, &publish);
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("entities-00000.ndjson") && refused.contains("batches/monday"), "{refused}");
    assert!(copy.join("entities-00000.ndjson").is_file());
    objects.lock().unwrap().insert(file, data);
    assert_eq!(state(run(0, &publish))["metrics"]["entities_created"], 20);
}

#[test]
fn one_that_failed_is_tried_again_as_it_lies_there_by_then() {
    let shell = Shell::new();
    let objects = Objects::default();
    put(&objects, &shell, "monday", &batch(1, 20));
    let endpoint = bucket::serve(&objects);
    let run = |code: i32, arguments: &[&str]| run(&shell, &endpoint, code, arguments);
    let publish = ["--json", "publish", "s3://metadata/batches/monday"];
    let retry = ["batches", "retry", &batch(1, 20).id()];
    let [file, manifest] =
        ["entities-00000.ndjson", "manifest.json"].map(|name| format!("batches/monday/{name}"));
    let good = [&file, &manifest].map(|key| objects.lock().unwrap()[key].clone());
    let put = |key: &String, bytes: &[u8]| objects.lock().unwrap().insert(key.clone(), bytes.to_vec());
    let other = String::from_utf8_lossy(&good[1]).replace("\"count\":20", "\"count\":21");
    let code = |output: Output| state(output)["failure_details"]["error_code"].as_str().unwrap().to_owned();

    // Its file is another one, its manifest is wrong; then one after the other is mended.
    put(&file, &good[0][1..]);
    put(&manifest, other.as_bytes());
    assert_eq!(code(run(1, &publish)), "BATCH_SIZE_MISMATCH");
    put(&file, &good[0]);
    run(1, &retry);
    assert_eq!(code(run(1, &publish)), "BATCH_COUNT_MISMATCH");
    put(&manifest, &good[1]);
    let refused = run(1, &publish);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("batches retry"), "{refused:?}");
    run(0, &retry);
    let published = state(run(0, &publish));
    assert_eq!(published["metrics"]["entities_created"], 20, "{published}");
}

#[test]
fn one_that_an_inbox_did_not_see_yet_is_published_from_there() {
    let shell = Shell::new();
    let objects = Objects::default();
    let id = batch(1, 20).id();
    let folder = id.replace(':', "/");
    put(&objects, &shell, &folder, &batch(1, 20));
    let endpoint = bucket::serve(&objects);
    shell.settings("[[inbox]]\nurl = \"s3://metadata/batches/\"\n");
    let url = format!("s3://metadata/batches/{folder}");
    let published = state(run(&shell, &endpoint, 0, &["--json", "publish", &url]));
    assert_eq!(published["metrics"]["entities_created"], 20, "{published}");
}

/// Makes a store anew that is lost.
fn lose_and_recover(shell: &Shell, endpoint: &str) -> Value {
    std::fs::remove_file(shell.data().join("tidegate.redb")).unwrap();
    let state_folder = shell.data().join("state").display().to_string();
    state(run(shell, endpoint, 0, &["--json", "recover", "--state", &state_folder]))
}

#[test]
fn one_that_failed_is_known_by_its_url_again_after_a_recovery() {
    let shell = Shell::new();
    let objects = Objects::default();
    put(&objects, &shell, "monday", &batch(1, 20));
    let endpoint = bucket::serve(&objects);
    let run = |code: i32, arguments: &[&str]| run(&shell, &endpoint, code, arguments);
    let publish = ["--json", "publish", "s3://metadata/batches/monday"];
    let (id, file) = (batch(1, 20).id(), "batches/monday/entities-00000.ndjson".to_owned());
    let good = objects.lock().unwrap()[&file].clone();
    objects.lock().unwrap().insert(file.clone(), good[1..].to_vec());
    run(1, &publish);
    assert_eq!(lose_and_recover(&shell, &endpoint)["batches"], serde_json::json!([id]));
    // It is mended there, and told so.
    objects.lock().unwrap().insert(file, good);
    let given = state(run(1, &publish));
    assert_eq!(given["s3_path"], "s3://metadata/batches/monday/", "{given}");
    run(0, &["batches", "retry", &id]);
    assert_eq!(state(run(0, &publish))["metrics"]["entities_created"], 20);
}

#[test]
fn one_that_a_recovery_passed_by_is_published_as_it_lies_there_by_then() {
    let shell = Shell::new();
    let objects = Objects::default();
    let endpoint = bucket::serve(&objects);
    shell.settings("[[inbox]]\nurl = \"s3://metadata/batches/\"\n");
    let friday = TestBatch::incremental("alpha", 5).with([says(entity("new"), 1)]);
    put(&objects, &shell, "friday", &friday);
    run(&shell, &endpoint, 0, &["publish", "s3://metadata/batches/friday"]);
    let late = TestBatch::incremental("alpha", 1).with([says(entity("late"), 1)]);
    let folder = late.id().replace(':', "/");
    put(&objects, &shell, &folder, &late);
    let manifest = format!("batches/{folder}/manifest.json");
    let good = objects.lock().unwrap()[&manifest].clone();
    objects.lock().unwrap().insert(manifest.clone(), b"{}".to_vec());
    let recovered = lose_and_recover(&shell, &endpoint);
    assert_eq!(recovered["passed_by"], serde_json::json!([format!("s3://metadata/batches/{folder}")]));
    objects.lock().unwrap().insert(manifest, good);
    let url = format!("s3://metadata/batches/{folder}");
    let published = state(run(&shell, &endpoint, 0, &["--json", "publish", &url]));
    assert_eq!(published["metrics"]["entities_created"], 1, "{published}");
}
