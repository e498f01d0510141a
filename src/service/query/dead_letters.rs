//! Dead letters, by what people ask for.

use jiff::Timestamp;

use super::super::engine::Engine;
use super::super::views::{
    ActionView, AttemptView, DeadLetterDetail, DeadLetterView, DiagnosticsView, LetterState, Page,
    RetriedView,
};
use super::{Order, Part, cursor};
use crate::domain::glob::Glob;
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::transition::Event;
use crate::error::{Error, ErrorKind, Result, by_code};
use crate::intake::folder::hash_of;
use crate::store::{DeadLetter, DeadLetterState, LetterKind, LetterList, View};

/// What to do about a dead letter of this code and source. A line without a readable key
/// is no newer line's older self: only a full batch of everything speaks of it.
pub fn to_do(code: &str, source: &SourceId, kind: LetterKind, has_key: bool) -> String {
    match kind {
        LetterKind::Entity if !has_key => {
            "Repair it at its source; the next full batch of everything settles it, for it has no key by which a newer line could be found."
                .to_owned()
        }
        LetterKind::Entity | LetterKind::Batch => {
            by_code(code).map(|info| info.action_at(source.as_str())).unwrap_or_default()
        }
    }
}

/// Which dead letters.
#[derive(Debug, Clone, Default)]
pub struct LetterQuery {
    /// In one of these states; empty: those that are not settled.
    pub states: Vec<LetterState>,
    /// Of this source.
    pub source_id: Option<SourceId>,
    /// Of entities and relationships, or of batches.
    pub kind: Option<LetterKind>,
    /// Of an entity or relationship of this type.
    pub type_name: Option<String>,
    /// Whose name this glob matches.
    pub name: Option<String>,
    /// With this code.
    pub code: Option<String>,
    /// Of this group.
    pub signature: Option<String>,
    /// That this batch brought.
    pub batch_id: Option<BatchId>,
    /// Opened at or after this.
    pub since: Option<Timestamp>,
    /// Opened before this.
    pub until: Option<Timestamp>,
    /// In the order in which they came.
    pub order: Order,
    /// Which part.
    pub part: Part,
}

impl LetterQuery {
    /// The list, with all that bounds it, for cursors.
    fn name(&self) -> String {
        let Self {
            states, source_id, kind, type_name, name, code, signature, batch_id, since, until, ..
        } = self;
        format!(
            "letters\0{states:?}\0{source_id:?}\0{kind:?}\0{type_name:?}\0{name:?}\0{code:?}\0{signature:?}\0{batch_id:?}\0{since:?}\0{until:?}\0{:?}",
            self.order
        )
    }

    /// As the store lists them.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a cursor of another list, or a limit out of bounds.
    pub(in crate::service) fn list(&self, most: usize) -> Result<LetterList> {
        let states = match &self.states[..] {
            [] => vec![LetterState::Open, LetterState::Requeued],
            states => states.to_vec(),
        };
        let after = match self.part.after(&self.name())? {
            None => None,
            Some(key) => {
                let bytes =
                    key.try_into().map_err(|_| Error::new(ErrorKind::Usage, "`cursor` is damaged"))?;
                Some(u64::from_be_bytes(bytes))
            }
        };
        Ok(LetterList {
            states: states.into_iter().map(LetterState::as_str).collect(),
            source: self.source_id.clone(),
            kind: self.kind,
            type_name: self.type_name.clone(),
            name: self.name.as_ref().map(Glob::new),
            code: self.code.as_ref().map(|code| code.to_uppercase()),
            signature: self.signature.clone(),
            batch: self.batch_id.clone(),
            since: self.since,
            until: self.until,
            oldest_first: self.order == Order::Oldest,
            after,
            limit: self.part.limit.map_or_else(
                || self.part.limit(),
                |limit| {
                    if (1..=most).contains(&limit) {
                        return Ok(limit);
                    }
                    let text = format!("`limit` is {limit}: it must be from 1 to {most}");
                    Err(Error::new(ErrorKind::Usage, text))
                },
            )?,
        })
    }

    /// Whether what it names is there.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] names what is not.
    pub(in crate::service) fn expect_named(&self, engine: &Engine) -> Result<()> {
        engine.expect_named(self.source_id.as_ref(), self.code.as_deref(), self.signature.as_deref())
    }

    /// The cursor behind a letter.
    pub(in crate::service) fn cursor(&self, next: Option<u64>) -> Option<String> {
        next.map(|id| cursor::encode(&self.name(), &id.to_be_bytes()))
    }
}

/// A letter as lists show it.
pub(in crate::service) fn view_of(letter: &DeadLetter) -> DeadLetterView {
    let (state, requeued_as, settled_by) = match &letter.state {
        DeadLetterState::Open => (LetterState::Open, None, None),
        DeadLetterState::Requeued { batch, .. } => (LetterState::Requeued, Some(batch.clone()), None),
        DeadLetterState::Resolved { by, .. } => (LetterState::Resolved, None, Some(by.clone())),
        DeadLetterState::Discarded { by, .. } => (LetterState::Discarded, None, Some(by.clone())),
        DeadLetterState::Expired { .. } => (LetterState::Expired, None, None),
    };
    DeadLetterView {
        id: letter.id,
        revision: letter.revision,
        kind: letter.kind,
        state,
        source_id: letter.source.clone(),
        batch_id: letter.batch_id.clone(),
        source_timestamp: letter.stamp.source_timestamp,
        key: letter.key.clone(),
        code: letter.code.clone(),
        message: letter.message.clone(),
        signature: letter.signature(),
        attempts: letter.attempts,
        opened_at: letter.opened_at,
        changed_at: letter.changed_at.unwrap_or(letter.opened_at),
        edited: letter.edited.is_some(),
        requeued_as,
        settled_at: letter.state.settled_at(),
        settled_by,
    }
}

