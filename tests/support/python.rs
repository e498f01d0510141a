//! Tests that need Python.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

fn python(arguments: &[&str]) -> std::io::Result<Child> {
    let mut command = Command::new("python3");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// Has the specification's own model parse publish states, and checks the
/// `ID STATUS` lines that it tells of them. Left out where there is no pydantic.
pub fn expect_publish_states(states: &impl serde::Serialize, expected: &str) {
    let present = python(&["-c", "import pydantic"]).and_then(Child::wait_with_output);
    if !present.is_ok_and(|Output { status, .. }| status.success()) {
        skip_without_python("python3 with pydantic is not installed");
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/publish_state.py");
    let mut child = python(&[script]).unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(states).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

/// A test that needs Python is left out where there is none, unless the
/// environment asks for it, as `.ci/run` does.
pub fn skip_without_python(missing: &str) {
    let asked = std::env::var_os("TIDEGATE_TEST_PYTHON").is_some_and(|value| value == "required");
    assert!(!asked, "{missing}, and TIDEGATE_TEST_PYTHON asks for this test");
    println!("skipped: {missing}");
}
