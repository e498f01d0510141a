//! Dead letters: made by a commit, made moot by one, and what people do about
//! them.

mod line;
mod make;
mod moot;
