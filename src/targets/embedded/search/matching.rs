//! Which documents of a segment a query finds, and how well.
//!
//! Each clause gives a document a level, 0 if it does not have it; a document
//! is found if it has a level in all of them, and its score is their sum and
//! what the query as a whole earns. The clause that fewest documents have comes
//! first, and the next ones look only at what is left. What the query as a
//! whole earns is more than any sum of levels (`needs`).

use tantivy::postings::{SegmentPostings, TermInfo};
use tantivy::query::{EnableScoring, PhraseQuery, Query as _};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocSet, Searcher, SegmentReader, TERMINATED, Term};

use super::needs::{Lookup, Need, Source, Types};
use super::query::Query;
use super::schema::{Fields, KIND, as_one};
use super::slots::Docs;

/// All words follow each other in the name.
const IN_ORDER: u32 = 100;
/// The name begins with the text.
const NAME_BEGINS: u32 = 200;
/// The last part of the name is the text.
const LAST_IS: u32 = 100_000;
/// The name is the text.
pub const NAME_IS: u32 = 1_000_000;

/// Sources from which on it is cheaper to look at all their documents once than
/// to look for the documents in question in each.
const MANY: usize = 32;

/// Documents that are found, with their scores.
pub struct Scores {
    /// The documents.
    pub docs: Docs,
    /// Their scores, in the same order.
    pub scores: Vec<u32>,
}

/// A segment to look in.
pub struct Matcher<'a> {
    searcher: &'a Searcher,
    lookup: Lookup<'a>,
    kinds: tantivy::columnar::Column<u64>,
}

impl<'a> Matcher<'a> {
    /// Looks in a segment; with `typos`, for words that were meant too.
    pub fn new(
        searcher: &'a Searcher,
        segment: &'a SegmentReader,
        fields: &'a Fields,
        types: &'a Types,
        typos: bool,
    ) -> tantivy::Result<Self> {
        let kinds = segment.fast_fields().u64(KIND)?;
        let documents = searcher.segment_readers().iter().map(|segment| u64::from(segment.max_doc())).sum();
        Ok(Self { searcher, lookup: Lookup { segment, fields, types, typos, documents }, kinds })
    }

    /// The documents that a query finds, and how well.
    pub fn scores(&self, query: &Query) -> tantivy::Result<Scores> {
        let Lookup { segment, fields, .. } = self.lookup;
        let all = segment.max_doc() as usize;
        let mut found = Scores { docs: Docs::All(all), scores: vec![1; all] };
        let mut needs = Vec::new();
        for clause in &query.clauses {
            needs.push(self.lookup.need(clause)?);
        }
        needs.sort_by_key(|need| need.cost);
        for need in &needs {
            let levels = self.levels(need, &found.docs)?;
            found = keep(&found, &levels);
        }
        if query.whole.is_empty() {
            return Ok(found);
        }
        let whole = self.lookup.need_of(|any| self.lookup.term(fields.whole, &query.whole, NAME_IS, any))?;
        let begins =
            self.lookup.need_of(|any| self.lookup.begun(fields.whole, &query.whole, NAME_BEGINS, any))?;
        if query.clauses.is_empty() {
            // A query of signs finds names by their beginning.
            let levels = self.levels(&begins, &found.docs)?;
            found = keep(&found, &levels);
        } else {
            self.bonus(&begins, &mut found)?;
        }
        if let Some(plain) = query.plain() {
            let last =
                self.lookup.need_of(|any| self.lookup.term(fields.last, &as_one(&plain), LAST_IS, any))?;
            self.bonus(&last, &mut found)?;
            if plain.len() > 1 {
                let phrase = Source::Phrase(fields.name, plain, IN_ORDER);
                self.bonus(&Need { any: vec![phrase], cost: 0 }, &mut found)?;
            }
        }
        self.called(&whole, found)
    }

    /// Adds what a need gives to what is found.
    fn bonus(&self, need: &Need, found: &mut Scores) -> tantivy::Result<()> {
        let levels = self.levels(need, &found.docs)?;
        found.scores.iter_mut().zip(&levels).for_each(|(score, level)| *score += level);
        Ok(())
    }

