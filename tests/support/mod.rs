//! What the tests share: batches on disk, a naive model of the rules, and
//! random histories.
#![allow(dead_code)]

pub mod batches;
pub mod bucket;
pub mod catalogue;
pub mod faults;
pub mod faulty_store;
pub mod history;
pub mod hooked;
pub mod limit;
pub mod moment;
pub mod oracle;
pub mod planned;
pub mod python;
pub mod receiver;
pub mod server;
pub mod shell;
pub mod small_disk;
pub mod target_server;
pub mod terminal;
pub mod twenty;
pub mod world;

/// A folder for one test. In memory where the machine has such a place, so
/// that syncing costs nothing; what is tested is the order of events.
pub fn folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Waits for something that other threads do; a minute is for ever.
#[track_caller]
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if done() {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    panic!("{what} did not happen");
}
