//! What became of the folders of inboxes.

use super::records::InboxEntry;
use super::tables::{Table, decode, encode, key};
use super::tx::{Read, Tx, View};
use crate::error::{Error, Result};

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// A folder of an inbox, by its path below the inbox.
            pub fn inbox_entry(&self, inbox: &str, folder: &str) -> Result<Option<InboxEntry>> {
                let found = self.get(Table::Inbox, &key(&[inbox.as_bytes(), folder.as_bytes()]))?;
                found.map(|bytes| decode(Table::Inbox, &bytes)).transpose()
            }

            /// All folders of an inbox.
            pub fn inbox_entries(&self, inbox: &str) -> Result<Vec<(String, InboxEntry)>> {
                let prefix = key(&[inbox.as_bytes()]);
                let mut entries = Vec::new();
                for (row, bytes) in self.all(Table::Inbox, &prefix)? {
                    let folder = &row[prefix.len()..row.len() - 1];
                    let folder = String::from_utf8(folder.to_vec()).map_err(|e| {
                        Error::internal("a folder name in the store is not UTF-8").caused_by(e)
                    })?;
                    entries.push((folder, decode(Table::Inbox, &bytes)?));
                }
                Ok(entries)
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl Tx<'_> {
    /// Remembers a folder.
    pub fn put_inbox_entry(&mut self, inbox: &str, folder: &str, entry: &InboxEntry) -> Result<()> {
        let bytes = encode(entry)?;
        self.put(Table::Inbox, key(&[inbox.as_bytes(), folder.as_bytes()]), bytes);
        Ok(())
    }
}
