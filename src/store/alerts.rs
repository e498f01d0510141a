//! Alerts: each is told once when it is raised, and again only after it was
//! cleared. Telling is the outbox's work.

use serde::Serialize;

use super::records::AlertRecord;
use super::tables::{Table, decode, encode};
use super::tx::{Read, Tx, View};
use crate::domain::notice::NoticeKind;
use crate::error::Result;

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// The alerts that are in force.
            pub fn alerts(&self) -> Result<Vec<AlertRecord>> {
                let rows = self.all(Table::Alerts, b"")?;
                rows.iter().map(|(_, bytes)| decode(Table::Alerts, bytes)).collect()
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl Tx<'_> {
    /// Raises an alert: if none of this key is in force, everyone who wants to
    /// hear of its kind is told. Whether it is new.
    pub fn raise_alert<T: Serialize>(
        &mut self,
        key: &str,
        kind: NoticeKind,
        subject: &str,
        data: &T,
    ) -> Result<bool> {
        if self.get(Table::Alerts, key.as_bytes())?.is_some() {
            return Ok(false);
        }
        let record = AlertRecord { key: key.into(), kind, subject: subject.into(), since: self.now() };
        let bytes = encode(&record)?;
        self.put(Table::Alerts, key.as_bytes().to_vec(), bytes);
        self.announce(kind, subject, data)?;
        Ok(true)
    }

    /// Ends an alert: the next one of this key is told again.
    pub fn clear_alert(&mut self, key: &str) {
        self.remove(Table::Alerts, key.as_bytes().to_vec());
    }
}
