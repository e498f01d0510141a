//! What is kept between answers, because it costs to find out and does not
//! change: groups of plans, open snapshots, a look into the inboxes, the number of
//! records.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use super::super::views::{DoctorView, InboxListView};
use super::plans::Grouped;
use crate::domain::ids::{PlanId, SnapshotId};
use crate::planning::snapshot::Snapshot;

/// Plans whose groups are kept.
const PLANS: usize = 8;

/// What an engine keeps for those who look.
#[derive(Default)]
pub struct Looks {
    /// The inboxes, with the time of the look.
    pub inbox: Mutex<Option<(Duration, InboxListView)>>,
    /// What was found by the last who examined everything for a server.
    pub examined: Mutex<Option<DoctorView>>,
    /// Held by whoever examines.
    pub examining: Mutex<()>,
    /// When all records of the store were read, by both clocks, and how many there are.
    pub store: Mutex<Option<(Duration, Timestamp, u64)>>,
    /// Groups of plans, the oldest first.
    pub groups: Mutex<VecDeque<(PlanId, Arc<Grouped>)>>,
    /// Current snapshots that were looked into.
    pub snapshots: Mutex<HashMap<SnapshotId, Arc<Snapshot>>>,
}

impl Looks {
    /// The groups of a plan, made by `make` if they are not kept.
    pub fn grouped<E>(
        &self,
        plan: &PlanId,
        make: impl FnOnce() -> Result<Grouped, E>,
    ) -> Result<Arc<Grouped>, E> {
        let lock = || self.groups.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, found)) = lock().iter().find(|(id, _)| id == plan) {
            return Ok(Arc::clone(found));
        }
        // Made without the lock: others may look at other plans meanwhile.
        let made = Arc::new(make()?);
        let mut kept = lock();
        kept.push_back((plan.clone(), Arc::clone(&made)));
        if kept.len() > PLANS {
            kept.pop_front();
        }
        Ok(made)
    }
}
