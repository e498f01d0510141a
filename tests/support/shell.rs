//! The command line as a person has it: real processes on one data directory.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};

use serde_json::Value;

use super::batches::TestBatch;
use super::limit::Limit;

pub struct Shell {
    pub folder: tempfile::TempDir,
}

impl Shell {
    pub fn new() -> Self {
        Self { folder: super::folder() }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.env_clear().arg("--data").arg(self.data()).args(arguments).current_dir(self.folder.path());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        let process =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let _limit = Limit::of(&process);
        process.wait_with_output().unwrap()
    }

    /// Runs a command that has to end with this code, and returns its results.
    #[track_caller]
    pub fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
        stdout
    }

    /// The same for what it says of an error.
    #[track_caller]
    pub fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stderr}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        stderr
    }

    #[track_caller]
    pub fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend_from_slice(arguments);
        let text = self.expect(code, &all);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
    }

    pub fn write(&self, batch: &TestBatch) -> String {
        batch.write(&self.folder.path().join("batches")).display().to_string()
    }

    /// Moves a batch into the inbox, complete at once; its id.
    pub fn bring(&self, batch: &TestBatch) -> String {
        let made = PathBuf::from(self.write(batch));
        let place = self.data().join("inbox").join(&batch.source);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::rename(made, place.join(batch.folder_name())).unwrap();
        batch.id()
    }

    /// Writes the settings file. The server's port is any that is free.
    pub fn settings(&self, text: &str) {
        std::fs::create_dir_all(self.data()).unwrap();
        let text = format!("[server]\nlisten = \"127.0.0.1:0\"\n{text}");
        std::fs::write(self.data().join("tidegate.toml"), text).unwrap();
    }

    pub fn serve(&self) -> Serving {
        if !self.data().join("tidegate.toml").exists() {
            self.settings("");
        }
        self.serve_with(self.command(&["serve"]))
    }

    /// A server by a command of its own, such as one with other variables.
    pub fn serve_with(&self, command: Command) -> Serving {
        Serving::start(command, &self.data())
    }
}

/// A server in a process of its own.
pub struct Serving {
    pub process: Child,
    pub url: String,
    log: Option<std::thread::JoinHandle<String>>,
    limit: Option<Limit>,
}

impl Serving {
    fn start(mut command: Command, data: &Path) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let limit = Limit::of(&process);
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut seen = String::new();
        // It says where it is once it can be reached.
        while !seen.contains("Tidegate serves ") {
            assert!(log.read_line(&mut seen).unwrap() > 0, "it ended:\n{seen}");
        }
        let url = seen.split("Tidegate serves ").nth(1).unwrap().trim().to_owned();
        assert!(data.join("tidegate.server").exists());
        Self { process, url, log: Some(std::thread::spawn(move || drain(log))), limit: Some(limit) }
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(self) -> ExitStatus {
        self.stop_with_log().0
    }

    /// The same, with what it wrote into its log since it could be reached.
    pub fn stop_with_log(mut self) -> (ExitStatus, String) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.process.wait().unwrap();
        self.limit = None;
        let log = self.log.take().unwrap().join().unwrap();
        (status, log)
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, signal).unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A failed test leaves no server behind.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Everything that a `.tar.gz` holds, as text, by name.
pub fn unpack(path: &Path) -> Vec<(String, String)> {
    let file = std::fs::File::open(path).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut found = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        found.push((name, text));
    }
    found
}

/// A full pipe would hold the server up.
fn drain(mut log: BufReader<ChildStderr>) -> String {
    let mut rest = Vec::new();
    let _ = log.read_to_end(&mut rest);
    String::from_utf8_lossy(&rest).into_owned()
}
