//! Plans, as they are looked at: a part of the changes, groups of identical
//! ones, and the lines that were left out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::super::engine::Engine;
use super::super::views::{
    AttributeCount, ChangeFilter, ChangeGroup, ChangeView, Page, PlanBrief, PlanGroups, PlanPage, RejectView,
    TypeCount,
};
use super::alike::Alike;
use super::batches::plan_brief;
use super::{Part, cursor};
use crate::domain::change::{Action, Change};
use crate::domain::ids::BatchId;
use crate::domain::key::{Key, Kind};
use crate::error::{Error, ErrorKind, Result};
use crate::planning::bodies::Bodies;
use crate::planning::plan_file::{ChangeAt, Plan};

/// Changes that one answer looks at.
const LOOKED_AT: usize = 100_000;
/// Changes that groups are made of.
const GROUPED: u64 = 200_000;
/// Bytes of values after which an answer, or what is kept of groups, ends.
const VALUES: usize = 4 << 20;
/// Alike changes from which on they are a group.
const GROUP: u64 = 3;
/// Groups that are told apart.
const APART: usize = 20_000;
/// Groups that are shown.
const GROUPS: usize = 200;
/// Attributes that are shown.
const ATTRIBUTES: usize = 50;
/// Keys that a group is shown with.
const KEYS: usize = 3;

/// Which changes of a plan, and which part of them.
#[derive(Debug, Clone, Default)]
pub struct PlanQuery {
    /// Which changes.
    pub filter: ChangeFilter,
    /// Which part.
    pub part: Part,
}

/// Groups of a plan, as they are kept.
pub struct Grouped {
    types: Vec<TypeCount>,
    attributes: Vec<AttributeCount>,
    groups: Vec<ChangeGroup>,
    ids: HashSet<u128>,
    ungrouped: u64,
    complete: bool,
}

