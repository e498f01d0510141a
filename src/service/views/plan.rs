//! A plan, as it is looked at: counts, groups of identical changes, and the
//! changes themselves a page at a time.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::batch::PlanBrief;
use crate::domain::change::Action;
use crate::domain::ids::BatchId;
use crate::domain::key::{Key, Kind};

/// Which changes of a plan to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeFilter {
    /// Only those that do this.
    pub action: Option<Action>,
    /// Only of entities, or only of relationships.
    pub kind: Option<Kind>,
    /// Only of this type.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// Only those whose key or values have this text in them, whatever the case.
    pub text: Option<String>,
    /// Only the members of this group.
    pub group: Option<String>,
    /// Only those that belong to no group.
    #[serde(default)]
    pub ungrouped: bool,
}

/// A part of a plan's changes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlanPage {
    /// The batch.
    pub batch_id: BatchId,
    /// The plan.
    pub plan: PlanBrief,
    /// What should be looked at, in words.
    pub warnings: Vec<String>,
    /// Keys whose deletion is withheld, because the batch has a line whose key
    /// can't be read: the first 1,000.
    pub withheld: Vec<Key>,
    /// Paths of the source's volatile attributes: updates that differ in them
    /// alone are alike.
    #[serde(default)]
    pub volatile: Vec<String>,
    /// Number of rejected lines.
    pub rejects: u64,
    /// Changes that fit the filter, in the order of execution.
    pub items: Vec<ChangeView>,
    /// Given back as `cursor`, it brings what follows. A filter that fits little
    /// may leave `items` short, or empty, and still have more behind it: one
    /// answer looks at a bounded number of changes.
    pub next_cursor: Option<String>,
}

/// A change with its place in the plan.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    /// Its operation, from 0.
    pub operation: u32,
    /// What it does.
    pub action: Action,
    /// What it does it to.
    pub kind: Kind,
    /// Which one.
    pub key: Key,
    /// Whether a relationship comes or goes for one of its ends alone. With
    /// `delete` it begins to wait for that end, and counts as no deletion.
    pub moved: bool,
    /// The attributes before; of an update those that change; `null` for a create.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Box<RawValue>>,
    /// The attributes after; of an update those that change; `null` for a delete.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Box<RawValue>>,
}

/// What a plan has of each type, and which of its changes are alike.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlanGroups {
    /// The plan.
    pub plan: PlanBrief,
    /// Changes by type, entities first.
    pub types: Vec<TypeCount>,
    /// Attributes that updates change, the most frequent first; at most 50.
    pub attributes: Vec<AttributeCount>,
    /// Groups of identical changes, the largest first; at most 200.
    pub groups: Vec<ChangeGroup>,
    /// Changes in no group.
    pub ungrouped: u64,
    /// Whether all changes were looked at; if not, the first 200,000 were.
    pub complete: bool,
}

/// Changes of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TypeCount {
    /// Entities or relationships.
    pub kind: Kind,
    /// The type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// So many come to be.
    pub create: u64,
    /// So many change.
    pub update: u64,
    /// So many go.
    pub delete: u64,
    /// So many relationships begin to wait for an end: they go from the
    /// target, and are no deletions.
    #[serde(default)]
    pub wait: u64,
}

/// How often updates change an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttributeCount {
    /// Its name.
    pub name: String,
    /// The number of updates that change it.
    pub count: u64,
}

/// Three changes or more that are alike: updates from and to the same values,
/// creates or deletes of one type, or relationships of one type that begin to
/// wait.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChangeGroup {
    /// Given as `group`, it lists the members.
    pub id: String,
    /// What they do.
    pub action: Action,
    /// What they do it to.
    pub kind: Kind,
    /// Their type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Whether they are relationships that begin to wait for an end.
    #[serde(default)]
    pub waits: bool,
    /// How many there are.
    pub count: u64,
    /// What an update replaces, but for volatile attributes; `null` for creates
    /// and deletes.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Box<RawValue>>,
    /// What an update sets, but for volatile attributes; `null` for creates and
    /// deletes.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Box<RawValue>>,
    /// The first three keys.
    pub keys: Vec<Key>,
}

/// A line that a plan leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RejectView {
    /// Its key; `null` when it could not be read.
    pub key: Option<Key>,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// A code of the table of errors.
    pub code: String,
    /// The field that is wrong; empty: the line as a whole.
    pub field: String,
    /// What is wrong.
    pub problem: String,
}
