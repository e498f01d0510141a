//! A disk of a few megabytes that can be filled, in a mount namespace of its
//! own, where the system lets us make one.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// See the head of this file.
pub struct SmallDisk {
    holder: Child,
    place: tempfile::TempDir,
}

impl SmallDisk {
    /// A disk of `size` bytes; `None`, with a message, where mounting is not
    /// permitted.
    pub fn new(size: u64) -> Option<Self> {
        let place = super::folder();
        let script = format!("mount -t tmpfs -o size={size} tmpfs \"$1\" && echo mounted && exec cat");
        let holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script, "sh"])
            .arg(place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut holder = match holder {
            Ok(holder) => holder,
            Err(error) => return skip(&error.to_string()),
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.trim() != "mounted" {
            let mut text = String::new();
            holder.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            let _ = holder.wait();
            return skip(text.trim());
        }
        Some(Self { holder, place })
    }

    /// Where programs that run on it find it.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// A command that finds it there.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id())).arg("--").arg(program);
        command
    }

    /// Where this process finds what lies at a path of it.
    pub fn seen(&self, name: &str) -> PathBuf {
        let place = self.place.path().strip_prefix("/").unwrap();
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(place).join(name)
    }

    /// Writes a file until only so many bytes are left.
    pub fn leave(&self, bytes: u64) {
        let found = rustix::fs::statvfs(self.seen(".")).unwrap();
        let free = found.f_bavail * found.f_frsize;
        std::fs::write(self.seen("filler"), vec![1; free.saturating_sub(bytes) as usize]).unwrap();
    }

    /// Removes that file again.
    pub fn make_room(&self) {
        std::fs::remove_file(self.seen("filler")).unwrap();
    }
}

/// Tests that need such a disk are left out where none can be made, unless the
/// environment asks for them, as `.ci/run` does where it can make one.
fn skip(why: &str) -> Option<SmallDisk> {
    let asked = std::env::var_os("TIDEGATE_TEST_SMALL_DISK").is_some_and(|value| value == "required");
    assert!(!asked, "no small disk can be made, and TIDEGATE_TEST_SMALL_DISK asks for one: {why}");
    // What a test prints that passes is not shown otherwise.
    let _ = writeln!(std::io::stderr(), "skipped: no small disk can be made here: {why}");
    None
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
