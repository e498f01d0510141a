//! The publish state against the specification's own model: the JSON parses
//! with pydantic, and has exactly the model's members.

#[path = "support/python.rs"]
mod python;
#[path = "support/store.rs"]
mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use support::{filled, pending, stamp};
use tidegate::domain::publish_state::PublishStatus;

const ALL: [PublishStatus; 7] = [
    PublishStatus::Pending,
    PublishStatus::Planning,
    PublishStatus::PlanComplete,
    PublishStatus::Executing,
    PublishStatus::Complete,
    PublishStatus::Failed,
    PublishStatus::Retrying,
];

#[test]
fn every_status_parses_with_the_specifications_model() {
    let run = |arguments: &[&str]| {
        Command::new("python3")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };
    let present = run(&["-c", "import pydantic"]).and_then(|child| child.wait_with_output());
    if !present.is_ok_and(|output| output.status.success()) {
        python::skip_without_python("python3 with pydantic is not installed");
        return;
    }
    let mut states = Vec::new();
    let mut expected = String::new();
    for status in ALL {
        for mut record in [pending(&stamp(1, "run-1")), filled(&stamp(2, "run-2"))] {
            record.status = status;
            expected += &format!("{} {}\n", record.batch_id, status.as_str());
            states.push(record.publish_state());
        }
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/publish_state.py");
    let mut child = run(&[script]).unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(&states).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}
