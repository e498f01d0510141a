//! How many calls of the engine run at a time. Calls that may take long, by
//! what others do or by a target that does not answer, have places of their
//! own: they keep nothing else from being answered.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, ErrorKind, Result};

/// What a call waits with for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Everything that is done at once.
    Quick,
    /// Whether the server does its work, and its metrics: whoever watches it
    /// asks when it is busy.
    Watching,
    /// What asks targets, or looks at everything.
    Targets,
    /// What requeues or discards dead letters: one after the other.
    Repairs,
}

/// The places of all lanes.
pub struct Lanes {
    quick: Arc<Semaphore>,
    watching: Arc<Semaphore>,
    targets: Arc<Semaphore>,
    repairs: Arc<Semaphore>,
}

impl Default for Lanes {
    fn default() -> Self {
        let places = |places| Arc::new(Semaphore::new(places));
        Self { quick: places(16), watching: places(4), targets: places(4), repairs: places(4) }
    }
}

impl Lanes {
    /// A place, as soon as one is free.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] when the server stops.
    pub async fn place(&self, lane: Lane) -> Result<OwnedSemaphorePermit> {
        let places = match lane {
            Lane::Quick => &self.quick,
            Lane::Watching => &self.watching,
            Lane::Targets => &self.targets,
            Lane::Repairs => &self.repairs,
        };
        let place = Arc::clone(places).acquire_owned().await;
        place.map_err(|_| Error::new(ErrorKind::Interrupted, "the server stops"))
    }
}
