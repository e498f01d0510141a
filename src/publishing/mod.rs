//! Plan → operations → outcomes → the next snapshot, with a journal: a crash
//! at any point resumes without loss or double effect (`SEMANTICS` 10).

mod ahead;
pub mod crash;
pub mod execute;
pub mod going;
pub mod isolate;
pub mod operation;
pub mod outcome;
pub mod send;
pub mod suspect;
