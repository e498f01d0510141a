//! Batches that are sent to be planned: the answer is the plan that the
//! command line prints, and nothing is queued, published or left behind.

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::batches::{TestBatch, entity, says};
use support::server::Server;

const TAR: (&str, &str) = ("Content-Type", "application/x-tar");

fn archive(batch: &TestBatch) -> Vec<u8> {
    let folder = support::folder();
    let path = batch.write(folder.path());
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all("batch", &path).unwrap();
    builder.into_inner().unwrap()
}

fn first() -> TestBatch {
    TestBatch::full("alpha", 1).with(["a", "b"].iter().map(|name| says(entity(name), 1)))
}

fn second() -> TestBatch {
    TestBatch::full("alpha", 2).with([says(entity("a"), 2), says(entity("c"), 1)])
}

#[test]
fn an_uploaded_batch_is_planned_as_the_command_line_does_and_never_queued() {
    let server = Server::new();
    server.publish(&first());
    let answer = server.send("POST", "/api/v1/plans", &[TAR], &archive(&second()));
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    let plan = answer.json();
    assert_eq!((&plan["format"], &plan["batch_id"]), (&json!("tidegate.plan/1"), &json!(second().id())));
    assert_eq!(plan["summary"]["entities"]["create"], 1);
    assert_eq!(plan["changes"].as_array().unwrap().len(), 3);
    assert_eq!(server.fetch(answer.header("location")), plan);
    assert_eq!(server.all("/api/v1/batches", 50).len(), 1);

    // The same plan on the command line, but for its id.
    let other = support::folder();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.env_clear().arg("--data").arg(other.path().join("data")).args(arguments);
        command.output().unwrap()
    };
    let folders = support::folder();
    let (one, two) = (first().write(folders.path()), second().write(folders.path()));
    assert!(run(&["publish", &one.display().to_string()]).status.success());
    let printed = run(&["--json", "plan", &two.display().to_string()]);
    let mut printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let mut plan = plan;
    for member in ["plan_id", "base_snapshot", "guards"] {
        plan.as_object_mut().unwrap().remove(member);
        printed.as_object_mut().unwrap().remove(member);
    }
    assert_eq!(plan, printed);
}

#[test]
fn nothing_of_an_upload_stays_and_its_plan_goes_in_time() {
    let server = Server::with(|settings| settings.server.plan_ttl = std::time::Duration::from_secs(60));
    let count =
        |folder: &str| std::fs::read_dir(server.data.path().join(folder)).map_or(0, |found| found.count());
    let plans = || count("spool/.plans");
    let answer = server.send("POST", "/api/v1/plans", &[TAR], &archive(&first()));
    let location = answer.header("location").to_owned();
    assert_eq!((plans(), count("spool/.uploads"), count("state/alpha/plans")), (1, 0, 0));
    server.clock.advance(std::time::Duration::from_secs(59));
    assert_eq!(server.get(&location).status, 200);
    server.clock.advance(std::time::Duration::from_secs(2));
    server.get(&location).problem(404, "NOT_FOUND");
    assert_eq!(plans(), 0);
    for _ in 0..70 {
        assert_eq!(server.send("POST", "/api/v1/plans", &[TAR], &archive(&first())).status, 201);
    }
    assert_eq!(plans(), 64);
}

#[test]
fn what_is_no_batch_is_refused() {
    let server = Server::with(|settings| settings.server.max_upload = 100_000);
    let send = |body: &[u8]| server.send("POST", "/api/v1/plans", &[TAR], body);
    send(b"no archive").problem(422, "UPLOAD_INVALID");
    send(b"").problem(422, "UPLOAD_INVALID");
    send(&archive(&first())[..1500]).problem(422, "UPLOAD_INVALID");
    send(&vec![0; 200_000]).problem(413, "BODY_TOO_LARGE");
    server
        .send("POST", "/api/v1/plans", &[("Content-Type", "application/json")], &archive(&first()))
        .problem(415, "MEDIA_TYPE");
    let chunk = vec![b'x'; 50_000];
    let mut chunked = b"POST /api/v1/plans HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..3 {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(&chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let answer = support::server::exchange(server.address, &chunked);
    assert!([413, 422].contains(&answer.status), "{}", answer.status);
    // A batch that breaks the contract says so.
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    builder.append_data(&mut header, "manifest.json", &b"{}"[..]).unwrap();
    send(&builder.into_inner().unwrap()).problem(422, "BATCH_MANIFEST_INVALID");
    assert_eq!(std::fs::read_dir(server.data.path().join("spool/.uploads")).unwrap().count(), 0);
}
