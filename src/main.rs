//! The `tidegate` command.
#![forbid(unsafe_code)]

/// Gives freed memory back to the system: that of the C library keeps it in up
/// to eight arenas for each processor, and a service grew by the hour.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    allow_many_files();
    let _ = tell_of_long_files();
    tidegate::cli::main()
}

/// A snapshot has a pack open for each batch that left something in it, and
/// what shells and services are usually allowed, 1,024 files, is less than the
/// system has: whatever it allows is asked for.
#[cfg(unix)]
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where that is refused, it is as it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

#[cfg(not(unix))]
fn allow_many_files() {}

/// A file that would grow past what the process may write is an error that is
/// told of, and not its silent end: with the signal taken, the write fails.
#[cfg(unix)]
fn tell_of_long_files() -> std::io::Result<()> {
    let met = std::sync::Arc::default();
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, met).map(drop)
}

#[cfg(not(unix))]
fn tell_of_long_files() -> std::io::Result<()> {
    Ok(())
}
