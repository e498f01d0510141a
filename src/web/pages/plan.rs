//! The plan of a batch, as in a good review of code: counts, guards, groups of
//! identical changes, and the changes themselves, filtered, a page at a time.

use super::query::PageQuery;
use super::show::diff::{self, Attribute};
use super::show::number::counted;
use super::show::{link, text};
use crate::domain::change::Action;
use crate::domain::ids::BatchId;
use crate::domain::key::{Key, Kind};
use crate::domain::plan::KindSummary;
use crate::error::{ErrorKind, Result};
use crate::service::Engine;
use crate::service::query::{Part, PlanQuery};
use crate::service::views::{
    AttributeCount, BatchView, ChangeFilter, ChangeGroup, ChangeView, PlanBrief, PlanGroups, PlanPage,
    RejectView, TypeCount,
};

/// Attributes of a change from which on they are folded.
const FOLDED: usize = 6;
/// Rejected lines that are shown.
const REJECTS: usize = 20;
/// Groups that are shown at once.
const GROUPS: usize = 60;

/// A plan as it is shown.
pub struct PlanShown {
    /// The page of the batch.
    pub action: String,
    /// The plan without its changes.
    pub brief: PlanBrief,
    /// Counts by kind.
    pub counts: Vec<CountRow>,
    /// Rejected lines, the first of them.
    pub rejects: Vec<RejectView>,
    /// Rejected lines that are not shown.
    pub more_rejects: u64,
    /// Keys whose deletion is withheld, the first of them.
    pub withheld: Vec<Key>,
    /// Withheld deletions that are not shown.
    pub more_withheld: u64,
    /// Other counts, in words.
    pub others: Vec<String>,
    /// What should be looked at.
    pub warnings: Vec<String>,
    /// The filter as the form shows it.
    pub filter: FilterShown,
    /// Whether it bounds what is listed.
    pub is_filtered: bool,
    /// Changes by type.
    pub types: Vec<TypeCount>,
    /// Attributes that updates change.
    pub attributes: Vec<AttributeCount>,
    /// What is alike.
    pub groups: Vec<GroupShown>,
    /// What the list is called.
    pub list_title: String,
    /// The changes.
    pub changes: Vec<ChangeShown>,
    /// The first page.
    pub back: Option<String>,
    /// The next page.
    pub next: Option<String>,
}

impl PlanShown {
    /// Types that the filter offers: those that read as they are.
    pub fn type_names(&self) -> impl Iterator<Item = &str> {
        self.types.iter().map(|row| row.type_name.as_str()).filter(|name| text::visible(name) == *name)
    }
}

/// Counts of one kind.
pub struct CountRow {
    /// The kind.
    pub name: &'static str,
    /// Its counts.
    pub counts: KindSummary,
}

/// A filter as the form shows it.
#[derive(Default)]
pub struct FilterShown {
    /// `create`, `update`, `delete` or empty.
    pub action: String,
    /// `entity`, `relationship` or empty.
    pub kind: String,
    /// A type, or empty.
    pub type_name: String,
    /// A text, or empty.
    pub text: String,
}

/// Changes that are alike.
pub struct GroupShown {
    /// What they do.
    pub action: Action,
    /// Their type.
    pub type_name: String,
    /// How many they are.
    pub count: u64,
    /// What they have in common, in words.
    pub says: &'static str,
    /// The changed attributes.
    pub attributes: Vec<Attribute>,
    /// The first keys.
    pub keys: Vec<String>,
    /// Keys that are not named.
    pub more: u64,
    /// Where each is listed.
    pub href: String,
}

/// One change.
pub struct ChangeShown {
    /// What it does.
    pub action: Action,
    /// To what.
    pub kind: Kind,
    /// Its type.
    pub type_name: String,
    /// An entity's name.
    pub name: String,
    /// Where it is told why the entity looks as it does: also before it comes to
    /// be, and after it has gone.
    pub href: String,
    /// A relationship's ends.
    pub ends: Option<Ends>,
    /// What is said of one that comes or goes for an end alone; empty for others.
    pub moved: &'static str,
    /// Its attributes.
    pub attributes: Vec<Attribute>,
    /// Whether they are folded.
    pub folded: bool,
}

