//! Targets that can't be used, and those that could not be.

use super::records::BreakerRecord;
use super::tables::{Table, decode, encode};
use super::tx::{Read, Tx, View};
use crate::domain::ids::TargetName;
use crate::error::{Error, Result};

macro_rules! reads {
    ($ty:ty) => {
        impl $ty {
            /// The breaker of a target, if it ever opened.
            pub fn breaker(&self, target: &TargetName) -> Result<Option<BreakerRecord>> {
                let found = self.get(Table::Breakers, target.as_str().as_bytes())?;
                found.map(|bytes| decode(Table::Breakers, &bytes)).transpose()
            }

            /// The breakers that are open.
            pub fn open_breakers(&self) -> Result<Vec<(TargetName, BreakerRecord)>> {
                let mut open = Vec::new();
                for (row, bytes) in self.all(Table::Breakers, b"")? {
                    let breaker: BreakerRecord = decode(Table::Breakers, &bytes)?;
                    if breaker.is_open() {
                        let name = TargetName::new(String::from_utf8_lossy(&row).into_owned())
                            .map_err(|e| Error::internal(e.to_string()))?;
                        open.push((name, breaker));
                    }
                }
                Ok(open)
            }
        }
    };
}

reads!(View<'_>);
reads!(Tx<'_>);

impl Tx<'_> {
    /// Stores the breaker of a target.
    pub fn put_breaker(&mut self, target: &TargetName, breaker: &BreakerRecord) -> Result<()> {
        let bytes = encode(breaker)?;
        self.put(Table::Breakers, target.as_str().as_bytes().to_vec(), bytes);
        if !breaker.is_open() {
            self.clear_target_down(target);
        }
        Ok(())
    }
}
