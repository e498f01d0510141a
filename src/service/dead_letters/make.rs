//! The dead letters that a plan and its execution leave, with all that is
//! known of each.

use std::collections::{HashMap, HashSet};

use super::super::engine::Engine;
use super::long;
use super::moot::Owners;
use crate::domain::ids::OperationNo;
use crate::domain::key::{Key, KeyHash};
use crate::domain::signature::pattern;
use crate::error::{ErrorKind, Result, cut};
use crate::planning::bodies::Bodies;
use crate::planning::plan_file::Plan;
use crate::publishing::outcome::{Executed, Refused};
use crate::store::{BatchRecord, DeadLetter, DeadLetterState, LetterDiagnostics, LetterKind};
use crate::targets::{Operation, Target};

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

/// Attributes before and after, as the plan has them.
type Values = (Option<String>, Option<String>);

impl Engine {
    /// The dead letters that a plan and its execution leave.
    pub(in crate::service) fn dead_letters(
        &self,
        record: &BatchRecord,
        plan: &Plan,
        executed: &Executed,
    ) -> Result<Vec<DeadLetter>> {
        let base = |code: &str, message: String| DeadLetter {
            id: 0,
            kind: LetterKind::Entity,
            source: record.batch_id.source().clone(),
            batch_id: record.batch_id.clone(),
            stamp: record.stamp.clone(),
            key: None,
            content: Vec::new(),
            long: None,
            cut: false,
            file: String::new(),
            line: 0,
            code: code.to_owned(),
            message,
            pattern: String::new(),
            opened_at: self.clock.now(),
            changed_at: None,
            attempts: 0,
            history: Vec::new(),
            actions: Vec::new(),
            diagnostics: LetterDiagnostics::default(),
            edited: None,
            revision: 0,
            state: DeadLetterState::Open,
        };
        let header = &plan.manifest().header;
        let mut files = long::Writer::new(&self.state, &header.source_id, &header.plan_id);
        let mut letters = Vec::new();
        plan.rejects(|reject| {
            let field = if reject.field.is_empty() { String::new() } else { format!("`{}` ", reject.field) };
            let problem = format!("{field}{}", reject.problem);
            let message = format!("{} line {}: {problem}", reject.file, reject.line);
            let (content, long) = files.put(reject.content)?;
            letters.push(DeadLetter {
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
                ..base(&reject.code, message)
            });
            Ok(())
        })?;
        if executed.refused.is_empty() {
            files.finish()?;
            return Ok(letters);
        }
        let mut values = values_of(plan, &executed.refused)?;
        let mut owners = Owners::new(self, plan)?;
        let (_, open) = self.target_of(record.batch_id.source())?;
        for refused in &executed.refused {
            let (rejection, key) = (&refused.rejection, &refused.change.key);
            let (before, after) = values.remove(&key.hash()).unwrap_or_default();
            let (content, long) = files.put(owners.line_of(key)?.unwrap_or_default())?;
            let mut letter = DeadLetter {
                key: Some(key.clone()),
                content,
                long,
                pattern: pattern(&rejection.reason, &names_of(Some(key))),
                diagnostics: LetterDiagnostics {
                    action: Some(refused.change.action),
                    request: request_of(&*open.target, record, plan, refused),
                    answer: (!rejection.answer.is_empty()).then(|| cut(&rejection.answer, KEEP_ANSWER)),
                    causes: vec![rejection.reason.clone()],
                    before,
                    after,
                    operation: Some(format!(
                        "operation {} of {}",
                        refused.operation.0.saturating_add(1),
                        plan.manifest().operations.len()
                    )),
                },
                ..match rejection.code.as_str() {
                    "" => base(
                        ErrorKind::EntityRejected.info().code,
                        format!("the target refused it: {}", rejection.reason),
                    ),
                    code => base(code, format!("it fails whenever it is sent: {}", rejection.reason)),
                }
            };
            if let Some((source, stamp)) = owners.published(key)? {
                letter.source = source;
                letter.batch_id = stamp.batch_id.clone();
                letter.stamp = stamp;
            }
            letters.push(letter);
        }
        files.finish()?;
        Ok(letters)
    }
}

/// The request that a refused change was in, of its changes that one.
fn request_of(target: &dyn Target, record: &BatchRecord, plan: &Plan, refused: &Refused) -> Option<String> {
    // Journals of earlier versions do not have it.
    let sent = refused.rejection.sent.as_ref()?;
    let header = &plan.manifest().header;
    let text = target.describe(&Operation {
        plan_id: header.plan_id.clone(),
        no: refused.operation,
        part: sent.part,
        source_id: header.source_id.clone(),
        batch_id: record.batch_id.clone(),
        at: sent.at,
        changes: vec![refused.change.clone()],
    });
    let text = Some(cut(&text, KEEP)).filter(|text| !text.is_empty())?;
    Some(match sent.changes {
        0 | 1 => text,
        changes => format!("{text}\n\nOne of the {changes} changes of the request: the others are left out."),
    })
}

/// What the plan changes of the refused keys.
fn values_of(plan: &Plan, refused: &[Refused]) -> Result<HashMap<KeyHash, Values>> {
    let mut wanted: HashMap<OperationNo, HashSet<KeyHash>> = HashMap::new();
    for refused in refused {
        wanted.entry(refused.operation).or_default().insert(refused.change.key.hash());
    }
    let mut bodies = Bodies::new()?;
    let mut found = HashMap::new();
    for (operation, hashes) in wanted {
        plan.operation(operation, |change| {
            if !hashes.contains(&change.hash) {
                return Ok(());
            }
            let hash = change.hash;
            let change = plan.resolve(change, &mut bodies)?;
            let text =
                |value: Option<Box<serde_json::value::RawValue>>| value.map(|value| cut(value.get(), KEEP));
            found.insert(hash, (text(change.before), text(change.after)));
            Ok(())
        })?;
    }
    Ok(found)
}
