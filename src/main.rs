//! The `tidegate` command.
#![forbid(unsafe_code)]

/// Gives freed memory back to the system: that of the C library keeps it in up
/// to eight arenas for each processor, and a service grew by the hour.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    tidegate::cli::main()
}
