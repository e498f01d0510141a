//! Alerts: each is told once to every outlet that wants to hear of its kind,
//! for as long as it is in force, and again only after it was over. Telling is
//! the outbox's work; what an alert says is read anew from what it is about.

use super::open::Store;
use super::outbox::Outlets;
use super::records::{AlertRecord, OutboxMessage};
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

/// The outlets that want to hear of an alert and were not told of it.
fn untold(outlets: &Outlets, alert: &AlertRecord) -> Vec<String> {
    let mut wanting = outlets.that_want(alert.kind);
    wanting.retain(|outlet| !alert.outlets.contains(outlet));
    wanting
}

impl Tx<'_> {
    /// Raises an alert: everyone is told who wants to hear of its kind and was
    /// not told while it was in force.
    pub fn raise_alert(&mut self, key: &str, kind: NoticeKind, subject: &str) -> Result<()> {
        let alert = match self.alert(key)? {
            Some(alert) => alert,
            None => {
                let (key, subject) = (key.to_owned(), subject.to_owned());
                let alert = AlertRecord { key, kind, subject, since: self.now(), outlets: Vec::new() };
                self.put_alert(&alert)?;
                alert
            }
        };
        self.tell_alert(alert)
    }

    fn alert(&self, key: &str) -> Result<Option<AlertRecord>> {
        let found = self.get(Table::Alerts, key.as_bytes())?;
        found.map(|bytes| decode(Table::Alerts, &bytes)).transpose()
    }

    /// Ends an alert: the next one of this key is told again.
    pub fn clear_alert(&mut self, key: &str) {
        self.remove(Table::Alerts, key.as_bytes().to_vec());
    }

    /// Tells of the alerts in force whoever was not told of them: an outlet
    /// that is new, or one whose message was given up.
    pub fn tell_alerts(&mut self) -> Result<()> {
        self.alerts()?.into_iter().try_for_each(|alert| self.tell_alert(alert))
    }

    /// Takes note that an outlet was not told of an alert after all.
    pub(super) fn alert_untold(&mut self, message: &OutboxMessage) -> Result<()> {
        let Some(key) = &message.alert else { return Ok(()) };
        if let Some(mut alert) = self.alert(key)? {
            alert.outlets.retain(|outlet| *outlet != message.outlet);
            self.put_alert(&alert)?;
        }
        Ok(())
    }

    fn tell_alert(&mut self, mut alert: AlertRecord) -> Result<()> {
        let outlets = untold(self.outlets(), &alert);
        if outlets.is_empty() {
            return Ok(());
        }
        if let Some(data) = self.alert_data(&alert)? {
            self.announce_to(&outlets, alert.kind, &alert.subject, &data, Some(&alert.key))?;
            alert.outlets.extend(outlets);
            self.put_alert(&alert)?;
        }
        Ok(())
    }

    fn put_alert(&mut self, alert: &AlertRecord) -> Result<()> {
        let bytes = encode(alert)?;
        self.put(Table::Alerts, alert.key.as_bytes().to_vec(), bytes);
        Ok(())
    }
}

impl Store {
    /// Tells of the alerts in force whoever was not told of them.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn tell_alerts(&self) -> Result<()> {
        // A commit that changes nothing would still cost its syncs.
        let alerts = self.read(|view| view.alerts())?;
        if alerts.iter().all(|alert| untold(self.outlets(), alert).is_empty()) {
            return Ok(());
        }
        self.write(|tx| tx.tell_alerts())
    }
}
