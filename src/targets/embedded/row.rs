//! What a row holds of an entity, a relationship, or a version of one.
//!
//! ```text
//! flags u8 (bit 0 archived), version u32, created u32, updated u32 (numbers of origins), then
//! 0 and the body, or 1, block u64, offset u32
//! ```

/// Where a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyAt {
    /// In the row.
    Inline(Vec<u8>),
    /// In a block, at an offset.
    Block(u64, u32),
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Whether it is archived.
    pub archived: bool,
    /// Rises with every change; begins with 1.
    pub version: u32,
    /// Origin of the create or revival.
    pub created: u32,
    /// Origin of the last change.
    pub updated: u32,
    /// Attributes of an entity, the whole line of a relationship.
    pub body: BodyAt,
}

impl Row {
    /// Its stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        out.push(u8::from(self.archived));
        for number in [self.version, self.created, self.updated] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        match &self.body {
            BodyAt::Inline(body) => {
                out.push(0);
                out.extend_from_slice(body);
            }
            BodyAt::Block(block, offset) => {
                out.push(1);
                out.extend_from_slice(&block.to_le_bytes());
                out.extend_from_slice(&offset.to_le_bytes());
            }
        }
        out
    }

    /// Reads a stored row; `None` when it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let body = match bytes.get(13)? {
            0 => BodyAt::Inline(bytes.get(14..)?.to_vec()),
            _ => BodyAt::Block(u64::from_le_bytes(bytes.get(14..22)?.try_into().ok()?), word(22)?),
        };
        Some(Self {
            archived: bytes[0] & 1 == 1,
            version: word(1)?,
            created: word(5)?,
            updated: word(9)?,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written() {
        for body in [BodyAt::Inline(b"{}".to_vec()), BodyAt::Inline(Vec::new()), BodyAt::Block(7, 9)] {
            let row = Row { archived: true, version: 2, created: 3, updated: 4, body };
            assert_eq!(Row::decode(&row.encode()), Some(row));
        }
        assert_eq!(Row::decode(&[0; 13]), None);
    }
}