/// The ends of a relationship.
pub struct Ends {
    /// Name of the entity that it leads from.
    pub from: String,
    /// The same of it.
    pub from_href: String,
    /// Name of the entity that it leads to.
    pub to: String,
    /// The same of it.
    pub to_href: String,
    /// Its label.
    pub label: String,
}

/// The plan of a batch; `None` when it has none that is stored.
pub fn of(engine: &Engine, id: &BatchId, batch: &BatchView, query: &PageQuery) -> Result<Option<PlanShown>> {
    if batch.plan.is_none() {
        return Ok(None);
    }
    let mut filter = ChangeFilter {
        action: query
            .one_of("action", &[Action::Create, Action::Update, Action::Delete].map(|a| (a.as_str(), a)))?,
        kind: query.one_of("kind", &[Kind::Entity, Kind::Relationship].map(|kind| (kind.as_str(), kind)))?,
        type_name: query.text("type").map(str::to_owned),
        text: query.text("text").map(str::to_owned),
        group: query.text("group").map(str::to_owned),
        ungrouped: false,
    };
    let is_filtered = filter != ChangeFilter::default();
    filter.ungrouped = !is_filtered;
    let wanted = PlanQuery { filter: filter.clone(), part: query.part() };
    let found = engine.plan_view(id, &wanted).and_then(|page| {
        let groups = if is_filtered { None } else { Some(engine.plan_groups(id)?) };
        let wants_rejects = !is_filtered && !query.is_later() && page.rejects > 0;
        let rejects =
            if wants_rejects { engine.plan_rejects(id, &Part::first(REJECTS))?.items } else { Vec::new() };
        Ok((page, groups, rejects))
    });
    match found {
        Ok((page, groups, rejects)) => Ok(Some(shown(id, &filter, query.is_later(), page, groups, rejects))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn shown(
    id: &BatchId,
    filter: &ChangeFilter,
    is_later: bool,
    page: PlanPage,
    groups: Option<PlanGroups>,
    rejects: Vec<RejectView>,
) -> PlanShown {
    let here = link::batch(&id.to_string());
    let is_filtered = !filter.ungrouped;
    let address = |cursor: Option<&str>| {
        let parts = [
            ("action", filter.action.map(Action::as_str)),
            ("kind", filter.kind.map(Kind::as_str)),
            ("type", filter.type_name.as_deref()),
            ("text", filter.text.as_deref()),
            ("group", filter.group.as_deref()),
            ("cursor", cursor),
        ];
        format!("{}#plan", link::with_query(&here, &parts))
    };
    let summary = page.plan.summary;
    let (entities, relationships) = (summary.entities, summary.relationships.counts);
    let list_title = match &groups {
        Some(groups) if groups.groups.is_empty() => "Changes".to_owned(),
        Some(groups) => counted(groups.ungrouped, "other change", "other changes"),
        None if filter.group.is_some() => "Changes of one group".to_owned(),
        None => "Changes that fit".to_owned(),
    };
    let (types, attributes, alike) = match groups {
        Some(groups) => (groups.types, groups.attributes, groups.groups),
        None => Default::default(),
    };
    PlanShown {
        counts: vec![
            CountRow { name: "Entities", counts: entities },
            CountRow { name: "Relationships", counts: relationships },
        ],
        others: others(&page),
        more_rejects: if rejects.is_empty() { 0 } else { page.rejects.saturating_sub(rejects.len() as u64) },
        rejects,
        more_withheld: (entities.withheld + relationships.withheld)
            .saturating_sub(page.withheld.len() as u64),
        withheld: page.withheld,
        warnings: page.warnings,
        filter: FilterShown {
            action: filter.action.map(Action::as_str).unwrap_or_default().to_owned(),
            kind: filter.kind.map(Kind::as_str).unwrap_or_default().to_owned(),
            type_name: filter.type_name.clone().unwrap_or_default(),
            text: filter.text.clone().unwrap_or_default(),
        },
        is_filtered,
        types,
        attributes,
        groups: if is_later {
            Vec::new()
        } else {
            alike.iter().take(GROUPS).map(|g| group(&here, g)).collect()
        },
        list_title,
        changes: page.items.into_iter().map(change).collect(),
        back: is_later.then(|| address(None)),
        next: page.next_cursor.as_deref().map(|cursor| address(Some(cursor))),
        brief: page.plan,
        action: here,
    }
}

fn others(page: &PlanPage) -> Vec<String> {
    let summary = page.plan.summary;
    let (entities, relationships) = (summary.entities, summary.relationships.counts);
    let mut out = Vec::new();
    let mut tell = |count: u64, one: &str, many: &str| {
        if count > 0 {
            out.push(counted(count, one, many));
        }
    };
    tell(
        entities.superseded + relationships.superseded,
        "assertion is older than what is known",
        "assertions are older than what is known",
    );
    tell(entities.rejected + relationships.rejected, "line was rejected", "lines were rejected");
    tell(
        entities.withheld + relationships.withheld,
        "deletion is withheld: a line without a readable key may be about it",
        "deletions are withheld: a line without a readable key may be about them",
    );
    tell(
        summary.skipped(),
        "assertion is skipped by an operator: its key stays as it is published",
        "assertions are skipped by an operator: their keys stay as they are published",
    );
    tell(summary.relationships.waiting, "relationship waits for an end", "relationships wait for an end");
    out
}

fn group(here: &str, group: &ChangeGroup) -> GroupShown {
    let (before, after) = (diff::object(group.before.as_deref()), diff::object(group.after.as_deref()));
    GroupShown {
        action: group.action,
        type_name: group.type_name.clone(),
        count: group.count,
        says: match group.action {
            Action::Create => "created",
            Action::Update => "updated alike",
            Action::Delete if group.waits => "begin to wait for an end",
            Action::Delete => "deleted",
        },
        attributes: match group.action {
            Action::Update => diff::changed(&before, &after),
            Action::Create | Action::Delete => Vec::new(),
        },
        keys: group.keys.iter().map(key_name).collect(),
        more: group.count.saturating_sub(group.keys.len() as u64),
        href: format!("{}#plan", link::with_query(here, &[("group", Some(&group.id))])),
    }
}

/// A key within its type.
fn key_name(key: &Key) -> String {
    match key {
        Key::Entity(key) => key.qualified_name.clone(),
        Key::Relationship(key) => {
            let label = if key.label.is_empty() { String::new() } else { format!(" [{}]", key.label) };
            format!("{} → {}{label}", key.from.qualified_name, key.to.qualified_name)
        }
    }
}

fn change(change: ChangeView) -> ChangeShown {
    let (before, after) = (diff::object(change.before.as_deref()), diff::object(change.after.as_deref()));
    let attributes = match change.action {
        Action::Create => diff::plain(&after),
        Action::Update => diff::changed(&before, &after),
        Action::Delete => diff::plain(&before),
    };
    let folded = match change.action {
        Action::Create => attributes.len() > FOLDED,
        Action::Update => attributes.len() > FOLDED * 4,
        Action::Delete => true,
    };
    let type_name = change.key.type_name().to_owned();
    let (name, href, ends) = match change.key {
        Key::Entity(key) => (key.qualified_name.clone(), link::why(&key), None),
        Key::Relationship(key) => {
            let ends = Ends {
                from_href: link::why(&key.from),
                to_href: link::why(&key.to),
                from: key.from.qualified_name,
                to: key.to.qualified_name,
                label: key.label,
            };
            (String::new(), String::new(), Some(ends))
        }
    };
    ChangeShown {
        action: change.action,
        kind: change.kind,
        type_name,
        name,
        href,
        ends,
        moved: match (change.moved, change.action) {
            (false, _) => "",
            (true, Action::Delete) => "waits for an end",
            (true, Action::Create | Action::Update) => "an end came or went",
        },
        attributes,
        folded,
    }
}
