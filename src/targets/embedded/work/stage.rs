//! One stage of an operation: where the rows of its changes are, in which order
//! they are written, and what is written beside them.

use super::{Work, stage_of, without_end};
use crate::domain::change::Action;
use crate::domain::key::{EntityKey, Key, KeyHash};
use crate::targets::embedded::look_ahead::{self, Around, Held};
use crate::targets::embedded::row::{BodyAt, Row};
use crate::targets::embedded::tables::{end_key, entity_key};
use crate::targets::{ChangeOutcome, TargetChange};

/// Rows of a stage from which on threads of their own write some of its tables.
const WORTH_A_THREAD: usize = 512;

/// Where a change's row is, or will be.
pub(super) struct Place {
    /// Key of its row.
    pub(super) row: Vec<u8>,
    /// Of a relationship: key of its row in the reverse table, and whether
    /// both ends are there.
    pub(super) ends: Option<([u8; 20], bool)>,
    /// Its place in the operation.
    n: usize,
    /// Its place among those of its stage, in the order of the operation.
    nth: usize,
    /// Hash of its key and its row, if it was looked up ahead.
    held: Option<(KeyHash, Option<Row>)>,
    /// Where the relationships of an entity that goes were, if that was looked
    /// up ahead.
    pub(super) around: Option<Around>,
    /// Whether its row in the reverse table was written ahead.
    pub(super) reversed: bool,
}

impl Place {
    /// The row in the reverse table of a relationship of which it is known that
    /// it comes.
    fn reverse(&self, change: &TargetChange) -> Option<Reverse> {
        let (Some((to, true)), Some((_, None))) = (&self.ends, &self.held) else { return None };
        let comes = change.action == Action::Create || change.action == Action::Update && change.replace;
        Some((*to, *self.row.first_chunk()?)).filter(|_| comes)
    }
}

/// A row of the reverse table.
pub(super) type Reverse = ([u8; 20], [u8; 4]);

impl look_ahead::Placed for Place {
    fn row(&self) -> &[u8] {
        &self.row
    }

    fn number(&self) -> usize {
        self.n
    }
}

/// A place among those of its stage in the order of the operation, and in the
/// operation.
type Numbers = (usize, usize);

/// A stage at work.
struct Doing<'d, 'a, 't, 'scope, 'env> {
    work: &'d mut Work<'a, 't, 'scope, 'env>,
    held: Option<&'d mut [Option<Held>]>,
    outcomes: &'d mut [ChangeOutcome],
    /// Bodies that were placed ahead, by the numbers of their places.
    bodies: Vec<Option<BodyAt>>,
    /// Rows for the reverse table.
    reverse: Vec<Reverse>,
}

impl<'t: 'scope, 'scope, 'env> Doing<'_, '_, 't, 'scope, 'env> {
    fn change(
        &mut self,
        place: &Place,
        held: Option<(KeyHash, Option<Row>)>,
        change: &TargetChange,
    ) -> Result<(), redb::Error> {
        let body = self.bodies.get_mut(place.nth).and_then(Option::take);
        self.outcomes[place.n] = self.work.change(place, body.as_ref(), held, change, &mut self.reverse)?;
        Ok(())
    }
}