/// Retries that are shown of a batch.
const RETRIES: usize = 50;
/// Entries of a timeline that are looked through for them at once.
const ENTRIES: usize = 500;

/// How often a batch was to be tried again, by its timeline: the newest,
/// oldest first.
fn retries_of(view: &View<'_>, batch: &BatchId) -> Result<Vec<RetriedView>> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let entries = view.timeline_page(batch, true, after, ENTRIES)?;
        let at_end = entries.len() < ENTRIES;
        after = entries.last().map(|(number, _)| *number);
        let retried = entries.into_iter().filter(|(_, entry)| entry.event == Some(Event::RetryScheduled));
        found.extend(retried.map(|(_, entry)| RetriedView { at: entry.at, message: entry.cause }));
        if at_end || found.len() >= RETRIES {
            break;
        }
    }
    found.truncate(RETRIES);
    found.reverse();
    Ok(found)
}

impl Engine {
    /// A part of the dead letters.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a cursor of another list,
    /// [`ErrorKind::NotFound`] for a source, code or group that nobody knows.
    pub fn letters(&self, query: &LetterQuery) -> Result<Page<DeadLetterView>> {
        let list = query.list(super::PAGE_MAX)?;
        query.expect_named(self)?;
        let rows = self.store.read(|view| view.list_of_dead_letters(&list, |letter| view_of(&letter)))?;
        Ok(Page { items: rows.letters, next_cursor: query.cursor(rows.next) })
    }

    /// The original of a dead letter, byte for byte.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of this number, or its
    /// original is not known.
    pub fn letter_content(&self, id: u64) -> Result<Vec<u8>> {
        let letter = self.store.read(|view| view.expect_dead_letter(id))?;
        let content = self.original_of(&letter)?;
        if content.is_empty() {
            let text = format!("the original of dead letter {id} is not known");
            return Err(Error::new(ErrorKind::NotFound, text)
                .with_action(format!("`tidegate dlq show {id}` shows what is known of it.")));
        }
        Ok(content)
    }

    /// Where the files of a failed batch lie.
    fn files_of(&self, letter: &DeadLetter) -> Result<Option<String>> {
        let id = &letter.batch_id;
        let record = match letter.kind {
            LetterKind::Batch => self.store.read(|view| view.batch(id))?,
            LetterKind::Entity => None,
        };
        let Some(record) = record else { return Ok(None) };
        let pinned = self.pinned_folder(id)?;
        Ok(Some(pinned.map_or(record.url, |folder| self.state.url_of(&folder))))
    }

    /// A dead letter with all that is known of it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of this number.
    pub fn letter(&self, id: u64) -> Result<DeadLetterDetail> {
        let letter = self.store.read(|view| view.expect_dead_letter(id))?;
        let (content, content_problem) = match self.original_of(&letter) {
            Ok(content) => (content, None),
            // The rest of the letter is there, and so are its repairs.
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let info = by_code(&letter.code);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let known = letter.diagnostics.clone();
        let skip = match letter.wanted_key() {
            Some(key) => self.skip_of(&letter.source, &key)?,
            None => None,
        };
        let retries = match letter.kind {
            LetterKind::Batch => self.store.read(|view| retries_of(view, &letter.batch_id))?,
            LetterKind::Entity => Vec::new(),
        };
        Ok(DeadLetterDetail {
            files: self.files_of(&letter)?,
            retries,
            skip,
            meaning: info.map(|info| info.meaning.to_owned()).unwrap_or_default(),
            action: to_do(&letter.code, &letter.source, letter.kind, letter.key.is_some()),
            content: (!content.is_empty()).then(|| text(&content)),
            original_hash: match letter.kind {
                LetterKind::Batch => Some(hash_of(&content)),
                LetterKind::Entity => None,
            },
            content_exact: std::str::from_utf8(&content).is_ok(),
            content_problem,
            cut: letter.cut,
            edited_content: letter.edited.as_ref().map(|edited| text(&edited.content)),
            file: letter.file.clone(),
            line: letter.line,
            diagnostics: DiagnosticsView {
                action: known.action,
                operation: known.operation,
                request: known.request,
                answer: known.answer,
                causes: known.causes,
                before: known.before,
                after: known.after,
            },
            history: letter
                .history
                .iter()
                .map(|attempt| AttemptView {
                    batch_id: attempt.batch_id.clone(),
                    at: attempt.at,
                    code: attempt.code.clone(),
                    message: attempt.message.clone(),
                })
                .collect(),
            actions: letter
                .actions
                .iter()
                .map(|action| ActionView {
                    at: action.at,
                    what: action.what.clone(),
                    actor: action.actor.clone(),
                    reason: action.reason.clone(),
                })
                .collect(),
            discard_reason: match &letter.state {
                DeadLetterState::Discarded { reason, .. } => Some(reason.clone()),
                DeadLetterState::Open
                | DeadLetterState::Requeued { .. }
                | DeadLetterState::Resolved { .. }
                | DeadLetterState::Expired { .. } => None,
            },
            letter: view_of(&letter),
        })
    }
}
