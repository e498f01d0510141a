//! Which changes of a plan are alike, so that they are shown as one.

use std::borrow::Cow;

use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

use crate::domain::change::{Action, Change};
use crate::domain::json::{ComparisonRules, comparison_form};
use crate::domain::merge::{Patch, diff};

/// Tells them, where a plan's source has these paths of volatile attributes:
/// updates that bring the same are alike, whatever is stamped anew with them.
pub struct Alike(ComparisonRules);

impl Alike {
    /// For a plan with these volatile attributes.
    pub fn new(volatile: &[String]) -> Self {
        Self(ComparisonRules::new(volatile, &[]))
    }

    /// The same for all changes that are alike: updates from and to the same
    /// values of one type; creates, and deletes, of one type, and relationships
    /// of one type that begin to wait.
    pub fn group_id(&self, change: &Change) -> u128 {
        let mut text = vec![change.action as u8, change.kind as u8, u8::from(change.begins_to_wait())];
        text.extend_from_slice(change.key.type_name().as_bytes());
        if change.action == Action::Update {
            let (before, after) = self.values(change);
            for value in [before, after] {
                text.push(0);
                text.extend_from_slice(&value);
            }
        }
        xxh3_128(&text)
    }

    /// What an update replaces and what it sets, as far as all of its group do.
    pub fn common(&self, change: &Change) -> (Option<Box<RawValue>>, Option<Box<RawValue>>) {
        let json =
            |text: Cow<'_, [u8]>| RawValue::from_string(String::from_utf8(text.into_owned()).ok()?).ok();
        let (before, after) = self.values(change);
        (json(before), json(after))
    }

    /// Both values, which are objects in canonical form, without what is
    /// volatile, and without members that are equal then.
    fn values<'a>(&self, change: &'a Change) -> (Cow<'a, [u8]>, Cow<'a, [u8]>) {
        let text =
            |value: &'a Option<Box<RawValue>>| value.as_ref().map_or("", |value| value.get()).as_bytes();
        let (before, after) = (text(&change.before), text(&change.after));
        if !self.0.has_volatile() {
            return (Cow::Borrowed(before), Cow::Borrowed(after));
        }
        let form = |value: &[u8]| {
            let mut form = Vec::with_capacity(value.len());
            comparison_form(value, &self.0, &mut form);
            form
        };
        let (before, after) = (form(before), form(after));
        let differ =
            diff(&before, &after).unwrap_or_else(|| Patch { before: b"{}".to_vec(), after: b"{}".to_vec() });
        (Cow::Owned(differ.before), Cow::Owned(differ.after))
    }
}
