//! Which changes of a plan are alike, and how many of each there are, in bounded
//! memory: a plan may have millions of updates of which no two are.

use std::collections::HashMap;

use crate::domain::change::{Action, Change};

/// Changes of one kind from which on they are shown as a group.
const GROUP: u64 = 3;
/// Kinds of updates that are told apart at once.
pub const APART: usize = 250_000;
/// Keys of a group that are named.
const NAMED: usize = 3;

/// Changes that are alike.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// How many they are.
    pub count: u64,
    /// The keys of those behind the first one, a few.
    pub others: Vec<String>,
    /// Whether there are as few kinds of such changes as there are types.
    by_type: bool,
}

/// Counts changes by the id of what they have in common.
pub struct Groups {
    of: HashMap<u128, Group>,
    most: usize,
    /// Updates that were met once were forgotten to make room.
    forgot: bool,
    /// There is no room left that forgetting would make.
    full: bool,
}

impl Groups {
    /// None; tells about `most` kinds of updates apart.
    pub fn new(most: usize) -> Self {
        Self { of: HashMap::new(), most, forgot: false, full: false }
    }

    /// Takes the next change.
    pub fn take(&mut self, id: u128, change: &Change) {
        if self.count(id, change) {
            return;
        }
        let by_type = change.action != Action::Update;
        if !by_type && self.of.len() >= self.most && !self.full {
            self.of.retain(|_, group| group.count > 1 || group.by_type);
            self.forgot = true;
            self.full = self.of.len() > self.most / 2;
        }
        if by_type || !self.full {
            self.of.insert(id, Group { count: 1, others: Vec::new(), by_type });
        }
    }

    /// Counts a change of a kind that is known; whether it is.
    pub fn count(&mut self, id: u128, change: &Change) -> bool {
        let Some(group) = self.of.get_mut(&id) else { return false };
        group.count += 1;
        if group.count > 1 && group.others.len() < NAMED - 1 {
            group.others.push(change.key.to_string());
        }
        true
    }

    /// Counts anew where some were forgotten: whether all changes have to be counted
    /// once more.
    pub fn forget_counts(&mut self) -> bool {
        if self.forgot {
            self.of.retain(|_, group| group.count > 1 || group.by_type);
            self.of.values_mut().for_each(|group| (group.count, group.others) = (0, Vec::new()));
        }
        self.forgot
    }

    /// Those that are of so many changes that they are shown as one.
    pub fn of_many(mut self) -> HashMap<u128, Group> {
        self.of.retain(|_, group| group.count >= GROUP);
        self.of
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::{EntityKey, Key, Kind};

    fn change(action: Action, name: usize) -> Change {
        let key = Key::Entity(EntityKey::new("t", format!("n{name}")));
        Change { action, kind: Kind::Entity, key, before: None, after: None, moved: false }
    }

    fn groups(changes: &[(u128, Change)], most: usize) -> Vec<(u128, u64, Vec<String>)> {
        let mut groups = Groups::new(most);
        changes.iter().for_each(|(id, change)| groups.take(*id, change));
        if groups.forget_counts() {
            for (id, change) in changes {
                assert!(groups.count(*id, change) || change.action == Action::Update);
            }
        }
        let mut groups: Vec<_> =
            groups.of_many().into_iter().map(|(id, group)| (id, group.count, group.others)).collect();
        groups.sort();
        groups
    }

    #[test]
    fn what_is_alike_is_found_behind_more_than_is_held() {
        let mut changes: Vec<(u128, Change)> =
            (0..3_000).map(|n| (10 + n as u128, change(Action::Update, n))).collect();
        for n in 0..200 {
            changes.insert(n * 10, (1, change(Action::Update, 10_000 + n)));
        }
        changes.extend((0..50).map(|n| (2, change(Action::Update, 20_000 + n))));
        changes.extend((0..40).map(|n| (3, change(Action::Delete, 30_000 + n))));
        changes.extend((0..2).map(|n| (4, change(Action::Delete, 40_000 + n))));
        let all = groups(&changes, usize::MAX);
        assert_eq!(
            all.iter().map(|(id, count, _)| (*id, *count)).collect::<Vec<_>>(),
            [(1, 200), (2, 50), (3, 40)]
        );
        assert_eq!(all[0].2, ["t n10001", "t n10002"]);
        for most in [64, 100, 1_000] {
            assert_eq!(groups(&changes, most), all, "{most}");
        }
        // No more kinds are told apart than there is room for, and none is looked
        // for in vain again and again.
        let pairs: Vec<(u128, Change)> =
            (0..400).map(|n| (n / 4, change(Action::Update, n as usize))).collect();
        let found = groups(&[&pairs[..], &changes].concat(), 10);
        assert!(found.len() < 20 && found.iter().all(|(_, count, _)| *count >= 4), "{found:?}");
    }
}
