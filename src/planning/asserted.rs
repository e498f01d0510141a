//! What one line of a batch asserts, as a record that can be sorted by key.

use super::format::bytes::{u32_at, u64_at, u128_at};
use super::format::entry::Loc;
use super::sorter::Record;
use crate::domain::key::KeyHash;

/// The key is asserted absent.
pub const DELETED: u16 = 1;
/// Another line of the batch was seen before for the same live key.
pub const AGAIN: u16 = 2;
/// The line is bad; only its key could be read.
pub const BAD: u16 = 4;
/// The value is the one that is published.
pub const UNCHANGED: u16 = 8;
/// Something newer is known of the key.
pub const SUPERSEDED: u16 = 16;
/// The key is outside the full batch's scope.
pub const OUTSIDE: u16 = 32;
/// An operator skips the key.
pub const SKIPPED: u16 = 64;
/// No line says it: what is published has another form by changed settings.
pub const RESTATED: u16 = 128;

/// One line's assertion.
#[derive(Debug, Clone, Copy)]
pub struct Asserted {
    /// The key's hash.
    pub key: KeyHash,
    /// Hash of the attributes as the line has them.
    pub raw: u64,
    /// Hash of their comparison form.
    pub canon: u64,
    /// The body in the plan's pack; [`Loc::NONE`] where none was kept.
    pub loc: Loc,
    /// Position in the line order that is being written.
    pub pos: u32,
    /// Number of the file in the batch.
    pub file: u32,
    /// Line in the file, from 1.
    pub line: u32,
    /// Number of the type among those of the pass.
    pub type_id: u32,
    /// Bytes of the body.
    pub size: u32,
    /// Separators in the qualified name.
    pub depth: u16,
    /// See the constants above.
    pub flags: u16,
    /// Ends of a relationship; zero for an entity.
    pub ends: [KeyHash; 2],
}

impl Asserted {
    /// Whether a flag is set.
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

impl Record for Asserted {
    const SIZE: usize = 96;
    type Key = (KeyHash, u32, u32);

    fn key(&self) -> Self::Key {
        (self.key, self.file, self.line)
    }

    fn write(&self, out: &mut [u8]) {
        out[..16].copy_from_slice(&self.key.0.to_le_bytes());
        out[16..32].copy_from_slice(&self.ends[0].0.to_le_bytes());
        out[32..48].copy_from_slice(&self.ends[1].0.to_le_bytes());
        out[48..56].copy_from_slice(&self.raw.to_le_bytes());
        out[56..64].copy_from_slice(&self.canon.to_le_bytes());
        out[64..72].copy_from_slice(&self.loc.0.to_le_bytes());
        for (n, word) in [self.pos, self.file, self.line, self.type_id, self.size].into_iter().enumerate() {
            out[72 + n * 4..76 + n * 4].copy_from_slice(&word.to_le_bytes());
        }
        let last = u32::from(self.depth) | u32::from(self.flags) << 16;
        out[92..96].copy_from_slice(&last.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        let last = u32_at(bytes, 92);
        Self {
            key: KeyHash(u128_at(bytes, 0)),
            ends: [KeyHash(u128_at(bytes, 16)), KeyHash(u128_at(bytes, 32))],
            raw: u64_at(bytes, 48),
            canon: u64_at(bytes, 56),
            loc: Loc(u64_at(bytes, 64)),
            pos: u32_at(bytes, 72),
            file: u32_at(bytes, 76),
            line: u32_at(bytes, 80),
            type_id: u32_at(bytes, 84),
            size: u32_at(bytes, 88),
            depth: last as u16,
            flags: (last >> 16) as u16,
        }
    }
}