impl<'t: 'scope, 'scope, 'env> Work<'_, 't, 'scope, 'env> {
    /// Applies the changes of one stage. Rows are written in the order of
    /// their keys: far fewer pages change hands. A key stands once in an
    /// operation, and what depends on each other is kept apart by the stages.
    /// `before`: a stage of relationships that is done first, while rows of
    /// this one, of entities, are looked up already.
    pub(super) fn stage(
        &mut self,
        stage: u8,
        before: Option<u8>,
        changes: &'env [TargetChange],
        mut held: Option<&mut [Option<Held>]>,
        outcomes: &mut [ChangeOutcome],
    ) -> Result<(), redb::Error> {
        let (mut places, creates) = self.places(stage, changes, held.as_deref_mut(), outcomes)?;
        let rows = places.len();
        self.reverse_ahead(&mut places, changes)?;
        let of_entities =
            before.is_some() || places.iter().any(|place| place.ends.is_none() && place.held.is_none());
        let mut doing = Doing { work: self, held, outcomes, bodies: Vec::new(), reverse: Vec::new() };
        let begin = |doing: &mut Doing<'_, '_, 't, 'scope, 'env>| {
            if let Some(before) = before {
                doing.work.stage(before, None, changes, doing.held.as_deref_mut(), doing.outcomes)?;
            }
            doing.bodies = doing.work.bodies(&creates, rows, changes)?;
            Ok(())
        };
        let ahead = if of_entities {
            let catalogue = doing.work.catalogue;
            look_ahead::entities(
                catalogue,
                &places,
                changes,
                &mut doing,
                begin,
                |doing, place, hash, row| doing.change(place, Some((hash, row)), &changes[place.n]),
            )?
        } else {
            begin(&mut doing)?;
            false
        };
        if !ahead {
            for mut place in places {
                let held = place.held.take();
                doing.change(&place, held, &changes[place.n])?;
            }
        }
        let Doing { mut reverse, .. } = doing;
        if !reverse.is_empty() {
            reverse.sort_unstable();
            let table = self.reverse.here()?;
            reverse.iter().try_for_each(|(key, from)| table.insert(key, from))?;
        }
        self.last_from = None;
        let mut ended = std::mem::take(&mut self.ended);
        if ended.is_empty() {
            return Ok(());
        }
        if !self.is_worth_a_thread(rows) {
            ended.sort_unstable();
            let history = &mut self.beside.here()?.history;
            return ended.iter().try_for_each(|(key, row)| history.insert(key, row));
        }
        let moved = std::mem::take(&mut self.moved);
        self.beside.lend(self.scope, self.first, move |beside| {
            ended.sort_unstable();
            ended.iter().try_for_each(|(key, row)| beside.history.insert(key, row))?;
            moved.write(&mut beside.uses, &mut beside.emptied)
        })
    }

    /// Has the rows of the reverse table written beside the others, as far as
    /// it is known that they come.
    fn reverse_ahead(
        &mut self,
        places: &mut [Place],
        changes: &'env [TargetChange],
    ) -> Result<(), redb::Error> {
        if !self.is_worth_a_thread(places.len()) {
            return Ok(());
        }
        let mut rows: Vec<Reverse> = Vec::new();
        for place in places {
            let row = place.reverse(&changes[place.n]);
            place.reversed = row.is_some();
            rows.extend(row);
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.reverse.lend(self.scope, self.first, move |reverse| {
            rows.sort_unstable();
            rows.iter().try_for_each(|(key, from)| reverse.insert(key, from))
        })
    }

    /// Whether so many rows of a stage are written beside others.
    fn is_worth_a_thread(&self, rows: usize) -> bool {
        rows >= WORTH_A_THREAD && self.catalogue.options.threads > 1
    }

    /// The places of the changes of a stage, in the order of their rows; and
    /// which of them, in the order of the operation, get a body in a block.
    fn places(
        &mut self,
        stage: u8,
        changes: &[TargetChange],
        mut held: Option<&mut [Option<Held>]>,
        outcomes: &mut [ChangeOutcome],
    ) -> Result<(Vec<Place>, Vec<Numbers>), redb::Error> {
        let mut places: Vec<Place> = Vec::new();
        let mut creates = Vec::new();
        for (n, change) in changes.iter().enumerate() {
            if stage_of(change) != stage {
                continue;
            }
            let held = held.as_deref_mut().and_then(|held| held.get_mut(n)?.as_mut());
            match self.place_of(change, n, places.len(), held)? {
                Some(place) => {
                    let there = place.ends.as_ref().is_none_or(|(_, there)| *there);
                    if change.action == Action::Create && there {
                        creates.push((place.nth, n));
                    }
                    places.push(place);
                }
                // A relationship of an entity that was never there.
                None => outcomes[n] = without_end(change),
            }
        }
        places.sort_unstable_by(|a, b| a.row.cmp(&b.row));
        Ok((places, creates))
    }

    /// Bodies of a stage by the numbers of their places. They go to blocks as
    /// they come, so that what comes together lies together.
    fn bodies(
        &mut self,
        creates: &[Numbers],
        places: usize,
        changes: &'env [TargetChange],
    ) -> Result<Vec<Option<BodyAt>>, redb::Error> {
        if !self.builder.is_large() {
            return Ok(Vec::new());
        }
        let mut bodies: Vec<Option<BodyAt>> = (0..places).map(|_| None).collect();
        if !self.is_worth_a_thread(creates.len()) {
            for (nth, n) in creates {
                bodies[*nth] = Some(self.place(&changes[*n].key, &changes[*n].set)?);
            }
            return Ok(bodies);
        }
        self.builder.flush(self.blocks.here()?, &mut self.moved)?;
        let mut nth = creates.iter().map(|(nth, _)| *nth);
        let laid_out =
            self.builder.lay_out(creates.iter().map(|(_, n)| *n), changes, &mut self.moved, |body| {
                if let Some(slot) = nth.next().and_then(|nth| bodies.get_mut(nth)) {
                    *slot = Some(body);
                }
            })?;
        self.blocks.lend(self.scope, self.first, move |blocks| blocks.fill(&laid_out, changes))?;
        Ok(bodies)
    }

    fn place_of(
        &mut self,
        change: &TargetChange,
        n: usize,
        nth: usize,
        held: Option<&mut Held>,
    ) -> Result<Option<Place>, redb::Error> {
        let known = held.as_ref().map(|held| held.ends);
        let (held, around) = match held {
            Some(held) => (Some((held.hash, held.row.take())), held.around.take()),
            None => (None, None),
        };
        Ok(match &change.key {
            Key::Entity(key) => {
                let row = entity_key(self.type_number(&key.type_name)?, &key.qualified_name);
                Some(Place { row, ends: None, n, nth, held, around, reversed: false })
            }
            Key::Relationship(key) => {
                let ends = match known {
                    Some(known) => known,
                    None => (self.find_from(&key.from)?, self.find(&key.to)?),
                };
                let (Some((from, from_there)), Some((to, to_there))) = ends else { return Ok(None) };
                let hash = held.as_ref().map_or_else(|| change.key.hash(), |(hash, _)| *hash).0;
                let ends = (end_key(to, hash), from_there && to_there);
                Some(Place {
                    row: end_key(from, hash).to_vec(),
                    ends: Some(ends),
                    n,
                    nth,
                    held,
                    around: None,
                    reversed: false,
                })
            }
        })
    }

    /// An entity's number, and whether it is there and not archived.
    pub(super) fn find(&self, key: &EntityKey) -> Result<Option<(u32, bool)>, redb::Error> {
        let Some(number) = self.type_numbers.get(&key.type_name) else { return Ok(None) };
        let row = self.tables.entities.get(&entity_key(*number, &key.qualified_name)[..])?;
        Ok(row.and_then(|row| Row::end(row.value())))
    }

    /// The same of a `from` end, which often is that of the change before.
    fn find_from(&mut self, key: &EntityKey) -> Result<Option<(u32, bool)>, redb::Error> {
        if let Some((last, found)) = &self.last_from
            && last == key
        {
            return Ok(*found);
        }
        let found = self.find(key)?;
        self.last_from = Some((key.clone(), found));
        Ok(found)
    }
}
