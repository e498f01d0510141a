//! Whether what is kept for repairs is still what was written: doctor reads
//! long originals of dead letters and the pins of batches, and compares
//! checksums. It reads so many bytes at most, spread over all there is by
//! chance, so that one look after the other comes to everything.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::engine::Engine;
use super::space::in_words;
use super::views::CheckView;
use crate::domain::ids::BatchId;
use crate::domain::publish_state::PublishStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::pin::{self, PIN, PinManifest};
use crate::planning::state_dir::read_checked;
use crate::store::{BatchRecord, LetterKind, LetterList};

/// Bytes of each kind that one look reads at most.
const BUDGET: u64 = 64 << 20;
/// Damaged pins that are told of by name.
const NAMED: usize = 10;

/// Chooses what is read of a known number of bytes.
pub(super) struct Spread {
    total: u64,
    left: u64,
    random: u64,
    asked: u64,
    /// What was read: how many, and their bytes.
    pub(super) read: (u64, u64),
}

impl Spread {
    /// `total`: bytes of all there is.
    pub(super) fn over(total: u64, random: u64) -> Self {
        Self { total, left: BUDGET, random, asked: 0, read: (0, 0) }
    }

    /// Whether the next one is read.
    pub(super) fn takes(&mut self, bytes: u64) -> bool {
        // Another number for each.
        self.asked += 1;
        let drawn = xxh3_64_with_seed(&self.asked.to_le_bytes(), self.random);
        let chance = BUDGET as f64 / self.total.max(1) as f64;
        let taken = bytes <= self.left && (drawn as f64) < chance * u64::MAX as f64;
        // Rounding must not leave one out where all can be read.
        let taken = taken || self.total <= BUDGET && bytes <= self.left;
        if taken {
            self.left -= bytes;
            self.read = (self.read.0 + 1, self.read.1 + bytes);
        }
        taken
    }

    /// How much was read, in words.
    pub(super) fn in_words(&self, of: u64) -> String {
        let (read, bytes) = self.read;
        format!("{read} of {of} were read ({})", in_words(bytes))
    }
}

/// What was found of pins.
#[derive(Default)]
struct Found {
    pins: u64,
    files: u64,
    damaged: Vec<(BatchRecord, Error)>,
}

impl Engine {
    /// The batches whose files are copied under the state URL, or should be.
    fn pinned(&self) -> Result<Vec<BatchRecord>> {
        let mut ids: BTreeSet<BatchId> = BTreeSet::new();
        let sources = self.store.read(|view| view.sources())?;
        for source in &sources {
            let names = self.state.pins(source)?.into_iter();
            ids.extend(names.filter_map(|(name, _)| format!("{source}:{name}").parse().ok()));
        }
        self.store.read(|view| {
            // Of these a folder may be gone.
            for source in view.sources_with_unfinished()? {
                view.each_unfinished(&source, |record| {
                    ids.extend(record.pin.is_some().then_some(record.batch_id));
                    Ok(true)
                })?;
            }
            let list = LetterList {
                states: vec!["open", "requeued"],
                kind: Some(LetterKind::Batch),
                limit: 1_000,
                ..LetterList::default()
            };
            ids.extend(view.list_dead_letters(&list)?.letters.into_iter().map(|letter| letter.batch_id));
            let mut pinned = Vec::new();
            for id in &ids {
                pinned.extend(view.batch(id)?.filter(|record| record.pin.is_some()));
            }
            Ok(pinned)
        })
    }

    fn look_at_pins(&self, spread: &mut Spread, pinned: Vec<BatchRecord>) -> Result<Found> {
        let mut found = Found { pins: pinned.len() as u64, ..Found::default() };
        for record in pinned {
            let looked = self.look_at_pin(spread, &record, &mut found.files);
            let Err(error) = looked else { continue };
            // It was taken away meanwhile: the batch needs it no more.
            if self.store.read(|view| view.batch(&record.batch_id))?.is_some_and(|now| now.pin.is_some()) {
                found.damaged.push((record, error));
            }
        }
        Ok(found)
    }

