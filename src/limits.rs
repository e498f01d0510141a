//! Limits that input is held to, in one place.
//!
//! Those that an operator may want to move are settings (`config.rs`) with
//! these defaults; the rest are part of a stored format or of the contract.

/// Longest line of a batch file, in bytes (setting `limits.max_line`).
pub const MAX_LINE: usize = 8 << 20;
/// Deepest nesting of JSON arrays and objects in a line.
pub const MAX_DEPTH: usize = 128;
/// Longest `type` of an entity or relationship, in bytes.
pub const MAX_TYPE: usize = 256;
/// Longest `qualified_name` or `label`, in bytes.
pub const MAX_NAME: usize = 16 << 10;
/// Largest manifest, in bytes.
pub const MAX_MANIFEST: u64 = 16 << 20;
/// Most globs of a list of a manifest's scope.
pub const MAX_GLOBS: usize = 10_000;
/// Most bytes a compressed file may unfold to, per stored byte
/// (setting `limits.max_expansion`). Runs of equal lines reach some hundreds.
pub const MAX_EXPANSION: u64 = 2_000;
/// Most bytes that one file may unfold to (setting `limits.max_file`).
pub const MAX_FILE: u64 = 64 << 30;
/// How far ahead of the clock a source timestamp may lie, in seconds
/// (setting `limits.max_future`).
pub const MAX_FUTURE_SECONDS: u64 = 600;
/// Most full records a snapshot keeps (`SEMANTICS` 2).
pub const MAX_FULL_RECORDS: usize = 1_000;
/// Most commits of a target whose footprints are kept for older plans; a plan
/// that is older still is made again (`SEMANTICS` 6).
pub const MAX_KEPT_COMMITS: usize = 256;
/// Most keys of withheld deletions that a plan lists; all are counted.
pub const MAX_WITHHELD: usize = 1_000;
/// Most keys of a batch of which a skip keeps something back: the snapshot has
/// to remember each.
pub const MAX_SKIPPED: u64 = 10_000;
/// Largest power of ten of a JSON number. Beyond it the line is bad: nothing that
/// describes metadata needs it, and it would have to be carried as text.
pub const MAX_EXPONENT: i64 = 1_000_000;
