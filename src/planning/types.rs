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

/// Most type edges that are remembered; a catalogue has some hundreds.
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

    /// The edges so far.
    pub fn edges(&self) -> BTreeSet<TypeEdge> {
        self.edges.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
