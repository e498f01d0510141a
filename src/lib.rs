//! Tidegate turns batches of metadata in an object store into a correct,
//! up-to-date metadata catalogue: plan every change, then publish it, in
//! order, resumably.
//!
//! The modules depend on each other in one direction, towards [`domain`]:
//! `cli` → `web` → `service` → `publishing` → `planning` → `intake` → `domain`, with
//! `targets` and `store` beside them. `docs/architecture.md` is the map.
#![forbid(unsafe_code)]

pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod error;
mod hand_over;
pub mod intake;
pub mod limits;
mod loopback;
pub mod observe;
mod page_cache;
mod panics;
pub mod planning;
pub mod publishing;
pub mod service;
pub mod store;
pub mod targets;
pub mod threads;
pub mod web;
mod whole_file;
