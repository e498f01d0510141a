//! An object store that is never ready: few requests and an error, not minutes of
//! the store's client trying again by itself.

mod support;

use std::sync::atomic::Ordering;

use support::bucket;
use support::shell::Shell;

/// The first request of a command, and those that its client makes for it.
const MOST: usize = 3;

#[test]
fn a_store_that_answers_503_for_ever_is_given_up_after_a_few_requests() {
    let shell = Shell::new();
    let (endpoint, requests) = bucket::overloaded();
    for command in ["plan", "publish"] {
        let before = requests.load(Ordering::SeqCst);
        let mut command = shell.command(&["--json", command, "s3://metadata/batches/monday"]);
        command.env("AWS_ENDPOINT", &endpoint).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "here");
        let output = command.env("AWS_SKIP_SIGNATURE", "true").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let error: serde_json::Value = serde_json::from_str(&stderr).unwrap();
        assert_eq!(error["error_code"], "OBJECT_STORE_FAILED", "{error}");
        assert!(error.to_string().contains("s3://metadata/batches/"), "{error}");
        let made = requests.load(Ordering::SeqCst) - before;
        assert!((2..=MOST).contains(&made), "{made} requests");
    }
}
