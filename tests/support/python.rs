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
    if let Some(told) = run("publish_state.py", "pydantic", states) {
        assert_eq!(told, expected);
    }
}

/// What a script of `tests/support` that needs a module tells of `input`. `None`
/// where that is not there, and need not be.
pub fn run(script: &str, module: &str, input: &impl serde::Serialize) -> Option<String> {
    let present = python(&["-c", &format!("import {module}")]).and_then(Child::wait_with_output);
    if !present.is_ok_and(|Output { status, .. }| status.success()) {
        skip_without_python(&format!("python3 with {module} is not installed"));
        return None;
    }
    let script = format!("{}/tests/support/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut child = python(&[&script]).unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(input).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A test that needs Python is left out where there is none, unless the
/// environment asks for it, as `.ci/run` does.
pub fn skip_without_python(missing: &str) {
    let asked = std::env::var_os("TIDEGATE_TEST_PYTHON").is_some_and(|value| value == "required");
    assert!(!asked, "{missing}, and TIDEGATE_TEST_PYTHON asks for this test");
    // What a test prints that passes is not shown otherwise.
    let _ = writeln!(std::io::stderr(), "skipped: {missing}");
}
