//! A target that refuses what it is told to refuse, and does what it is told
//! to before it takes an operation.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tidegate::domain::ids::{PlanId, SourceId};
use tidegate::domain::key::Key;
use tidegate::error::Result;
use tidegate::targets::{Capabilities, ChangeOutcome, Operation, Outcomes, Target, TargetValue};

/// What the target refuses now.
#[derive(Default)]
pub struct Faults {
    keys: Mutex<BTreeSet<Key>>,
    before: Mutex<Option<Before>>,
}

/// Runs before an operation is applied; its error is the target's answer.
pub type Before = Arc<dyn Fn(&Operation) -> Result<()> + Send + Sync>;

impl Faults {
    /// Changes of these keys are refused from now on.
    pub fn refuse(&self, keys: impl IntoIterator<Item = Key>) {
        *self.keys.lock().unwrap() = keys.into_iter().collect();
    }

    /// From now on this runs before each operation.
    pub fn before(&self, before: impl Fn(&Operation) -> Result<()> + Send + Sync + 'static) {
        *self.before.lock().unwrap() = Some(Arc::new(before));
    }

    /// Nothing is refused from now on, and nothing runs before operations.
    pub fn heal(&self) {
        self.refuse([]);
        *self.before.lock().unwrap() = None;
    }
}

/// The target behind it, with faults.
pub struct FaultyTarget {
    pub inner: Arc<dyn Target>,
    pub faults: Arc<Faults>,
}

impl Target for FaultyTarget {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> Result<String> {
        self.inner.identity()
    }

    fn apply(&self, operation: &Operation) -> Result<Outcomes> {
        let before = self.faults.before.lock().unwrap().clone();
        if let Some(before) = before {
            before(operation)?;
        }
        let refused = self.faults.keys.lock().unwrap().clone();
        let mut passed = operation.clone();
        passed.changes.retain(|change| !refused.contains(&change.key));
        let mut answers = self.inner.apply(&passed)?.into_iter();
        let keys = operation.changes.iter().map(|change| &change.key);
        // One that answers for too few changes does so here, too.
        Ok(keys
            .map_while(|key| match refused.contains(key) {
                true => Some(ChangeOutcome::Rejected("it is refused".into())),
                false => answers.next(),
            })
            .collect())
    }

    fn describe(&self, operation: &Operation) -> String {
        self.inner.describe(operation)
    }

    fn read(&self, keys: &[Key]) -> Result<Vec<Option<TargetValue>>> {
        self.inner.read(keys)
    }

    fn health(&self) -> Result<()> {
        self.inner.health()
    }

    fn last_plan(&self, source: &SourceId) -> Result<Option<PlanId>> {
        self.inner.last_plan(source)
    }

    fn forget_operations(&self, plan: &PlanId) -> Result<()> {
        self.inner.forget_operations(plan)
    }
}
