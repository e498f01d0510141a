//! Opening letters: a new one, or one more attempt at the unsettled one of
//! the same source and key; and the alert when a reason is new.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::records::{DeadLetter, DeadLetterState, LetterAttempt, LetterKind};
use super::super::tables::{Table, number_behind};
use super::super::tx::{Read, Tx};
use super::index::{alert_key, group_count, group_prefix, identity, open_row};
use crate::domain::alert::DeadLettersOpened;
use crate::domain::notice::NoticeKind;
use crate::domain::stamp::Stamp;
use crate::error::{Error, ErrorKind, Result, by_code};

/// How many attempts of one letter are kept: the first one and the last ones.
const HISTORY: usize = 50;
/// Groups that a source may have of one code. Words of a target that differ
/// each time would make as many, with an alert each.
const GROUPS: u64 = 50;
/// The pattern of what is in none of them.
const OTHERS: &str = "other reasons";
const NEXT: &[u8] = b"next_dead_letter";

/// A letter that is to be opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewLetter {
    /// The letter.
    pub letter: DeadLetter,
    /// Its source published this of what it is about before, and it is newer.
    pub newer: Option<Stamp>,
}

impl From<DeadLetter> for NewLetter {
    fn from(letter: DeadLetter) -> Self {
        Self { letter, newer: None }
    }
}

/// Whether two letters of one key hold the same original.
fn is_same(a: &DeadLetter, b: &DeadLetter) -> bool {
    let long = |letter: &DeadLetter| letter.long.as_ref().map(|long| (long.bytes, long.xxh3.clone()));
    a.content == b.content && long(a) == long(b)
}

