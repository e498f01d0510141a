//! What a plan's batch says of keys, by the plan's layer. That has others too:
//! published values that changed settings gave another form, as of their own stamps.

use super::format::entry::Entry;
use super::format::layer::{CacheBudget, Layer, Scratch};
use super::plan_file::PlanManifest;
use super::state_dir::StateDir;
use crate::domain::key::KeyHash;
use crate::error::Result;

/// Bytes of index blocks that are held.
const INDEX: usize = 1 << 20;

/// The entries of a plan's layer that its batch asserts.
pub struct OfBatch {
    layer: Layer,
    /// The number of the batch's stamp; `None`: it asserts nothing new.
    stamp: Option<u32>,
    scratch: Scratch,
}

impl OfBatch {
    /// Of a plan.
    ///
    /// # Errors
    /// Those of the state folder.
    pub fn open(state: &StateDir, manifest: &PlanManifest) -> Result<Self> {
        let path = state.layer_path(&manifest.header.source_id, &manifest.layer.file);
        let layer = Layer::open(&path, &CacheBudget::new(INDEX))?;
        let stamp = layer.meta().stamps.iter().position(|stamp| *stamp == manifest.stamp);
        let stamp = stamp.and_then(|stamp| u32::try_from(stamp).ok());
        Ok(Self { layer, stamp, scratch: Scratch::default() })
    }

    /// The layer, with the entries of others too.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// What the batch says of a key that is not what was published of it before.
    ///
    /// # Errors
    /// Those of the state folder.
    pub fn entry(&mut self, key: KeyHash) -> Result<Option<Entry>> {
        let found = self.layer.lookup(key, &mut self.scratch)?;
        Ok(found.map(|(_, entry)| entry).filter(|entry| self.stamp == Some(entry.stamp)))
    }

    /// Hands out all of them.
    ///
    /// # Errors
    /// Those of the state folder, and of `each`.
    pub fn each(&self, mut each: impl FnMut(&Entry) -> Result<()>) -> Result<()> {
        let mut entries = self.layer.scan();
        while let Some((_, entry)) = entries.advance()? {
            if self.stamp == Some(entry.stamp) {
                each(&entry)?;
            }
        }
        Ok(())
    }
}
