//! Pins of batches: which batches' files are to be copied out of the inbox's
//! reach, and which copies are to go. The work follows the change of state
//! that asks for it, and outlives restarts.

use super::records::{BatchRecord, PinTask, PinWork};
use super::tables::{Table, decode, encode};
use super::tx::{Read, Tx, View};
use crate::domain::ids::BatchId;
use crate::domain::publish_state::PublishStatus;
use crate::error::{Error, ErrorKind, Result};

impl BatchRecord {
    /// Whether the batch waits so that its files have to outlive the inbox:
    /// it is parked, tried again later, or failed and may be repaired.
    pub fn wants_pin(&self) -> bool {
        if !self.is_delivered() {
            return false;
        }
        match self.status {
            PublishStatus::Retrying => true,
            PublishStatus::PlanComplete => self.hold.is_some(),
            PublishStatus::Failed => !self.was_ended(),
            PublishStatus::Pending
            | PublishStatus::Planning
            | PublishStatus::Executing
            | PublishStatus::Complete => false,
        }
    }

    /// Whether it came from outside. What is made of dead letters lies under
    /// the state URL from the beginning.
    pub fn is_delivered(&self) -> bool {
        self.letters == 0
    }

    /// Whether a pin that the batch has stays.
    fn keeps_pin(&self) -> bool {
        self.status != PublishStatus::Complete && (self.status != PublishStatus::Failed || !self.was_ended())
    }

    /// Whether it is FAILED by somebody's decision, and makes no dead letter.
    pub(super) fn was_ended(&self) -> bool {
        let code = self.failure.as_ref().map(|failure| failure.error_code.as_str());
        [ErrorKind::Rejected, ErrorKind::Cancelled, ErrorKind::Superseded]
            .iter()
            .any(|kind| code == Some(kind.info().code))
    }
}

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// What is to be done about the pin of a batch.
            pub fn pin_work(&self, id: &BatchId) -> Result<Option<PinWork>> {
                let found = self.get(Table::Pins, id.to_string().as_bytes())?;
                found.map(|bytes| decode(Table::Pins, &bytes)).transpose()
            }

            /// Everything that is to be done about pins.
            pub fn all_pin_work(&self) -> Result<Vec<(BatchId, PinWork)>> {
                let mut work = Vec::new();
                for (row, bytes) in self.all(Table::Pins, b"")? {
                    let id = String::from_utf8_lossy(&row).parse::<BatchId>();
                    work.push((
                        id.map_err(|e| Error::internal(e.to_string()))?,
                        decode(Table::Pins, &bytes)?,
                    ));
                }
                Ok(work)
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl Tx<'_> {
    /// Says what is to be done about the pin of a batch; `None`: nothing. Whoever
    /// does it learns by `asked` that another task came between.
    pub fn set_pin_work(&mut self, id: &BatchId, work: Option<&PinWork>) -> Result<()> {
        let row = id.to_string().into_bytes();
        match work {
            Some(work) => {
                let asked = match self.pin_work(id)? {
                    None => 1,
                    Some(now) if now.task == work.task => now.asked,
                    Some(now) => now.asked.max(1).saturating_add(1),
                };
                let bytes = encode(&PinWork { asked, ..work.clone() })?;
                self.put(Table::Pins, row, bytes);
            }
            None => self.remove(Table::Pins, row),
        }
        Ok(())
    }

    /// Asks for what a batch's new state needs of its pin.
    pub(super) fn ask_for_pin(&mut self, old: Option<&BatchRecord>, new: &BatchRecord) -> Result<()> {
        let id = &new.batch_id;
        if new.wants_pin() {
            if new.pin.is_none() && !old.is_some_and(BatchRecord::wants_pin) {
                self.set_pin_work(id, Some(&PinWork::new(PinTask::Copy)))?;
            }
            return Ok(());
        }
        let Some(old) = old.filter(|_| new.pin.is_none()) else { return Ok(()) };
        // What is tried again may have been mended: a copy that was asked for
        // before that, or is being made, is not of it.
        let is_old_copy = || {
            let asked = old.status == PublishStatus::Failed && new.status != PublishStatus::Failed;
            Ok::<_, Error>(asked && self.pin_work(id)?.is_some_and(|work| work.task == PinTask::Copy))
        };
        if old.pin.is_some() || is_old_copy()? {
            self.set_pin_work(id, Some(&PinWork::new(PinTask::Remove)))?;
        }
        Ok(())
    }

    /// Takes the pin from a batch whose state needs none any more.
    pub(super) fn drop_pin(&self, batch: &mut BatchRecord) {
        if !batch.keeps_pin() {
            batch.pin = None;
        }
    }
}
