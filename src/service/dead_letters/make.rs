//! The dead letters that a plan and its execution leave, with all that is
//! known of each.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::super::engine::Engine;
use super::long;
use super::owners::Owners;
use super::same_key;
use super::spool::{Spool, Spooled};
use crate::domain::change::{Change, Rejection};
use crate::domain::ids::OperationNo;
use crate::domain::key::{Key, KeyHash};
use crate::domain::signature::pattern;
use crate::domain::stamp::Stamp;
use crate::error::{Error, ErrorKind, Result, cut};
use crate::planning::bodies::Bodies;
use crate::planning::format::layer::Scratch;
use crate::planning::plan_file::Plan;
use crate::planning::rejects::Reject;
use crate::planning::snapshot::Snapshot;
use crate::publishing::operation::sent;
use crate::publishing::outcome::{Executed, Refused};
use crate::store::{BatchRecord, DeadLetter, LetterDiagnostics, NewLetter};
use crate::targets::{Operation, Target, TargetChange};

/// How much of a value is kept in diagnostics, in bytes. What is requeued is
/// kept whole.
const KEEP: usize = 64 << 10;
/// How much of a target's answer is kept.
const KEEP_ANSWER: usize = 16 << 10;

/// Names that messages about a key may hold.
fn names_of(key: Option<&Key>) -> Vec<&str> {
    match key {
        None => Vec::new(),
        Some(Key::Entity(key)) => vec![&key.qualified_name],
        Some(Key::Relationship(key)) => {
            vec![&key.from.qualified_name, &key.to.qualified_name, &key.label]
        }
    }
}

impl Engine {
    /// The dead letters that a plan and its execution leave, made one after
    /// the other: they lie on disk, for there may be many. `own` is what the
    /// source published before.
    pub(in crate::service) fn dead_letters(
        &self,
        record: &BatchRecord,
        plan: &Plan,
        executed: &Executed,
        own: Option<&Snapshot>,
    ) -> Result<Spooled> {
        let header = &plan.manifest().header;
        let mut maker = Maker {
            engine: self,
            record,
            plan,
            own,
            scratch: Scratch::default(),
            opened_at: self.clock.now(),
            files: long::Writer::new(&self.state, &header.source_id, &header.plan_id),
            spool: Spool::new(&self.state, &header.plan_id),
        };
        // What is read again for its withheld deletions has its dead letters from
        // the first time, be they settled or not.
        let again = record.absence.is_some();
        let rejects = if again { Ok(()) } else { same_key::merged(plan, |reject| maker.of_reject(reject)) };
        let written = rejects.and_then(|()| maker.of_refused(executed)).and_then(|()| maker.files.finish());
        if let Err(error) = written {
            // What a full disk has of them would only take room until then.
            maker.files.remove();
            return Err(error);
        }
        maker.spool.finish()
    }
}

/// Makes the letters of one plan.
struct Maker<'a> {
    engine: &'a Engine,
    record: &'a BatchRecord,
    plan: &'a Plan,
    own: Option<&'a Snapshot>,
    scratch: Scratch,
    opened_at: Timestamp,
    files: long::Writer<'a>,
    spool: Spool<'a>,
}

