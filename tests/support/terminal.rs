//! Commands on a terminal of their own.

use std::io::Write;
use std::process::{Command, Stdio};

use super::python::skip_without_python;

/// Runs a command on a terminal of its own, with what is typed; its exit code,
/// and all that the terminal shows. `None`: there is no Python to make one.
pub fn at_a_terminal(command: &Command, typed: &str) -> Option<(i32, String)> {
    const SPAWN: &str = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let mut python = Command::new("python3");
    python.args(["-c", SPAWN]).arg(command.get_program()).args(command.get_args());
    python.current_dir(command.get_current_dir().unwrap()).env_clear();
    python.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    python.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let started = python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut started) = started else {
        skip_without_python("python3 is not installed");
        return None;
    };
    started.stdin.as_mut().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = started.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
    Some((output.status.code().unwrap(), text))
}
