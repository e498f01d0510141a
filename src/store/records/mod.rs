//! The records of the store. Each version of their form is frozen in a module
//! of its own; the newest one is what the program works with.

mod letters_v1;
mod v1;

pub use letters_v1::*;
pub use v1::*;