    fn look_at_pin(&self, spread: &mut Spread, record: &BatchRecord, files: &mut u64) -> Result<()> {
        let folder = self.state.pin_path(&record.batch_id);
        let manifest: PinManifest = read_checked(&folder.join(PIN))?;
        *files += manifest.files.len() as u64;
        let mut chosen = Vec::new();
        for file in manifest.files {
            let path = folder.join(&file.path);
            let length = std::fs::metadata(&path).map_err(|e| Error::io(&path, e))?.len();
            if length != file.bytes {
                let text = format!("{} has {length} bytes, {} were copied", path.display(), file.bytes);
                return Err(Error::new(ErrorKind::PinDamaged, text));
            }
            if spread.takes(file.bytes) {
                chosen.push(file);
            }
        }
        pin::verify(&folder, &PinManifest { files: chosen, ..manifest }, &|_| Ok(()))
    }

    /// What mends the copy of a batch's files.
    fn mend_of_pin(&self, record: &BatchRecord) -> String {
        let id = &record.batch_id;
        let back = "put what is named back from a copy of the state folder";
        match record.status {
            PublishStatus::Failed if self.is_still_delivered(record).unwrap_or(false) => {
                format!("tidegate batches retry {id}: its files are still in the inbox, and are read there")
            }
            PublishStatus::Failed | PublishStatus::Retrying => format!(
                "{back}, then tidegate batches retry {id}; or deliver the run again under a new run id, then tidegate batches cancel {id} if it still waits"
            ),
            _ => format!(
                "{back}; or deliver the run again under a new run id, then tidegate batches cancel {id}"
            ),
        }
    }

    /// The copies of files of batches that wait, or failed; each one that is
    /// damaged by itself.
    pub(super) fn check_pins(&self) -> Vec<CheckView> {
        const CHECK: &str = "pins";
        let looked = self.pinned().and_then(|pinned| {
            let total = pinned.iter().filter_map(|record| record.pin.as_ref()).map(|pin| pin.bytes).sum();
            let mut spread = Spread::over(total, self.clock.random());
            Ok((self.look_at_pins(&mut spread, pinned)?, spread))
        });
        let (found, spread) = match looked {
            Ok(looked) => looked,
            Err(error) => return vec![CheckView::error(CHECK, error.to_string(), error.action())],
        };
        if found.pins == 0 {
            return Vec::new();
        }
        let mut checks: Vec<CheckView> = Vec::new();
        for (record, error) in found.damaged.iter().take(NAMED) {
            let text = format!("the copy of its files is damaged: {error}");
            let check = format!("pin of {}", record.batch_id);
            checks.push(CheckView::error(check, text, self.mend_of_pin(record)));
        }
        let text = format!(
            "the files of {} batches are copied under the state URL, {} of them are damaged; of their files {}",
            found.pins,
            found.damaged.len(),
            spread.in_words(found.files)
        );
        checks.push(match found.damaged.is_empty() {
            true => CheckView::ok(CHECK, text),
            false => CheckView::error(CHECK, text, "mend each that is named; look again after that"),
        });
        checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_read_where_that_is_little_and_a_bounded_spread_of_what_is_much() {
        let mut all = Spread::over(300 * 9_000, 7);
        assert!((0..300).all(|_| all.takes(9_000)));
        let size = 1 << 20;
        let mut some = Spread::over(1_000 * size, 7);
        let taken: Vec<usize> = (0..1_000).filter(|_| some.takes(size)).collect();
        assert!((40..=64).contains(&taken.len()), "{}", taken.len());
        assert!(taken[0] < 100 && taken[taken.len() - 1] > 800, "{taken:?}");
        assert!(some.read.1 <= BUDGET);
        // Another look comes to others.
        let mut other = Spread::over(1_000 * size, 8);
        let again: Vec<usize> = (0..1_000).filter(|_| other.takes(size)).collect();
        assert_ne!(taken, again);
    }
}
