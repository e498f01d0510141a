//! What operators have skipped.

use super::records::SkipRecord;
use super::tables::{Table, decode, encode, key};
use super::tx::{Read, Tx, View};
use crate::domain::ids::SourceId;
use crate::domain::skip::Skips;
use crate::error::Result;

fn row(source: &SourceId, type_name: &str, name: &str) -> Vec<u8> {
    key(&[source.as_str().as_bytes(), type_name.as_bytes(), name.as_bytes()])
}

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// What is skipped of a source, that which has ended too, in order
            /// of types and names.
            pub fn skips(&self, source: &SourceId) -> Result<Vec<SkipRecord>> {
                let rows = self.all(Table::Skips, &key(&[source.as_str().as_bytes()]))?;
                rows.iter().map(|(_, bytes)| decode(Table::Skips, bytes)).collect()
            }

            /// What is skipped of a source at a time.
            pub fn active_skips(&self, source: &SourceId, now: jiff::Timestamp) -> Result<Skips> {
                let active = self.skips(source)?.into_iter().filter(|skip| skip.is_active(now));
                Ok(Skips::new(active.map(|skip| skip.rule()).collect()))
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl Tx<'_> {
    /// Stores a skip. One of the same type and name gives way to it.
    pub fn put_skip(&mut self, source: &SourceId, skip: &SkipRecord) -> Result<()> {
        let bytes = encode(skip)?;
        self.put(Table::Skips, row(source, &skip.type_name, skip.name.as_str()), bytes);
        Ok(())
    }

    /// Removes a skip. Returns it, if there was one.
    pub fn remove_skip(
        &mut self,
        source: &SourceId,
        type_name: &str,
        name: &str,
    ) -> Result<Option<SkipRecord>> {
        let row = row(source, type_name, name);
        let Some(bytes) = self.get(Table::Skips, &row)? else { return Ok(None) };
        self.remove(Table::Skips, row);
        decode(Table::Skips, &bytes).map(Some)
    }
}
