//! Which dictionary the bodies of a type are packed with: that of the packs
//! before, or one that is made from the first blocks of the type.
//!
//! A dictionary holds pieces of the bodies that it was made from, and goes
//! from pack to pack, as bodies stay in theirs for as long as anything refers
//! to the pack.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::format::block_file::{BlockWriter, Placed};
use super::format::dictionary::Dictionary;
use super::snapshot::Snapshot;
use super::types::Types;
use crate::error::Result;

/// Most dictionaries of a pack.
const MOST: usize = 64;

/// What is settled of a type; `None` inside when its blocks have none.
type Choice = Arc<Mutex<Option<Option<Placed>>>>;

/// The dictionaries of a pack that is written, shared by the threads of a pass.
pub struct PackDictionaries<'a> {
    pack: &'a BlockWriter,
    before: Option<&'a Snapshot>,
    types: &'a Types,
    choices: Mutex<HashMap<u32, Choice>>,
    /// Blocks of a type that one is made from; 0: no block gets a dictionary.
    samples: usize,
    /// Dictionaries so far.
    made: AtomicUsize,
}

impl<'a> PackDictionaries<'a> {
    /// None so far.
    pub fn new(
        pack: &'a BlockWriter,
        before: Option<&'a Snapshot>,
        types: &'a Types,
        samples: usize,
    ) -> Self {
        Self { pack, before, types, choices: Mutex::default(), samples, made: AtomicUsize::new(0) }
    }

    /// Blocks of a type that a dictionary is made from.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The dictionary of a type. Where there is none yet one is made from
    /// `blocks`, if there are `enough` of them. `None` when it has to be asked
    /// again with more.
    pub fn choose<'b>(
        &self,
        type_id: u32,
        blocks: impl ExactSizeIterator<Item = &'b [u8]>,
        enough: usize,
    ) -> Result<Option<Option<Placed>>> {
        let choice = {
            let mut choices = self.choices.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(choices.entry(type_id).or_default())
        };
        let mut choice = choice.lock().unwrap_or_else(PoisonError::into_inner);
        if choice.is_none() {
            let name = self.types.name(type_id);
            let found = match self.before.and_then(|before| before.dictionary(&name)) {
                Some(found) => Some(found),
                None if blocks.len() >= enough => Dictionary::train(blocks).map(Arc::new),
                None => return Ok(None),
            };
            let room = |_: &Arc<Dictionary>| self.made.fetch_add(1, Ordering::Relaxed) < MOST;
            *choice = Some(match found.filter(room) {
                Some(found) => Some(self.pack.add_dictionary(&name, found)?),
                None => None,
            });
        }
        Ok(choice.clone())
    }
}