    /// Adds what is called so, found or not.
    fn called(&self, need: &Need, mut found: Scores) -> tantivy::Result<Scores> {
        let mut docs = Vec::new();
        for source in &need.any {
            if let Source::Term(field, info, _) = source {
                let mut postings = self.postings(*field, info)?;
                let mut doc = postings.doc();
                while doc != TERMINATED {
                    docs.push(doc);
                    doc = postings.advance();
                }
            }
        }
        let mut more = Vec::new();
        for doc in docs {
            match found.docs.place(doc).and_then(|place| found.scores.get_mut(place)) {
                Some(score) => *score += NAME_IS,
                None => more.push((doc, 1 + NAME_IS)),
            }
        }
        if more.is_empty() {
            return Ok(found);
        }
        let places = 0..found.docs.len();
        more.extend(places.map(|place| found.docs.get(place)).zip(found.scores.iter().copied()));
        more.sort_unstable();
        let (docs, scores) = more.into_iter().unzip();
        Ok(Scores { docs: Docs::Some(docs), scores })
    }

    /// The level of each document.
    fn levels(&self, need: &Need, docs: &Docs) -> tantivy::Result<Vec<u32>> {
        if let Docs::Some(some) = docs
            && need.any.len() > MANY
            && need.cost > some.len() as u64
        {
            let all = self.levels(need, &Docs::All(self.lookup.segment.max_doc() as usize))?;
            return Ok(some.iter().map(|doc| all.get(*doc as usize).copied().unwrap_or_default()).collect());
        }
        let mut levels = vec![0; docs.len()];
        for source in &need.any {
            match source {
                Source::Term(field, info, level) => {
                    docs.raise(&mut self.postings(*field, info)?, *level, &mut levels);
                }
                Source::Phrase(field, words, level) => {
                    self.phrase(*field, words, *level, docs, &mut levels)?
                }
                Source::All(needs) => {
                    let mut least = vec![u32::MAX; docs.len()];
                    for need in needs {
                        let level = self.levels(need, docs)?;
                        least.iter_mut().zip(&level).for_each(|(least, level)| *least = (*least).min(*level));
                    }
                    levels.iter_mut().zip(&least).for_each(|(level, least)| *level = (*level).max(*least));
                }
                Source::Types(wanted, level) => {
                    for (place, slot) in levels.iter_mut().enumerate() {
                        let kind = self.kinds.first(docs.get(place)).unwrap_or_default();
                        if wanted.has((kind >> 1) as u32) {
                            *slot = (*slot).max(*level);
                        }
                    }
                }
            }
        }
        Ok(levels)
    }

    fn postings(&self, field: Field, info: &TermInfo) -> tantivy::Result<SegmentPostings> {
        let index = self.lookup.segment.inverted_index(field)?;
        Ok(index.read_postings_from_terminfo(info, IndexRecordOption::Basic)?)
    }

    /// Words that follow each other.
    fn phrase(
        &self,
        field: Field,
        words: &[String],
        level: u32,
        docs: &Docs,
        levels: &mut [u32],
    ) -> tantivy::Result<()> {
        let terms = words.iter().map(|word| Term::from_field_text(field, word)).collect();
        let weight = PhraseQuery::new(terms).weight(EnableScoring::disabled_from_searcher(self.searcher))?;
        docs.raise(&mut *weight.scorer(self.lookup.segment, 1.0)?, level, levels);
        Ok(())
    }
}

/// What has a level stays, and adds it to its score.
fn keep(found: &Scores, levels: &[u32]) -> Scores {
    let (mut docs, mut scores) = (Vec::new(), Vec::new());
    for (place, (score, level)) in found.scores.iter().zip(levels).enumerate() {
        if *level > 0 {
            docs.push(found.docs.get(place));
            scores.push(score + level);
        }
    }
    Scores { docs: Docs::Some(docs), scores }
}
