//! Rejects of one key: a batch may have several bad lines about it, and good
//! ones beside them. They are one dead letter, which has the bytes of all.

use std::collections::{BTreeMap, HashSet};

use crate::domain::key::KeyHash;
use crate::error::{ErrorKind, Result};
use crate::planning::plan_file::Plan;
use crate::planning::rejects::Reject;

/// Bytes of such rejects that are held. What is more is left out, and the dead
/// letters say so.
const MOST: usize = 64 << 20;

/// Bytes that holding one costs beside its texts.
const COST: usize = 512;

/// Hands out the rejects of a plan, those of one key as one: the first of them,
/// with the contents of all, a line behind the other.
pub fn merged(plan: &Plan, mut each: impl FnMut(Reject) -> Result<()>) -> Result<()> {
    if plan.manifest().reject_count < 2 {
        return plan.rejects(each);
    }
    let (mut once, mut again) = (HashSet::new(), HashSet::new());
    plan.rejects(|reject| {
        if let Some(hash) = reject.key.as_ref().map(|key| key.hash())
            && !once.insert(hash)
        {
            again.insert(hash);
        }
        Ok(())
    })?;
    drop(once);
    let mut held = 0;
    let mut waiting: BTreeMap<KeyHash, Vec<Reject>> = BTreeMap::new();
    plan.rejects(|reject| {
        let hash = reject.key.as_ref().map(|key| key.hash()).filter(|hash| again.contains(hash));
        let Some(hash) = hash else { return each(reject) };
        let size = reject.content.len() + reject.problem.len() + COST;
        let room = held + size <= MOST;
        match waiting.get_mut(&hash) {
            Some(lines) if !room => lines.iter_mut().take(1).for_each(|line| line.cut = true),
            // What is handed out now is a letter that the next one adds to.
            None if !room => return each(Reject { cut: true, ..reject }),
            Some(_) | None => {
                held += size;
                waiting.entry(hash).or_default().push(reject);
            }
        }
        Ok(())
    })?;
    waiting.into_values().filter_map(joined).try_for_each(each)
}

/// One of all lines of a key, in the order of the batch, which is not the one in
/// which they were read: an attempt makes the same of them as the one before.
/// What is good stands last.
fn joined(mut lines: Vec<Reject>) -> Option<Reject> {
    let is_good = |line: &Reject| line.code == ErrorKind::KeyConflict.info().code;
    lines.sort_by(|a, b| (is_good(a), &a.file, a.line).cmp(&(is_good(b), &b.file, b.line)));
    lines.into_iter().reduce(|mut all, line| {
        all.content.push(b'\n');
        all.content.extend_from_slice(&line.content);
        all.cut |= line.cut;
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::Kind;

    #[test]
    fn lines_of_one_key_are_the_same_letter_in_whatever_order_they_were_read() {
        let line = |code: ErrorKind, file: &str, line: u64, content: &str| Reject {
            code: code.info().code.into(),
            kind: Kind::Entity,
            key: None,
            file: file.into(),
            line,
            field: String::new(),
            problem: content.into(),
            content: content.into(),
            cut: false,
        };
        let lines = [
            line(ErrorKind::KeyConflict, "entities-00000.ndjson", 1, "good"),
            line(ErrorKind::LineInvalid, "entities-00001.ndjson", 2, "third"),
            line(ErrorKind::LineInvalid, "entities-00000.ndjson", 10, "second"),
            line(ErrorKind::LineInvalid, "entities-00000.ndjson", 9, "first"),
        ];
        let mut turned = lines.to_vec();
        turned.reverse();
        let all = joined(lines.to_vec()).unwrap();
        assert_eq!((all.problem.as_str(), all.line), ("first", 9));
        assert_eq!(all.content, b"first\nsecond\nthird\ngood");
        assert_eq!(joined(turned), Some(all));
    }
}
