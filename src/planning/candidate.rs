//! A key whose change has to be judged at the target, in the order in which
//! changes are executed.

use super::format::bytes::{u32_at, u64_at, u128_at};
use super::format::entry::Loc;
use super::sorter::Record;
use crate::domain::key::KeyHash;

/// Which part of the plan a candidate belongs to.
pub mod group {
    /// Entities that the source asserts.
    pub const ENTITY: u32 = 0;
    /// Relationships.
    pub const RELATIONSHIP: u32 = 1;
    /// Entities that the source no longer asserts.
    pub const ENTITY_GONE: u32 = 2;
}

/// No old entry.
pub const NONE: u32 = u32::MAX;
/// The source asserts the key absent now.
pub const GONE: u32 = 1;
/// What the target has is not known.
pub const UNSURE: u32 = 2;
/// The source says of it what it said: others' precedence against it moved, or
/// its published form did.
pub const REFRESH: u32 = 4;

/// A key whose value or presence in the source changes.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// See [`group`].
    pub group: u32,
    /// Rank of type and depth of name; for what goes, the other way round.
    pub rank: u32,
    /// File of the line.
    pub file: u32,
    /// Line.
    pub line: u32,
    /// The key's hash.
    pub key: KeyHash,
    /// Ends of a relationship.
    pub ends: [KeyHash; 2],
    /// The new body in the plan's pack.
    pub loc: Loc,
    /// Hash of its comparison form.
    pub canon: u64,
    /// Its size.
    pub size: u32,
    /// Layer of the entry that was live before, or [`NONE`].
    pub old_layer: u32,
    /// Its number there.
    pub old_number: u32,
    /// [`GONE`], [`UNSURE`], [`REFRESH`].
    pub flags: u32,
}

impl Candidate {
    /// Whether a flag is set.
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

impl Record for Candidate {
    const SIZE: usize = 96;
    type Key = (u32, u32, u32, u32, KeyHash);

    fn key(&self) -> Self::Key {
        (self.group, self.rank, self.file, self.line, self.key)
    }

    fn write(&self, out: &mut [u8]) {
        out[..16].copy_from_slice(&self.key.0.to_le_bytes());
        out[16..32].copy_from_slice(&self.ends[0].0.to_le_bytes());
        out[32..48].copy_from_slice(&self.ends[1].0.to_le_bytes());
        out[48..56].copy_from_slice(&self.loc.0.to_le_bytes());
        out[56..64].copy_from_slice(&self.canon.to_le_bytes());
        let words = [
            self.group << 8 | self.flags,
            self.rank,
            self.file,
            self.line,
            self.size,
            self.old_layer,
            self.old_number,
        ];
        for (n, word) in words.into_iter().enumerate() {
            out[64 + n * 4..68 + n * 4].copy_from_slice(&word.to_le_bytes());
        }
    }

    fn read(bytes: &[u8]) -> Self {
        let word = |n: usize| u32_at(bytes, 64 + n * 4);
        Self {
            key: KeyHash(u128_at(bytes, 0)),
            ends: [KeyHash(u128_at(bytes, 16)), KeyHash(u128_at(bytes, 32))],
            loc: Loc(u64_at(bytes, 48)),
            canon: u64_at(bytes, 56),
            group: word(0) >> 8,
            flags: word(0) & 0xFF,
            rank: word(1),
            file: word(2),
            line: word(3),
            size: word(4),
            old_layer: word(5),
            old_number: word(6),
        }
    }
}