impl Tx<'_> {
    /// As [`Tx::open_all_dead_letters`], of one; its number.
    pub fn open_dead_letter(&mut self, letter: DeadLetter) -> Result<u64> {
        let letter = self.open_one(letter)?;
        self.alert_of(&letter.signature())?;
        Ok(letter.id)
    }

    /// Opens dead letters, or adds to the unsettled ones of the same source
    /// and key, which then hold the content of the newest stamp. The letters'
    /// `id`, `opened_at`, `attempts` and `history` are filled in here. For a
    /// reason that no unsettled letter of the source had, an alert is raised.
    /// One letter at a time is in memory.
    ///
    /// One that is moot already, for its source published something newer of
    /// what it is about, is settled at once.
    pub fn open_all_dead_letters(
        &mut self,
        letters: impl IntoIterator<Item = Result<impl Into<NewLetter>>>,
    ) -> Result<Vec<u64>> {
        let mut ids = Vec::new();
        let mut groups = BTreeSet::new();
        for letter in letters {
            let NewLetter { letter, newer } = letter?.into();
            let letter = self.open_one(letter)?;
            groups.insert(letter.signature());
            ids.push(letter.id);
            // It may be one with something newer still.
            if let Some(newer) = newer.filter(|newer| letter.stamp < *newer) {
                self.resolve_dead_letter(letter.id, &newer.batch_id.to_string())?;
            }
            self.spill()?;
        }
        for signature in groups {
            // Two of them may be one letter, which is in the group of the last.
            if self.letter_group(&signature)?.is_some() {
                self.alert_of(&signature)?;
            }
        }
        Ok(ids)
    }

    fn open_one(&mut self, mut letter: DeadLetter) -> Result<DeadLetter> {
        let is_new = self.letter_group(&letter.signature())?.is_none();
        if is_new && self.count(&group_count(&letter))? >= GROUPS {
            letter.pattern = OTHERS.to_owned();
        }
        let attempt = LetterAttempt {
            batch_id: letter.batch_id.clone(),
            stamp: letter.stamp.clone(),
            at: self.now(),
            code: letter.code.clone(),
            message: letter.message.clone(),
        };
        let Some(open) = self.letter_at(&open_row(&letter.source, identity(&letter)))? else {
            self.count_letter("opened")?;
            let next = match self.get(Table::Meta, NEXT)? {
                Some(bytes) => String::from_utf8_lossy(&bytes).parse().unwrap_or(1),
                None => 1u64,
            };
            self.put(Table::Meta, NEXT.to_vec(), (next + 1).to_string().into_bytes());
            return self.put_dead_letter(DeadLetter {
                id: next,
                opened_at: self.now(),
                attempts: 1,
                history: vec![attempt],
                state: DeadLetterState::Open,
                ..letter
            });
        };
        // An attempt is a batch that brought it, however often that is tried.
        let known = letter.kind == LetterKind::Entity
            && open.history.last().is_some_and(|last| last.batch_id == letter.batch_id);
        let mut history = open.history.clone();
        if known {
            history.pop();
        } else {
            self.count_letter("opened")?;
            if history.len() >= HISTORY {
                history.remove(1);
            }
        }
        history.push(attempt);
        let attempts = open.attempts.saturating_add(u32::from(!known));
        if !letter.asserts() || open.asserts() && letter.stamp < open.stamp {
            // An older batch came late, or nothing new is asserted: what is
            // newest stays what is repaired.
            return self.put_dead_letter(DeadLetter { history, attempts, ..open });
        }
        if known && letter.stamp == open.stamp && (letter.batch_id.n() > 0 || is_same(&letter, &open)) {
            // Its batch is tried again and says what it said: what was decided
            // about that stands. What is made of dead letters never changes.
            return self.put_dead_letter(DeadLetter {
                history,
                attempts,
                code: letter.code,
                message: letter.message,
                pattern: letter.pattern,
                diagnostics: letter.diagnostics,
                ..open
            });
        }
        let own = matches!(&open.state, DeadLetterState::Requeued { batch, .. } if *batch == letter.batch_id);
        let mut next = DeadLetter {
            id: open.id,
            opened_at: open.opened_at,
            attempts,
            history,
            actions: open.actions,
            state: DeadLetterState::Open,
            ..letter
        };
        if own {
            // What was requeued failed again: the original and its edit stay.
            next.content = open.content;
            next.long = open.long;
            next.cut = open.cut;
            next.file = open.file;
            next.line = open.line;
            next.edited = open.edited;
            let text = format!("batch {} brought it, and it failed again", next.batch_id);
            next.note(self.letter_action(text, "tidegate", &next.code));
        } else if open.edited.is_some() {
            let text = format!("batch {} brought it anew: the edit was dropped", next.batch_id);
            next.note(self.letter_action(text, "tidegate", ""));
        }
        self.put_dead_letter(next)
    }

    /// What the alert of a group says; `None`: nothing of it is unsettled.
    pub(in crate::store) fn dead_letters_opened(&self, signature: &str) -> Result<Option<Value>> {
        let Some(group) = self.letter_group(signature)? else { return Ok(None) };
        let first = self.scan(Table::LetterIndex, &group_prefix(signature), None, 1)?;
        let id = first.first().map(|(row, _)| number_behind(row)).unwrap_or_default();
        let letter = self.expect_dead_letter(id)?;
        let info = by_code(&group.code);
        // A target's words may hold a value; ours don't.
        let told = [ErrorKind::EntityRejected, ErrorKind::EntityMissing].map(|kind| kind.info().code);
        let own_words = !told.contains(&&*group.code);
        let data = DeadLettersOpened {
            group: signature.to_owned(),
            source_id: group.source,
            what: group.kind.as_str(),
            meaning: info.map(|info| info.meaning.to_owned()).unwrap_or_default(),
            action: info.map(|info| info.action_at(letter.source.as_str())).unwrap_or_default(),
            message: own_words.then_some(group.pattern),
            count: group.count,
            dead_letter: id,
            batch_id: letter.batch_id,
            key: letter.key,
            link: self.outlets().link(&format!("/dlq?signature={signature}")),
            code: group.code,
        };
        serde_json::to_value(data).map(Some).map_err(|e| Error::internal("an alert").caused_by(e))
    }

    fn alert_of(&mut self, signature: &str) -> Result<()> {
        self.raise_alert(&alert_key(signature), NoticeKind::DeadLetterOpened, signature)
    }
}
