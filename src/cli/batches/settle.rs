//! Waiting for a batch: until it has ended, or waits for a person.

use std::time::Duration;

use super::super::Global;
use super::super::backend::{self, Backend};
use super::super::common::{clock, command_of, out, out_json, tell};
use super::super::render;
use crate::domain::ids::BatchId;
use crate::error::{ErrorKind, Result};
use crate::service::views::{BatchView, WaitCode};

/// The longest that a server is asked to hold an answer back.
const HELD_BACK: Duration = Duration::from_secs(30);
/// Time between two questions, where the server can't hold an answer back.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest that it is, where it is also looked at what a batch waits for.
const BETWEEN: Duration = Duration::from_secs(3);
/// Most batches that are looked at, each of which the one before waits for.
const CHAIN: usize = 8;

/// What becomes of a batch without anybody doing anything.
enum Course {
    /// It is in work, or will be before long.
    GoesOn,
    /// It has ended, or waits for a person or a time.
    Stands,
    /// It goes on after this batch.
    After(BatchId),
}

fn course(batch: &BatchView) -> Course {
    let waits = match &batch.waits {
        _ if batch.is_settled() => return Course::Stands,
        None => return Course::GoesOn,
        Some(waits) => waits,
    };
    match waits.code {
        // An answer that is waited for may take hours.
        WaitCode::Turn if waits.until.is_some() => Course::Stands,
        WaitCode::OlderBatch | WaitCode::Turn => match &waits.batch_id {
            Some(first) => Course::After(first.clone()),
            None => Course::GoesOn,
        },
        WaitCode::Approval
        | WaitCode::SourceHeld
        | WaitCode::SourcePaused
        | WaitCode::Retry
        | WaitCode::TargetDown
        | WaitCode::Window
        | WaitCode::KnownIssue => Course::Stands,
    }
}

/// Whether a batch goes on by itself: also one that waits for another goes on
/// no sooner than that one.
fn goes_on(backend: &Backend, batch: &BatchView) -> Result<bool> {
    let mut at = course(batch);
    for _ in 0..CHAIN {
        let Course::After(first) = at else { break };
        let first = backend.batch(&first)?;
        // What has ended meanwhile is waited for no longer.
        at = if first.publish_state.status.is_final() { Course::GoesOn } else { course(&first) };
    }
    Ok(!matches!(at, Course::Stands))
}

/// How a batch stands once it has ended or waits for something. In a
/// directory that this process holds, that is now.
pub fn settled(backend: &Backend, id: &BatchId) -> Result<BatchView> {
    let mut batch = backend.batch(id)?;
    if let Some(client) = backend.server() {
        while goes_on(backend, &batch)? {
            batch = client.await_batch(id, BETWEEN)?;
        }
    }
    Ok(batch)
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
            // The first answer comes at once: a server that was there may go and
            // come back, another address is wrong.
            let most = if reached { HELD_BACK } else { Duration::ZERO };
            let found = client.await_batch(id, left.min(most));
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
                    tell(format_args!("batch {id} did not arrive within {} s", timeout.as_secs()));
                    return Ok(NOT_FINISHED);
                }
                return Err(error);
            }
            clock.sleep(left.min(PAUSE));
        }
    })
}
