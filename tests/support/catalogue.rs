//! An embedded catalogue, and operations on it without batches and plans.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate::clock::{Clock, ManualClock};
use tidegate::domain::change::Action;
use tidegate::domain::ids::{BatchId, OperationNo, PlanId, SourceId};
use tidegate::domain::key::{EntityKey, Key, RelationshipKey};
use tidegate::domain::settings::Deletion;
use tidegate::targets::embedded::{EmbeddedCatalogue, EmbeddedOptions, FindPage, FindQuery};
use tidegate::targets::{ChangeOutcome, Operation, Target, TargetChange};

/// A catalogue in a folder of its own.
pub struct TestCatalogue {
    pub folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub deletion: Deletion,
    /// Versions that are kept, from the next restart on.
    pub history: u32,
    /// Threads that write, from the next restart on.
    pub threads: usize,
    open: Option<Arc<EmbeddedCatalogue>>,
    operations: u32,
}

impl TestCatalogue {
    pub fn new(deletion: Deletion) -> Self {
        // A catalogue's identity is random: each has a sequence of its own.
        static SEED: AtomicU64 = AtomicU64::new(1);
        let seed = SEED.fetch_add(1, Ordering::Relaxed);
        let clock = Arc::new(ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), seed));
        let mut new = Self {
            folder: super::folder(),
            clock,
            deletion,
            history: 5,
            threads: 2,
            open: None,
            operations: 0,
        };
        new.restart();
        new
    }

    /// One with entities of type `t` and relationships `from→to` between them,
    /// of this type or of the one that stands behind a colon.
    pub fn of_edges(usual: &str, edges: &[impl AsRef<str>]) -> Self {
        let key = |name| EntityKey::new("t", name);
        let mut catalogue = Self::new(Deletion::Delete);
        let mut names = BTreeSet::new();
        let mut relationships = Vec::new();
        for edge in edges {
            let edge = edge.as_ref();
            let (ends, type_name) = edge.split_once(':').unwrap_or((edge, usual));
            let (from, to) = ends.split_once('→').unwrap();
            names.extend([from, to]);
            relationships.push(relate(type_name, &key(from), &key(to), ""));
        }
        catalogue.apply(names.into_iter().map(|name| create("t", name, "{}")).collect());
        catalogue.apply(relationships);
        catalogue
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("catalogue.redb")
    }

    /// The folder of the search index.
    pub fn index(&self) -> PathBuf {
        self.folder.path().join("catalogue.redb.search")
    }

    pub fn close(&mut self) {
        self.open = None;
    }

    pub fn restart(&mut self) {
        self.close();
        let options = EmbeddedOptions {
            deletion: self.deletion,
            history: self.history,
            threads: self.threads,
            ..EmbeddedOptions::default()
        };
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        self.open = Some(Arc::new(EmbeddedCatalogue::open(&self.file(), options, clock).unwrap()));
    }

    pub fn get(&self) -> &Arc<EmbeddedCatalogue> {
        self.open.as_ref().unwrap()
    }

    /// Applies changes as one operation, a second after the one before.
    pub fn apply(&mut self, changes: Vec<TargetChange>) -> Vec<ChangeOutcome> {
        self.operations += 1;
        self.clock.advance(std::time::Duration::from_secs(1));
        let operation = Operation {
            plan_id: PlanId::new("plan").unwrap(),
            no: OperationNo(self.operations),
            part: None,
            source_id: SourceId::new("alpha").unwrap(),
            batch_id: "alpha:20261124T000000Z_run".parse::<BatchId>().unwrap(),
            at: self.clock.now(),
            changes,
        };
        self.get().apply(&operation).unwrap()
    }

    pub fn create(&mut self, entities: &[(&str, &str, &str)]) {
        let changes = entities.iter().map(|(type_name, name, json)| create(type_name, name, json)).collect();
        assert!(self.apply(changes).iter().all(|outcome| *outcome == ChangeOutcome::Done));
    }

    pub fn delete(&mut self, type_name: &str, name: &str) {
        self.apply(vec![change(Action::Delete, type_name, name, "{}")]);
    }

    /// What a text finds, the index being up to date.
    pub fn find(&self, text: &str) -> FindPage {
        self.get().index_now().unwrap();
        self.get().find(&FindQuery { text: text.into(), limit: 100, ..FindQuery::default() }).unwrap()
    }

    /// The names that a text finds, in order.
    pub fn names(&self, text: &str) -> Vec<String> {
        let page = self.find(text);
        assert_eq!(page.behind, 0);
        page.items.into_iter().map(|hit| hit.key.qualified_name).collect()
    }
}

pub fn change(action: Action, type_name: &str, name: &str, json: &str) -> TargetChange {
    TargetChange {
        action,
        key: Key::Entity(EntityKey::new(type_name, name)),
        set: json.as_bytes().to_vec(),
        unset: Vec::new(),
        replace: false,
    }
}

pub fn create(type_name: &str, name: &str, json: &str) -> TargetChange {
    change(Action::Create, type_name, name, json)
}

pub fn relate(type_name: &str, from: &EntityKey, to: &EntityKey, label: &str) -> TargetChange {
    TargetChange {
        action: Action::Create,
        key: Key::Relationship(RelationshipKey {
            type_name: type_name.into(),
            from: from.clone(),
            to: to.clone(),
            label: label.into(),
        }),
        set: b"{}".to_vec(),
        unset: Vec::new(),
        replace: false,
    }
}
