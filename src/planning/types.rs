//! Types by number, for the length of one plan.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, RwLock};

use super::snapshot::TypeEdge;

/// Numbers type names as they come; shared by the threads of a pass.
#[derive(Default)]
pub struct Types {
    inner: RwLock<Names>,
    edges: Mutex<BTreeSet<TypeEdge>>,
}

#[derive(Default)]
struct Names {
    ids: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

/// Most type edges that are remembered, in a plan and in a snapshot; a catalogue
/// has some hundreds.
const MAX_EDGES: usize = 10_000;

impl Types {
    /// The number of a type.
    pub fn id(&self, name: &str) -> u32 {
        let poisoned = std::sync::PoisonError::into_inner;
        if let Some(id) = self.inner.read().unwrap_or_else(poisoned).ids.get(name) {
            return *id;
        }
        let mut inner = self.inner.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(id) = inner.ids.get(name) {
            return *id;
        }
        let id = inner.names.len() as u32;
        let name: Arc<str> = name.into();
        inner.names.push(Arc::clone(&name));
        inner.ids.insert(name, id);
        id
    }

    /// The name of a number.
    pub fn name(&self, id: u32) -> Arc<str> {
        let inner = self.inner.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        inner.names.get(id as usize).cloned().unwrap_or_else(|| "".into())
    }

    /// How many types there are.
    pub fn len(&self) -> usize {
        self.inner.read().unwrap_or_else(std::sync::PoisonError::into_inner).names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Remembers which types a relationship connects.
    pub fn add_edge(&self, edge: TypeEdge) {
        let mut edges = self.edges.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if edges.len() < MAX_EDGES {
            edges.insert(edge);
        }
    }

    /// The edges so far, and of those that were known before as many as there is
    /// room for beside them.
    pub fn edges(&self, before: &BTreeSet<TypeEdge>) -> BTreeSet<TypeEdge> {
        let mut edges = self.edges.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let room = MAX_EDGES.saturating_sub(edges.len());
        let more: Vec<&TypeEdge> = before.iter().filter(|edge| !edges.contains(edge)).take(room).collect();
        edges.extend(more.into_iter().cloned());
        edges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_that_were_known_before_give_way_to_those_of_the_batch() {
        let edge = |n: usize, from: &str| TypeEdge {
            relationship: format!("r{n}"),
            from: from.into(),
            to: "t".into(),
        };
        let types = Types::default();
        (0..10).for_each(|n| types.add_edge(edge(n, "new")));
        let some: BTreeSet<TypeEdge> = (5..15).map(|n| edge(n, "new")).collect();
        assert_eq!(types.edges(&some).len(), 15);
        let many: BTreeSet<TypeEdge> = (0..MAX_EDGES).map(|n| edge(n, "known")).collect();
        let edges = types.edges(&many);
        assert_eq!(edges.len(), MAX_EDGES);
        assert_eq!(edges.iter().filter(|edge| edge.from == "new").count(), 10);
    }
}
