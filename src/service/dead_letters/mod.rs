//! Dead letters: made by a commit, made moot by one, and what people do about
//! them.
//!
//! ```text
//! make     what a plan and its execution leave; same_key: rejects of one key;
//!          spool: where it lies until the commit; moot: what they settle;
//!          owners: whose assertion a change is about; missing: what is not there yet
//! content  the original, and what may take its place; line: as a line; long: as a file
//! decide   whether that may be decided about, and what became of it if not
//! preview  what a content would change
//! act      what a person does about one; bulk: about all that a filter finds
//! requeue  back into the queue
//! expire   what time does
//! ```

mod act;
mod bulk;
mod content;
mod decide;
mod expire;
mod line;
mod long;
mod make;
mod missing;
mod moot;
mod owners;
mod preview;
mod requeue;
mod same_key;
mod spool;

pub use act::{LookedAt, MAX_EDIT};
pub use bulk::BULK_MAX;
pub(super) use decide::taken;
pub(super) use long::Originals;
pub(super) use moot::said_anew;
