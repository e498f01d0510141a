//! Messages that wait to be delivered. A message is written in the
//! transaction of what it tells of, and kept until it has arrived or was given
//! up; delivering them is `observe::webhooks`'s work.

use std::sync::{PoisonError, RwLock};

use jiff::Timestamp;
use serde::Serialize;

use super::records::OutboxMessage;
use super::tables::{Table, decode, encode, key, numbered};
use super::tx::{Read, Tx, View};
use crate::domain::notice::NoticeKind;
use crate::error::{Error, Result};

/// Form of a message's body.
pub const MESSAGE_FORMAT: &str = "tidegate.event/1";
const NEXT: &[u8] = b"next_message";
const GIVEN_UP: &[u8] = b"messages_given_up";

/// A place that messages are delivered to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlet {
    /// What tells it from others: the URL of a webhook.
    pub name: String,
    /// What it wants to hear of.
    pub kinds: Vec<NoticeKind>,
}

/// The outlets in force. What happens while there is none leaves no message.
#[derive(Debug, Default)]
pub struct Outlets {
    outlets: RwLock<Vec<Outlet>>,
    address: RwLock<String>,
}

impl Outlets {
    /// Puts others in their place.
    pub fn set(&self, outlets: Vec<Outlet>) {
        *self.outlets.write().unwrap_or_else(PoisonError::into_inner) = outlets;
    }

    /// Says where the pages are that messages lead to.
    pub fn set_address(&self, address: String) {
        *self.address.write().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// The URL of a page, from its path.
    pub(super) fn link(&self, path: &str) -> String {
        let address = self.address.read().unwrap_or_else(PoisonError::into_inner);
        format!("{}{path}", address.trim_end_matches('/'))
    }

    /// The names of those that want to hear of `kind`.
    pub(super) fn that_want(&self, kind: NoticeKind) -> Vec<String> {
        let outlets = self.outlets.read().unwrap_or_else(PoisonError::into_inner);
        outlets.iter().filter(|outlet| outlet.kinds.contains(&kind)).map(|o| o.name.clone()).collect()
    }
}

/// How many messages there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxCounts {
    /// That wait to be delivered.
    pub waiting: u64,
    /// That were given up since the data directory was made.
    pub given_up: u64,
}

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// The oldest message that waits for an outlet.
            pub fn next_message(&self, outlet: &str) -> Result<Option<OutboxMessage>> {
                let rows = self.scan(Table::Outbox, &key(&[outlet.as_bytes()]), None, 1)?;
                rows.first().map(|(_, bytes)| decode(Table::Outbox, bytes)).transpose()
            }

            /// The outlets that messages wait for.
            pub fn outlets_with_messages(&self) -> Result<Vec<String>> {
                let mut names = Vec::new();
                let mut after: Option<Vec<u8>> = None;
                // One row of each: the search goes on behind all of its rows.
                while let Some((row, _)) = self.scan(Table::Outbox, b"", after.as_deref(), 1)?.pop() {
                    let name = row.split(|b| *b == 0).next().unwrap_or_default().to_vec();
                    let mut next = name.clone();
                    next.push(1);
                    after = Some(next);
                    names.push(String::from_utf8_lossy(&name).into_owned());
                }
                Ok(names)
            }

            /// How many messages there are.
            pub fn outbox_counts(&self) -> Result<OutboxCounts> {
                let waiting = self.all(Table::Outbox, b"")?.len() as u64;
                Ok(OutboxCounts { waiting, given_up: self.number(GIVEN_UP)? })
            }

            fn number(&self, name: &[u8]) -> Result<u64> {
                let found = self.get(Table::Meta, name)?;
                Ok(found.and_then(|bytes| String::from_utf8_lossy(&bytes).parse().ok()).unwrap_or(0))
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

/// The body of every message: what it is and what it is about stand outside,
/// so that receivers can sort messages that they know nothing of.
#[derive(Serialize)]
struct Envelope<'a, T> {
    format: &'a str,
    id: &'a str,
    kind: NoticeKind,
    subject: &'a str,
    at: Timestamp,
    data: &'a T,
}

impl Tx<'_> {
    /// Tells every outlet that wants to hear of `kind`. The message becomes
    /// durable with the transaction, or not at all.
    pub fn announce<T: Serialize>(&mut self, kind: NoticeKind, subject: &str, data: &T) -> Result<()> {
        let outlets = self.outlets().that_want(kind);
        self.announce_to(&outlets, kind, subject, data, None)
    }

    /// Tells these outlets: of an alert, if one is named.
    pub(super) fn announce_to<T: Serialize>(
        &mut self,
        outlets: &[String],
        kind: NoticeKind,
        subject: &str,
        data: &T,
        alert: Option<&str>,
    ) -> Result<()> {
        if outlets.is_empty() {
            return Ok(());
        }
        let number = self.number(NEXT)?;
        self.put(Table::Meta, NEXT.to_vec(), (number + 1).to_string().into_bytes());
        let owner = self.get(Table::Meta, b"owner")?.unwrap_or_default();
        let id = format!("{}-{number}", String::from_utf8_lossy(&owner));
        let at = self.now();
        let envelope = Envelope { format: MESSAGE_FORMAT, id: &id, kind, subject, at, data };
        let body = serde_json::to_string(&envelope).map_err(|e| Error::internal("a message").caused_by(e))?;
        for outlet in outlets {
            self.put_message(&OutboxMessage {
                number,
                outlet: outlet.clone(),
                id: id.clone(),
                kind,
                subject: subject.to_owned(),
                body: body.clone(),
                created_at: at,
                attempts: 0,
                next_attempt: None,
                last_error: None,
                alert: alert.map(str::to_owned),
            })?;
        }
        Ok(())
    }

    /// Stores a message as it is now.
    pub fn put_message(&mut self, message: &OutboxMessage) -> Result<()> {
        let bytes = encode(message)?;
        self.put(Table::Outbox, numbered(&[message.outlet.as_bytes()], message.number), bytes);
        Ok(())
    }

    /// Removes a message that has arrived.
    pub fn message_arrived(&mut self, message: &OutboxMessage) {
        self.remove(Table::Outbox, numbered(&[message.outlet.as_bytes()], message.number));
    }

    /// Removes a message that will not be delivered, and counts it. An alert
    /// that it tells of is told again later, if it is still in force.
    pub fn give_message_up(&mut self, message: &OutboxMessage) -> Result<()> {
        self.message_arrived(message);
        self.alert_untold(message)?;
        let count = self.number(GIVEN_UP)? + 1;
        self.put(Table::Meta, GIVEN_UP.to_vec(), count.to_string().into_bytes());
        Ok(())
    }
}
