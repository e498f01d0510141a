//! What a snapshot knows of one key, in 48 bytes.
//!
//! ```text
//! key   u128   hash of the key
//! raw   u64    XXH3-64 of the attributes as their line had them
//! canon u64    XXH3-64 of their comparison form
//! loc   u64    where the body is: pack 16 bits, block 24 bits, offset in the block 24 bits
//! pos   u32    position in the line order, or all ones
//! stamp u32    bits 0–27 row of the layer's stamp table, 28–29 state, 30 `canon` was made under other settings
//! ```
//!
//! `raw` and `canon` are compared with one other value each, those of the
//! same key in the next batch, so 64 bits leave a chance of 2⁻⁶⁴ per
//! comparison that a change is taken for none; a key's own hash has to be
//! told apart from all others and has 128.

use super::bytes::{u32_at, u64_at, u128_at};
use crate::domain::key::KeyHash;
use crate::error::{Error, Result};

/// Bytes of a stored entry.
pub const ENTRY: usize = 48;
/// `pos` of an entry that has no place in the line order.
pub const NO_POSITION: u32 = u32::MAX;

/// Where a body is: block and offset of a pack, the pack by its place in the
/// layer's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Loc(pub u64);

impl Loc {
    /// No body.
    pub const NONE: Self = Self(u64::MAX);
    /// Most packs of one layer.
    pub const MAX_PACKS: usize = (1 << 16) - 1;
    /// Largest block number and offset.
    pub const MAX_BLOCK: u32 = (1 << 24) - 1;

    /// A location.
    ///
    /// # Errors
    /// When `block` or `offset` has more than 24 bits.
    #[inline]
    pub fn new(pack: u16, block: u32, offset: usize) -> Result<Self> {
        if block > Self::MAX_BLOCK || offset > Self::MAX_BLOCK as usize {
            return Err(Error::internal("a pack is limited to 2^24 blocks of 16 MiB"));
        }
        Ok(Self(u64::from(pack) << 48 | u64::from(block) << 24 | offset as u64))
    }

    /// Place of the pack in the layer's table.
    pub fn pack(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// Block within the pack.
    pub fn block(self) -> u32 {
        (self.0 >> 24) as u32 & Self::MAX_BLOCK
    }

    /// Offset of the record in the raw block.
    pub fn offset(self) -> usize {
        (self.0 & 0xFF_FFFF) as usize
    }

    /// The same place in a pack that has another number.
    pub fn with_pack(self, pack: u16) -> Self {
        Self(self.0 & 0xFFFF_FFFF_FFFF | u64::from(pack) << 48)
    }
}

/// Whether a key is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The source asserts it.
    Live,
    /// An incremental batch asserted it absent.
    Tombstone,
    /// It is absent and a full record says so; hides entries of older layers.
    Gone,
}

/// What a snapshot knows of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The key's hash.
    pub key: KeyHash,
    /// Hash of the attributes as their line had them.
    pub raw: u64,
    /// Hash of their comparison form.
    pub canon: u64,
    /// Where the body is. Of a tombstone: a body without attributes.
    pub loc: Loc,
    /// Position in the line order.
    pub pos: u32,
    /// Row of the layer's stamp table.
    pub stamp: u32,
    /// Whether the key is there.
    pub state: State,
    /// Whether `canon` was made under other settings, and says nothing.
    pub stale: bool,
}

impl Entry {
    /// Whether the source asserts the key.
    pub fn is_live(&self) -> bool {
        match self.state {
            State::Live => true,
            State::Tombstone | State::Gone => false,
        }
    }

    /// Writes the stored form into `out`, which has [`ENTRY`] bytes.
    pub fn write(&self, out: &mut [u8]) {
        let state = match self.state {
            State::Live => 0u32,
            State::Tombstone => 1,
            State::Gone => 2,
        };
        out[..16].copy_from_slice(&self.key.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.raw.to_le_bytes());
        out[24..32].copy_from_slice(&self.canon.to_le_bytes());
        out[32..40].copy_from_slice(&self.loc.0.to_le_bytes());
        out[40..44].copy_from_slice(&self.pos.to_le_bytes());
        let packed = self.stamp & 0xFFF_FFFF | state << 28 | u32::from(self.stale) << 30;
        out[44..48].copy_from_slice(&packed.to_le_bytes());
    }

    /// Reads what [`Self::write`] wrote.
    #[inline]
    pub fn read(bytes: &[u8]) -> Self {
        let packed = u32_at(bytes, 44);
        Self {
            key: KeyHash(u128_at(bytes, 0)),
            raw: u64_at(bytes, 16),
            canon: u64_at(bytes, 24),
            loc: Loc(u64_at(bytes, 32)),
            pos: u32_at(bytes, 40),
            stamp: packed & 0xFFF_FFFF,
            state: match packed >> 28 & 3 {
                0 => State::Live,
                1 => State::Tombstone,
                2.. => State::Gone,
            },
            stale: packed >> 30 & 1 == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back_what_was_written(
            key in any::<u128>(), raw in any::<u64>(), pack in any::<u16>(), block in 0u32..1 << 24,
            offset in 0usize..1 << 24, pos in any::<u32>(), stamp in 0u32..1 << 28, state in 0..3, stale in any::<bool>(),
        ) {
            let loc = Loc::new(pack, block, offset).unwrap();
            prop_assert_eq!((loc.pack(), loc.block(), loc.offset()), (pack, block, offset));
            prop_assert_eq!(loc.with_pack(7), Loc::new(7, block, offset).unwrap());
            prop_assert!(Loc::new(pack, block + (1 << 24), offset).is_err());
            prop_assert!(Loc::new(pack, block, offset + (1 << 24)).is_err());
            let state = [State::Live, State::Tombstone, State::Gone][state as usize];
            let entry = Entry { key: KeyHash(key), raw, canon: !raw, loc, pos, stamp, state, stale };
            let mut bytes = [0; ENTRY];
            entry.write(&mut bytes);
            prop_assert_eq!(Entry::read(&bytes), entry);
        }
    }
}
