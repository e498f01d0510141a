//! Tests that need Python.

/// A test that needs Python is left out where there is none, unless the
/// environment asks for it, as `.ci/run` does.
pub fn skip_without_python(missing: &str) {
    let asked = std::env::var_os("TIDEGATE_TEST_PYTHON").is_some_and(|value| value == "required");
    assert!(!asked, "{missing}, and TIDEGATE_TEST_PYTHON asks for this test");
    println!("skipped: {missing}");
}
