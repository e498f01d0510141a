//! What a row holds of an entity, a relationship, or a version of one.
//!
//! ```text
//! flags u8 (bit 0 archived), number u32 (of an entity; 0 of a relationship),
//! version u32, created u32, updated u32 (numbers of origins), then
//! 0 and the body;
//! 1, block u64, offset u32;
//! 2, block u64, offset u32, kind u8 (0 attributes, 1 the line of a relationship), u32 length and bytes of
//!    the attributes that are set over those of the body, then each that is unset as u32 length and name
//! ```

/// What an update changed of a body that stays where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BodyPatch {
    /// Whether the body is the line of a relationship.
    pub of_line: bool,
    /// Canonical JSON object of attributes that are set.
    pub set: Vec<u8>,
    /// Names of attributes that are not there any more.
    pub unset: Vec<String>,
}

/// Where a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyAt {
    /// In the row.
    Inline(Vec<u8>),
    /// In a block, at an offset.
    Block(u64, u32),
    /// In a block, with what changed since.
    Patched(u64, u32, BodyPatch),
}

impl BodyAt {
    /// The block that it needs.
    pub fn block(&self) -> Option<u64> {
        match self {
            Self::Inline(_) => None,
            Self::Block(block, _) | Self::Patched(block, _, _) => Some(*block),
        }
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Whether it is archived.
    pub archived: bool,
    /// The entity's number, by which its relationships know it.
    pub number: u32,
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
        let mut out = Vec::with_capacity(40);
        out.push(u8::from(self.archived));
        for number in [self.number, self.version, self.created, self.updated] {
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
            BodyAt::Patched(block, offset, patch) => {
                out.push(2);
                out.extend_from_slice(&block.to_le_bytes());
                out.extend_from_slice(&offset.to_le_bytes());
                out.push(u8::from(patch.of_line));
                out.extend_from_slice(&(patch.set.len() as u32).to_le_bytes());
                out.extend_from_slice(&patch.set);
                for name in &patch.unset {
                    out.extend_from_slice(&(name.len() as u32).to_le_bytes());
                    out.extend_from_slice(name.as_bytes());
                }
            }
        }
        out
    }

    /// Number of a stored row's entity, and whether it is not archived.
    pub fn end(bytes: &[u8]) -> Option<(u32, bool)> {
        let number = bytes.get(1..5)?.try_into().ok().map(u32::from_le_bytes)?;
        Some((number, bytes[0] & 1 == 0))
    }

    /// Reads a stored row; `None` when it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let block = || Some(u64::from_le_bytes(bytes.get(18..26)?.try_into().ok()?));
        let body = match bytes.get(17)? {
            0 => BodyAt::Inline(bytes.get(18..)?.to_vec()),
            1 => BodyAt::Block(block()?, word(26)?),
            _ => {
                let of_line = *bytes.get(30)? == 1;
                let end = 35 + word(31)? as usize;
                let set = bytes.get(35..end)?.to_vec();
                let mut unset = Vec::new();
                let mut at = end;
                while at < bytes.len() {
                    let len = word(at)? as usize;
                    unset.push(String::from_utf8(bytes.get(at + 4..at + 4 + len)?.to_vec()).ok()?);
                    at += 4 + len;
                }
                BodyAt::Patched(block()?, word(26)?, BodyPatch { of_line, set, unset })
            }
        };
        Some(Self {
            archived: bytes[0] & 1 == 1,
            number: word(1)?,
            version: word(5)?,
            created: word(9)?,
            updated: word(13)?,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written() {
        let patch =
            BodyPatch { of_line: true, set: b"{\"x\":1}".to_vec(), unset: vec!["y".into(), "zz".into()] };
        for body in [
            BodyAt::Inline(b"{}".to_vec()),
            BodyAt::Inline(Vec::new()),
            BodyAt::Block(7, 9),
            BodyAt::Patched(7, 9, patch),
            BodyAt::Patched(7, 9, BodyPatch::default()),
        ] {
            let row = Row { archived: true, number: 9, version: 2, created: 3, updated: 4, body };
            assert_eq!(Row::decode(&row.encode()), Some(row));
        }
        assert_eq!(Row::decode(&[0; 17]), None);
    }
}
