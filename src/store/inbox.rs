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

            /// Hands out all folders of an inbox, in order of their paths.
            pub fn each_inbox_entry(
                &self,
                inbox: &str,
                mut each: impl FnMut(String, InboxEntry) -> Result<()>,
            ) -> Result<()> {
                const PAGE: usize = 1000;
                let prefix = key(&[inbox.as_bytes()]);
                let mut after: Option<Vec<u8>> = None;
                loop {
                    let rows = self.scan(Table::Inbox, &prefix, after.as_deref(), PAGE)?;
                    for (row, bytes) in &rows {
                        let folder = &row[prefix.len()..row.len() - 1];
                        let folder = String::from_utf8(folder.to_vec()).map_err(|e| {
                            Error::internal("a folder name in the store is not UTF-8").caused_by(e)
                        })?;
                        each(folder, decode(Table::Inbox, bytes)?)?;
                    }
                    if rows.len() < PAGE {
                        return Ok(());
                    }
                    after = rows.into_iter().next_back().map(|(row, _)| row);
                }
            }

            /// All folders of an inbox.
            pub fn inbox_entries(&self, inbox: &str) -> Result<Vec<(String, InboxEntry)>> {
                let mut entries = Vec::new();
                self.each_inbox_entry(inbox, |folder, entry| {
                    entries.push((folder, entry));
                    Ok(())
                })?;
                Ok(entries)
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl Tx<'_> {
    /// Forgets a folder.
    pub fn forget_inbox_entry(&mut self, inbox: &str, folder: &str) {
        self.remove(Table::Inbox, key(&[inbox.as_bytes(), folder.as_bytes()]));
    }

    /// Remembers a folder.
    pub fn put_inbox_entry(&mut self, inbox: &str, folder: &str, entry: &InboxEntry) -> Result<()> {
        let bytes = encode(entry)?;
        self.put(Table::Inbox, key(&[inbox.as_bytes(), folder.as_bytes()]), bytes);
        Ok(())
    }
}