impl Engine {
    /// A part of the changes of a batch's newest plan.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the batch is not there, or has no plan
    /// that is still stored.
    pub fn plan_view(&self, id: &BatchId, query: &PlanQuery) -> Result<PlanPage> {
        let (brief, plan) = self.stored_plan(id)?;
        let filter = &query.filter;
        let filters = serde_json::to_string(filter).map_err(|e| Error::internal("a filter").caused_by(e))?;
        let name = format!("plan\0{}\0{filters}", brief.plan_id);
        let limit = query.part.limit()?;
        let from = match query.part.after(&name)? {
            None => ChangeAt::default(),
            Some(key) => place(&key)?,
        };
        let grouped = if filter.ungrouped { Some(self.grouped(&plan)?) } else { None };
        let alike = Alike::new(&plan.manifest().volatile);
        let wanted = Wanted::new(filter, grouped.as_deref(), &alike)?;
        let mut bodies = Bodies::new()?;
        let (mut items, mut next, mut looked_at, mut bytes) = (Vec::new(), None, 0, 0);
        plan.changes_from(from, |at, planned| {
            if items.len() == limit || looked_at == LOOKED_AT || bytes > VALUES {
                next = Some(at);
                return Ok(ControlFlow::Break(()));
            }
            looked_at += 1;
            if !wanted.may_fit(planned.action, planned.kind()) {
                return Ok(ControlFlow::Continue(()));
            }
            let moved = planned.moved;
            let change = plan.resolve(planned, &mut bodies)?;
            if wanted.fits(&change) {
                bytes += weight(&change);
                let Change { action, kind, key, before, after, .. } = change;
                items.push(ChangeView { operation: at.operation, action, kind, key, moved, before, after });
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let next_cursor = next.map(|at| {
            let words = [at.operation, at.block, at.record].map(u32::to_be_bytes);
            cursor::encode(&name, &words.concat())
        });
        Ok(PlanPage {
            batch_id: id.clone(),
            plan: brief,
            warnings: plan.manifest().warnings.clone(),
            withheld: plan.manifest().withheld.clone(),
            volatile: plan.manifest().volatile.clone(),
            rejects: plan.manifest().reject_count,
            items,
            next_cursor,
        })
    }

    /// What the newest plan of a batch has of each type, and which of its
    /// changes are alike.
    ///
    /// # Errors
    /// As [`Engine::plan_view`].
    pub fn plan_groups(&self, id: &BatchId) -> Result<PlanGroups> {
        let (brief, plan) = self.stored_plan(id)?;
        let grouped = self.grouped(&plan)?;
        Ok(PlanGroups {
            plan: brief,
            types: grouped.types.clone(),
            attributes: grouped.attributes.clone(),
            groups: grouped.groups.clone(),
            ungrouped: grouped.ungrouped,
            complete: grouped.complete,
        })
    }

    /// A part of the lines that the newest plan of a batch leaves out.
    ///
    /// # Errors
    /// As [`Engine::plan_view`].
    pub fn plan_rejects(&self, id: &BatchId, part: &Part) -> Result<Page<RejectView>> {
        let (brief, plan) = self.stored_plan(id)?;
        let name = format!("rejects\0{}", brief.plan_id);
        let limit = part.limit()? as u64;
        let from = match part.after(&name)? {
            None => 0,
            Some(key) => u64::from_be_bytes(key.try_into().map_err(|_| damaged())?),
        };
        let (mut items, mut number) = (Vec::new(), 0u64);
        // Rejects are few: past the isolation limit the batch fails as a whole.
        plan.rejects(|reject| {
            if number >= from && number < from.saturating_add(limit) {
                let (key, file, line) = (reject.key, reject.file, reject.line);
                let (code, field, problem) = (reject.code, reject.field, reject.problem);
                items.push(RejectView { key, file, line, code, field, problem });
            }
            number += 1;
            Ok(())
        })?;
        let end = from.saturating_add(limit);
        let next_cursor = (number > end).then(|| cursor::encode(&name, &end.to_be_bytes()));
        Ok(Page { items, next_cursor })
    }

    /// The newest plan of a batch.
    fn stored_plan(&self, id: &BatchId) -> Result<(PlanBrief, Plan)> {
        let (record, plan) = self.store.read(|view| {
            let record = view.expect_batch(id)?;
            let plan = match &record.plan_id {
                Some(plan) => view.plan(plan)?,
                None => None,
            };
            Ok((record, plan))
        })?;
        let brief = plan.as_ref().and_then(plan_brief);
        let missing = || Error::new(ErrorKind::NotFound, format!("batch {id} has no plan that is stored"));
        let brief = brief.ok_or_else(missing)?;
        Ok((brief, self.plan_of(&record)?.ok_or_else(missing)?))
    }

    fn grouped(&self, plan: &Plan) -> Result<Arc<Grouped>> {
        self.looks.grouped(&plan.manifest().header.plan_id, || group(plan))
    }
}

/// Bytes of a change's values.
fn weight(change: &Change) -> usize {
    [&change.before, &change.after].into_iter().flatten().map(|value| value.get().len()).sum()
}

fn damaged() -> Error {
    Error::new(ErrorKind::Usage, "`cursor` is damaged")
}

fn place(key: &[u8]) -> Result<ChangeAt> {
    let word = |n: usize| {
        let bytes = key.get(n * 4..n * 4 + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_be_bytes).ok_or_else(damaged)
    };
    Ok(ChangeAt { operation: word(0)?, block: word(1)?, record: word(2)? })
}

/// A filter, ready to be asked many times.
struct Wanted<'a> {
    filter: &'a ChangeFilter,
    text: Option<String>,
    group: Option<u128>,
    grouped: Option<&'a Grouped>,
    alike: &'a Alike,
}

impl<'a> Wanted<'a> {
    fn new(filter: &'a ChangeFilter, grouped: Option<&'a Grouped>, alike: &'a Alike) -> Result<Self> {
        let group = match &filter.group {
            None => None,
            Some(text) => {
                let id = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32);
                let bad = || Error::new(ErrorKind::Usage, "`group` is not the id of a group of changes");
                Some(id.ok_or_else(bad)?)
            }
        };
        let text = filter.text.as_ref().filter(|text| !text.is_empty()).map(|text| text.to_lowercase());
        Ok(Self { filter, text, group, grouped, alike })
    }

    /// What can be told before the values are read.
    fn may_fit(&self, action: Action, kind: Kind) -> bool {
        self.filter.action.is_none_or(|wanted| wanted == action)
            && self.filter.kind.is_none_or(|wanted| wanted == kind)
    }

    fn fits(&self, change: &Change) -> bool {
        if self.filter.type_name.as_ref().is_some_and(|wanted| wanted != change.key.type_name()) {
            return false;
        }
        if let Some(text) = &self.text {
            let values = [&change.before, &change.after];
            let in_values =
                || values.into_iter().flatten().any(|value| value.get().to_lowercase().contains(text));
            if !change.key.to_string().to_lowercase().contains(text) && !in_values() {
                return false;
            }
        }
        if self.group.is_none() && self.grouped.is_none() {
            return true;
        }
        let id = self.alike.group_id(change);
        self.group.is_none_or(|wanted| wanted == id)
            && self.grouped.is_none_or(|grouped| !grouped.ids.contains(&id))
    }
}

fn group(plan: &Plan) -> Result<Grouped> {
    let alike = Alike::new(&plan.manifest().volatile);
    // Creates, updates, deletes, and relationships that begin to wait.
    let mut types: BTreeMap<(Kind, String), [u64; 4]> = BTreeMap::new();
    let mut attributes: HashMap<String, u64> = HashMap::new();
    let mut groups: HashMap<u128, ChangeGroup> = HashMap::new();
    let (mut looked_at, mut complete, mut held) = (0u64, true, 0);
    let (mut forgot, mut is_full) = (false, false);
    let mut bodies = Bodies::new()?;
    plan.changes_from(ChangeAt::default(), |_, planned| {
        if looked_at == GROUPED {
            complete = false;
            return Ok(ControlFlow::Break(()));
        }
        looked_at += 1;
        let change = plan.resolve(planned, &mut bodies)?;
        let type_name = change.key.type_name();
        let column = if change.begins_to_wait() { 3 } else { change.action as usize };
        types.entry((change.kind, type_name.to_owned())).or_default()[column] += 1;
        if change.action == Action::Update {
            count_attributes(&change, &mut attributes);
        }
        let id = alike.group_id(&change);
        if let Some(group) = groups.get_mut(&id) {
            count_in(group, change.key);
            return Ok(ControlFlow::Continue(()));
        }
        // Of others than updates there are as few kinds as there are types.
        let is_update = change.action == Action::Update;
        if is_update && (groups.len() >= APART || held >= VALUES) && !is_full {
            // Room is made by those that were met once so far.
            groups.retain(|_, group| group.count > 1 || group.action != Action::Update);
            held = groups.values().map(values_of).sum();
            (forgot, is_full) = (true, groups.len() > APART / 2 || held > VALUES / 2);
        }
        if !is_update || !is_full {
            let first = first_of(id, change, &alike);
            held += values_of(&first);
            groups.insert(id, first);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if forgot {
        // Of what was forgotten and met again, all of it counts.
        groups.retain(|_, group| group.count > 1 || group.action != Action::Update);
        groups.values_mut().for_each(|group| (group.count, group.keys) = (0, Vec::new()));
        let mut counted = 0;
        plan.changes_from(ChangeAt::default(), |_, planned| {
            if counted == looked_at {
                return Ok(ControlFlow::Break(()));
            }
            counted += 1;
            let change = plan.resolve(planned, &mut bodies)?;
            if let Some(group) = groups.get_mut(&alike.group_id(&change)) {
                count_in(group, change.key);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    groups.retain(|_, group| group.count >= GROUP);
    let ids: HashSet<u128> = groups.keys().copied().collect();
    let ungrouped = looked_at - groups.values().map(|group| group.count).sum::<u64>();
    let mut groups: Vec<ChangeGroup> = groups.into_values().collect();
    groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.id.cmp(&b.id)));
    groups.truncate(GROUPS);
    let mut attributes: Vec<AttributeCount> =
        attributes.into_iter().map(|(name, count)| AttributeCount { name, count }).collect();
    attributes.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    attributes.truncate(ATTRIBUTES);
    let types = types.into_iter().map(|((kind, type_name), [create, update, delete, wait])| TypeCount {
        kind,
        type_name,
        create,
        update,
        delete,
        wait,
    });
    Ok(Grouped { types: types.collect(), attributes, groups, ids, ungrouped, complete })
}

fn count_in(group: &mut ChangeGroup, key: Key) {
    group.count += 1;
    if group.keys.len() < KEYS {
        group.keys.push(key);
    }
}

/// Bytes of the values that a group holds.
fn values_of(group: &ChangeGroup) -> usize {
    [&group.before, &group.after].into_iter().flatten().map(|value| value.get().len()).sum()
}

fn first_of(id: u128, change: Change, alike: &Alike) -> ChangeGroup {
    let waits = change.begins_to_wait();
    let common = alike.common(&change);
    let Change { action, kind, key, .. } = change;
    let (before, after) = match action {
        Action::Update => common,
        // Their values differ from one to the next.
        Action::Create | Action::Delete => (None, None),
    };
    let type_name = key.type_name().to_owned();
    let keys: Vec<Key> = vec![key];
    ChangeGroup { id: format!("{id:032x}"), action, kind, type_name, waits, count: 1, before, after, keys }
}

/// Counts each attribute that an update changes, sets or takes away.
fn count_attributes(change: &Change, counts: &mut HashMap<String, u64>) {
    type Object = BTreeMap<String, serde::de::IgnoredAny>;
    let mut names = HashSet::new();
    for value in [&change.before, &change.after].into_iter().flatten() {
        names.extend(serde_json::from_str::<Object>(value.get()).unwrap_or_default().into_keys());
    }
    for name in names {
        if counts.len() < APART || counts.contains_key(&name) {
            *counts.entry(name).or_default() += 1;
        }
    }
}
