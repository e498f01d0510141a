//! Which threads come first where there are few cores: those that answer
//! requests, then those that publish, then those that index behind them.
//! Where there are cores for all of them, nothing is slower for it.

/// How far threads that publish stand back.
pub const PUBLISHING: i32 = 5;
/// How far threads that index stand back: publishing comes before them.
pub const INDEXING: i32 = 15;
/// The system has none that stand further back.
const LAST: i32 = 19;

/// Has this thread, and those that it starts, stand back by so many steps of
/// the system's priority. On other systems than Linux the call would be about
/// the whole process.
pub fn stand_back(steps: i32) {
    #[cfg(target_os = "linux")]
    {
        // From where the process stands: one that was started with a low
        // priority must not get a higher one.
        let lowered = rustix::process::getpriority_process(None)
            .and_then(|now| rustix::process::setpriority_process(None, (now + steps).min(LAST)));
        if let Err(error) = lowered {
            tracing::debug!(%error, "the priority of a thread stays as it is");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (steps, LAST);
}