impl Maker<'_> {
    fn base(&self, code: &str, message: String) -> DeadLetter {
        DeadLetter::new(self.record.stamp.clone(), code, message, self.opened_at)
    }

    fn of_reject(&mut self, reject: Reject) -> Result<()> {
        let field = if reject.field.is_empty() { String::new() } else { format!("`{}` ", reject.field) };
        let problem = format!("{field}{}", reject.problem);
        let message = format!("{} line {}: {problem}", reject.file, reject.line);
        let (content, long) = self.files.put(reject.content)?;
        let letter = DeadLetter {
            pattern: pattern(&problem, &names_of(reject.key.as_ref())),
            key: reject.key,
            content,
            long,
            cut: reject.cut,
            file: reject.file,
            line: reject.line,
            diagnostics: LetterDiagnostics {
                operation: Some("planning".to_owned()),
                ..LetterDiagnostics::default()
            },
            ..self.base(&reject.code, message)
        };
        let newer = self.newer(letter.key.as_ref())?;
        self.spool.put(&NewLetter { letter, newer })
    }

    /// The newest assertion that the source published of a key before, if the
    /// batch is a late one that comes behind it; without a key: of all keys.
    fn newer(&mut self, key: Option<&Key>) -> Result<Option<Stamp>> {
        let Some(own) = self.own else { return Ok(None) };
        let newest = match key {
            Some(key) => {
                let found = own.lookup(key.hash(), &mut self.scratch)?;
                own.effective_stamp(key.hash(), key.type_name(), key.scope_name(), found.as_ref())?
            }
            None => own.newest_of_everything(),
        };
        Ok(newest.map(|info| &info.stamp).filter(|stamp| **stamp > self.record.stamp).cloned())
    }

    /// The letters of refused changes, which come by operation.
    fn of_refused(&mut self, executed: &Executed) -> Result<()> {
        let refused = &executed.refused;
        if refused.is_empty() {
            return Ok(());
        }
        let mut owners = Owners::new(self.engine, self.plan, executed.outcome.complete)?;
        let header = &self.plan.manifest().header;
        let (_, open) = self.engine.target_named(&header.target, &header.source_id)?;
        let (mut bodies, plan) = (Bodies::new()?, self.plan);
        for refused in refused.chunk_by(|a, b| a.operation == b.operation) {
            let Some(operation) = refused.first().map(|refused| refused.operation) else { continue };
            let plan_id = &plan.manifest().header.plan_id;
            let journalled = self.engine.store.read(|view| view.rejections(plan_id, operation))?;
            let journalled: HashMap<u32, Rejection> = journalled.into_iter().collect();
            let wanted: HashMap<KeyHash, &Refused> = refused.iter().map(|one| (one.hash, one)).collect();
            plan.operation(operation, |change| {
                let Some(refused) = wanted.get(&change.hash) else { return Ok(()) };
                let rejection = refused.rejection.as_ref().or_else(|| journalled.get(&refused.place));
                let Some(rejection) = rejection else {
                    return Err(Error::internal("a refused change is not in the journal"));
                };
                let sent = sent(plan, change.clone(), &mut bodies)?;
                let change = plan.resolve(change, &mut bodies)?;
                let request = self.request_of(&*open.target, operation, &sent, rejection);
                self.of_change(&mut owners, operation, &sent, change, rejection, request)
            })?;
        }
        Ok(())
    }

    /// The request that a refused change was in, of its changes that one.
    fn request_of(
        &self,
        target: &dyn Target,
        operation: OperationNo,
        change: &TargetChange,
        rejection: &Rejection,
    ) -> Option<String> {
        // Journals of earlier versions do not have it.
        let sent = rejection.sent.as_ref()?;
        let header = &self.plan.manifest().header;
        let text = target.describe(&Operation {
            plan_id: header.plan_id.clone(),
            no: operation,
            part: sent.part,
            source_id: header.source_id.clone(),
            batch_id: self.record.batch_id.clone(),
            at: sent.at,
            changes: vec![change.clone()],
        });
        let text = Some(cut(&text, KEEP)).filter(|text| !text.is_empty())?;
        Some(match sent.changes {
            0 | 1 => text,
            changes => {
                format!("{text}\n\nOne of the {changes} changes of the request: the others are left out.")
            }
        })
    }

    fn of_change(
        &mut self,
        owners: &mut Owners<'_>,
        operation: OperationNo,
        sent: &TargetChange,
        change: Change,
        rejection: &Rejection,
        request: Option<String>,
    ) -> Result<()> {
        let key = &sent.key;
        let value = |value: Option<Box<RawValue>>| value.map(|value| cut(value.get(), KEEP));
        let (content, long) = self.files.put(owners.line_of(key)?.unwrap_or_default())?;
        let base = match rejection.code.as_str() {
            "" => self.base(
                ErrorKind::EntityRejected.info().code,
                format!("the target refused it: {}", rejection.reason),
            ),
            code if code == ErrorKind::EntityMissing.info().code => {
                self.base(code, format!("the target does not have it: {}", rejection.reason))
            }
            code => self.base(code, format!("it fails whenever it is sent: {}", rejection.reason)),
        };
        let operations = self.plan.manifest().operations.len();
        let mut letter = DeadLetter {
            key: Some(key.clone()),
            content,
            long,
            pattern: pattern(&rejection.reason, &names_of(Some(key))),
            diagnostics: LetterDiagnostics {
                action: Some(sent.action),
                request,
                answer: (!rejection.answer.is_empty()).then(|| cut(&rejection.answer, KEEP_ANSWER)),
                causes: vec![rejection.reason.clone()],
                before: value(change.before),
                after: value(change.after),
                operation: Some(format!("operation {} of {operations}", operation.0.saturating_add(1))),
            },
            ..base
        };
        if let Some((source, stamp)) = owners.published(key)? {
            letter.source = source;
            letter.batch_id = stamp.batch_id.clone();
            letter.stamp = stamp;
        }
        self.spool.put(&letter.into())
    }
}
