//! Keys of which a batch says nothing that can be taken: everything that it says of
//! them goes into their dead letters.

use std::collections::HashSet;

use super::super::asserted::{Asserted, BAD};
use super::super::format::entry::Loc;
use super::super::key_lines::Says;
use super::super::rejects::Reject;
use super::Work;
use crate::domain::key::Key;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_LINE;

/// Bytes of what a batch says of one key, beyond which only the first and the
/// last of it are kept.
const MAX_SAID: usize = 2 * MAX_LINE;

impl Work<'_, '_, '_> {
    /// A key that the batch says nothing of: bad line, or two values; of these
    /// their lines, and whether the published value came before all of them.
    pub(super) fn except(&mut self, first: &Asserted, conflict: Option<(&[Asserted], bool)>) -> Result<()> {
        self.out.summary.of(first.key.kind()).rejected += 1;
        let key = self.key_of(first)?;
        if let (Some((lines, published)), Some(key)) = (conflict, &key) {
            let at: Vec<String> = lines
                .iter()
                .take(5)
                .map(|line| format!("{} line {}", self.input.batch.files[line.file as usize].path, line.line))
                .collect();
            let last = lines.last().unwrap_or(first);
            let (content, cut) = self.contents_of(key, lines, published)?;
            self.out.rejected += 1;
            self.input.rejects.push(&Reject {
                code: ErrorKind::KeyConflict.info().code.into(),
                kind: first.key.kind(),
                key: Some(key.clone()),
                file: self.input.batch.files[last.file as usize].path.clone(),
                line: u64::from(last.line),
                field: String::new(),
                problem: format!("the batch says different things about this key: {}", at.join(", ")),
                content,
                cut,
            })?;
        }
        self.out.exceptions.extend(key);
        Ok(())
    }

    /// Keeps what a batch says of a key beside a bad line of it, so that the dead
    /// letter has all of it.
    pub(super) fn keep_beside_bad(&mut self, lines: &[Asserted], published: bool) -> Result<()> {
        let good: Vec<Asserted> = lines.iter().filter(|line| !line.has(BAD)).copied().collect();
        let Some(last) = good.last().or(lines.first()).filter(|_| published || !good.is_empty()) else {
            return Ok(());
        };
        let Some(key) = self.key_of(last)? else { return Ok(()) };
        let (content, cut) = self.contents_of(&key, &good, published)?;
        self.input.rejects.push(&Reject {
            code: ErrorKind::KeyConflict.info().code.into(),
            kind: key.kind(),
            key: Some(key),
            file: self.input.batch.files[last.file as usize].path.clone(),
            line: u64::from(last.line),
            field: String::new(),
            problem: "another line about this key is bad".to_owned(),
            content,
            cut,
        })
    }

    /// The key's text, from whichever body holds it.
    pub(super) fn key_of(&mut self, line: &Asserted) -> Result<Option<Key>> {
        if line.has(BAD) || line.loc == Loc::NONE {
            if let Some(own) = &self.input.view.own
                && let Some(found) = own.live(line.key, &mut self.reader.scratch)?
            {
                return Ok(Some(own.body(&found, &mut self.reader.bodies)?.body()?.key()));
            }
            return self.input.rejects.key_of(line.key);
        }
        let body = self.reader.bodies.get(self.input.pack.0, line.loc)?;
        Ok(Some(body.body()?.key()))
    }

    /// Everything that the batch says of a key, a line for each, in the order
    /// in which it says so; and whether some were left out. The first and the
    /// last one are always there.
    fn contents_of(&mut self, key: &Key, lines: &[Asserted], published: bool) -> Result<(Vec<u8>, bool)> {
        let mut seen = HashSet::new();
        let mut values: Vec<(Says, Loc)> = Vec::new();
        let first = published.then_some((Says::Published, Loc::NONE));
        for (says, loc) in first.into_iter().chain(lines.iter().map(|line| (Says::of(line), line.loc))) {
            if seen.insert(says) {
                values.push((says, loc));
            }
        }
        let head = serde_json::to_string(key).map_err(|e| Error::internal("a key").caused_by(e))?;
        let head = head.strip_suffix('}').unwrap_or(&head);
        let last = values.len().saturating_sub(1);
        let (mut content, mut cut) = (Vec::new(), false);
        for (n, (says, loc)) in values.into_iter().enumerate() {
            let body = match says {
                Says::Absent => None,
                Says::Value(_) => Some(self.reader.bodies.get(self.input.pack.0, loc)?),
                Says::Published => match &self.input.view.own {
                    Some(own) => match own.live(key.hash(), &mut self.reader.scratch)? {
                        Some(found) => Some(own.body(&found, &mut self.reader.bodies)?),
                        None => continue,
                    },
                    None => continue,
                },
            };
            let attributes = match &body {
                Some(body) => Some(body.body()?.attributes),
                None => None,
            };
            let len = attributes.map_or(0, <[u8]>::len);
            if n != 0 && n != last && content.len() + len > MAX_SAID {
                cut = true;
                continue;
            }
            if !content.is_empty() {
                content.push(b'\n');
            }
            content.extend_from_slice(head.as_bytes());
            match attributes {
                None => content.extend_from_slice(b",\"deleted\":true}"),
                Some(attributes) => {
                    content.extend_from_slice(b",\"attributes\":");
                    content.extend_from_slice(attributes);
                    content.push(b'}');
                }
            }
        }
        Ok((content, cut))
    }
}
