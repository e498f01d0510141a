//! What happens, as it happens: told to whoever listens. Nothing is stored
//! here; the timelines are. Who lags behind is told so by the channel, and
//! looks at the store again.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use utoipa::ToSchema;

use crate::clock::Clock;
use crate::domain::ids::{BatchId, SourceId};
use crate::store::Touched;

/// Events that a listener may lag behind before it loses some.
const CAPACITY: usize = 4096;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A batch's status, hold, approval or priority changed, or it is new.
    Batch,
    /// A batch in work came further; at most four times a second a batch.
    Progress,
    /// A source was held, paused or let go on.
    Source,
    /// A folder of an inbox was decided on, or an inbox went or came back.
    Inbox,
    /// A target can't be used or can again, or a known issue was declared or
    /// lifted.
    Target,
    /// Other settings are in force.
    Settings,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Counts up from 1 since the process began, without gaps.
    pub seq: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What it is about.
    pub kind: EventKind,
    /// The batch, if it is about one.
    #[schema(value_type = Option<String>)]
    pub batch_id: Option<BatchId>,
    /// The source, if it is about one.
    #[schema(value_type = Option<String>)]
    pub source_id: Option<SourceId>,
}

/// Tells events to any number of listeners.
pub struct Events {
    clock: Arc<dyn Clock>,
    /// The number of the last event. Held while one is told, so that events
    /// come in the order of their numbers.
    last: Mutex<u64>,
    sender: broadcast::Sender<Event>,
}

impl Events {
    /// Nobody listens yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: Mutex::new(0), sender: broadcast::channel(CAPACITY).0 }
    }

    /// Listens to everything from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// The number of the last event; 0 before the first.
    pub fn last_seq(&self) -> u64 {
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn tell(&self, kind: EventKind, batch_id: Option<BatchId>, source_id: Option<SourceId>) {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *last += 1;
        // Without a listener there is nobody to tell, which is no failure.
        let _ = self.sender.send(Event { seq: *last, at: self.clock.now(), kind, batch_id, source_id });
    }

    /// Something about a batch.
    pub(super) fn batch(&self, kind: EventKind, id: &BatchId) {
        self.tell(kind, Some(id.clone()), Some(id.source().clone()));
    }

    /// Something about a source.
    pub(super) fn source(&self, id: &SourceId) {
        self.tell(EventKind::Source, None, Some(id.clone()));
    }

    /// Something about an inbox.
    pub(super) fn inbox(&self) {
        self.tell(EventKind::Inbox, None, None);
    }

    /// Other settings are in force.
    pub(super) fn settings(&self) {
        self.tell(EventKind::Settings, None, None);
    }

    /// What a commit of the store changed.
    pub(super) fn touched(&self, touched: &[Touched]) {
        for what in touched {
            match what {
                Touched::Batch(id) => self.batch(EventKind::Batch, id),
                Touched::Source(id) => self.source(id),
                Touched::Inbox => self.inbox(),
                Touched::Target => self.tell(EventKind::Target, None, None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn every_listener_hears_everything_in_order_and_a_slow_one_learns_what_it_missed() {
        let clock = Arc::new(ManualClock::new("2026-11-24T12:00:00Z".parse().unwrap(), 1));
        let events = Events::new(clock);
        let (mut quick, mut slow) = (events.subscribe(), events.subscribe());
        let id: BatchId = "w:20261124T010000Z_r".parse().unwrap();
        events.batch(EventKind::Batch, &id);
        events.settings();
        let first = quick.try_recv().unwrap();
        assert_eq!((first.seq, first.kind, first.batch_id), (1, EventKind::Batch, Some(id.clone())));
        assert_eq!(first.source_id.as_ref(), Some(id.source()));
        assert_eq!(quick.try_recv().unwrap().kind, EventKind::Settings);
        assert!(quick.try_recv().is_err());
        for _ in 0..CAPACITY {
            events.source(id.source());
        }
        assert!(matches!(slow.try_recv(), Err(broadcast::error::TryRecvError::Lagged(2))));
        assert_eq!(slow.try_recv().unwrap().seq, 3);
        assert_eq!(events.last_seq(), CAPACITY as u64 + 2);
    }
}
