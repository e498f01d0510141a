//! The best of all documents that a query finds, how many there are, and of
//! which types.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use tantivy::{Searcher, SegmentReader};

use super::matching::{Matcher, Scores};
use super::needs::{TypeSet, Types};
use super::query::Query;
use super::schema::{Fields, KIND, PLACE, UPDATED};

/// What is asked for besides the query.
pub struct Wanted<'a> {
    /// Of these types; `None`: of all.
    pub types: Option<&'a TypeSet>,
    /// Whether archived ones are found.
    pub archived: bool,
    /// The newest first, instead of the best.
    pub newest: bool,
    /// Words may have typos.
    pub typos: bool,
    /// So many of the first ones.
    pub count: usize,
}

/// A document that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// What it is ordered by, the greatest first.
    order: Reverse<u64>,
    /// Qualified name and number of the type.
    pub place: Vec<u8>,
    /// Its score.
    pub score: u32,
}

/// What a query finds.
#[derive(Default)]
pub struct Ranked {
    /// The first ones.
    pub first: Vec<Found>,
    /// How many there are.
    pub total: u64,
    /// How many there are of each type, whatever types are wanted.
    pub types: BTreeMap<u32, u64>,
}

/// Looks in all segments.
pub fn rank(
    searcher: &Searcher,
    fields: &Fields,
    types: &Types,
    query: &Query,
    wanted: &Wanted<'_>,
) -> tantivy::Result<Ranked> {
    let mut ranked = Ranked::default();
    // Types are numbered one by one, as they come.
    let mut counts = vec![0; types.iter().map(|(number, _)| *number as usize + 1).max().unwrap_or_default()];
    for segment in searcher.segment_readers() {
        let scores = Matcher::new(searcher, segment, fields, types, wanted.typos)?.scores(query)?;
        collect(segment, &scores, wanted, &mut counts, &mut ranked)?;
    }
    ranked.types = (0..).zip(counts).filter(|(_, count)| *count > 0).collect();
    // Those found alike are ordered by name.
    ranked.first.sort_unstable();
    ranked.first.truncate(wanted.count);
    Ok(ranked)
}

fn collect(
    segment: &SegmentReader,
    found: &Scores,
    wanted: &Wanted<'_>,
    counts: &mut [u64],
    ranked: &mut Ranked,
) -> tantivy::Result<()> {
    let kinds = segment.fast_fields().u64(KIND)?;
    let updated = segment.fast_fields().u64(UPDATED)?;
    let Some(places) = segment.fast_fields().bytes(PLACE)? else { return Ok(()) };
    let alive = segment.alive_bitset();
    // The worst of the first ones is on top.
    let mut first: BinaryHeap<(Reverse<u64>, u64, u32)> = BinaryHeap::new();
    for (place, score) in found.scores.iter().enumerate() {
        let doc = found.docs.get(place);
        if alive.is_some_and(|alive| !alive.is_alive(doc)) {
            continue;
        }
        let kind = kinds.first(doc).unwrap_or_default();
        let (type_no, archived) = ((kind >> 1) as u32, kind & 1 == 1);
        if archived && !wanted.archived {
            continue;
        }
        let Some(count) = counts.get_mut(type_no as usize) else { continue };
        *count += 1;
        if wanted.types.is_some_and(|types| !types.has(type_no)) {
            continue;
        }
        ranked.total += 1;
        let order = if wanted.newest { updated.first(doc).unwrap_or_default() } else { u64::from(*score) };
        let full = first.len() >= wanted.count;
        if full && first.peek().is_some_and(|(worst, ..)| Reverse(order) > *worst) {
            continue;
        }
        // Numbers of places are in the order of places within a segment.
        let place = places.ords().first(doc).unwrap_or_default();
        let entry = (Reverse(order), place, *score);
        if !full {
            first.push(entry);
        } else if first.peek().is_some_and(|worst| entry < *worst) {
            first.pop();
            first.push(entry);
        }
    }
    for (order, number, score) in first {
        let mut place = Vec::new();
        if places.ord_to_bytes(number, &mut place)? {
            ranked.first.push(Found { order, place, score });
        }
    }
    Ok(())
}
