//! Waiting for a batch: until it has ended, or waits for a person.

use std::time::Duration;

use super::super::Global;
use super::super::backend::{self, Backend};
use super::super::common::{clock, command_of, out, out_json};
use super::super::render;
use crate::domain::ids::BatchId;
use crate::error::{ErrorKind, Result};
use crate::service::views::{BatchView, WaitCode};

/// The longest that a server is asked to hold an answer back.
const HELD_BACK: Duration = Duration::from_secs(30);
/// Time between two questions, where the server can't hold an answer back.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether a batch goes on by itself, without anybody doing anything.
fn goes_on(batch: &BatchView) -> bool {
    let waits = match batch.waits.as_ref().map(|waits| waits.code) {
        None | Some(WaitCode::OlderBatch | WaitCode::Turn) => false,
        Some(
            WaitCode::Approval
            | WaitCode::SourceHeld
            | WaitCode::SourcePaused
            | WaitCode::Retry
            | WaitCode::TargetDown
            | WaitCode::Window
            | WaitCode::KnownIssue,
        ) => true,
    };
    !batch.is_settled() && !waits
}

/// How a batch stands once it has ended or waits for something. In a
/// directory that this process holds, that is now.
pub fn settled(backend: &Backend, id: &BatchId) -> Result<BatchView> {
    loop {
        let batch = backend.batch(id)?;
        let Some(client) = backend.server() else { return Ok(batch) };
        if !goes_on(&batch) {
            return Ok(batch);
        }
        let batch: BatchView = client.await_batch(id, HELD_BACK)?;
        if !goes_on(&batch) {
            return Ok(batch);
        }
    }
}

/// Prints how a batch stands, and tells the exit code that goes with it.
pub fn exit_after(global: &Global, batch: &BatchView) -> Result<u8> {
    if global.json {
        out_json(&batch.publish_state)?;
    } else {
        out(render::batch::batch(batch, &command_of(global)))?;
    }
    Ok(render::batch::exit_code(batch))
}

/// The exit code of what has not ended.
const NOT_FINISHED: u8 = 5;

/// Runs `batches wait`.
pub fn wait(global: &Global, id: &BatchId, timeout: Duration) -> Result<u8> {
    backend::look(global, |backend| {
        let Some(client) = backend.server() else {
            // Nobody works on it while we hold the directory.
            let batch = backend.batch(id)?;
            if !batch.is_settled() {
                tracing::warn!("no server publishes this data directory");
            }
            return exit_after(global, &batch);
        };
        let clock = clock();
        let end = clock.monotonic().saturating_add(timeout);
        let mut reached = false;
        loop {
            let left = end.saturating_sub(clock.monotonic());
            let found = client.await_batch(id, left.min(HELD_BACK));
            let error = match found {
                Ok(batch) if batch.is_settled() || left.is_zero() => return exit_after(global, &batch),
                Ok(_) => {
                    reached = true;
                    continue;
                }
                Err(error) => error,
            };
            // A batch may still be on its way, and a server be started again.
            let on_its_way = error.kind() == ErrorKind::NotFound;
            let passing = on_its_way || reached && error.kind() == ErrorKind::ServerUnreachable;
            if !passing {
                return Err(error);
            }
            reached = true;
            if left.is_zero() {
                if on_its_way {
                    eprintln!("batch {id} did not arrive within {} s", timeout.as_secs());
                    return Ok(NOT_FINISHED);
                }
                return Err(error);
            }
            clock.sleep(left.min(PAUSE));
        }
    })
}
