//! Which documents of a segment a query finds, and how well.
//!
//! Each clause gives every document a level, 0 if it does not have it; a
//! document is found if it has a level in all of them, and its score is their
//! sum and what the query as a whole earns. The levels are far enough apart
//! that a word met as it was typed beats any number of words met with typos,
//! a name beats attributes, the last part of a name beats the rest of it, and
//! the whole name beats all. What costs is bounded: by the number of words,
//! and of terms that one word may stand for.

use std::collections::HashSet;

use tantivy::postings::TermInfo;
use tantivy::query::{EnableScoring, FuzzyTermQuery, PhraseQuery, Query as _};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocSet, InvertedIndexReader, Searcher, SegmentReader, TERMINATED, Term};

use super::query::{Clause, Part, Query};
use super::schema::{Fields, as_one};

/// A word as it was typed, wherever it is.
const TYPED: u32 = 1_000;
const LAST: u32 = TYPED + 40;
const LAST_BEGUN: u32 = TYPED + 32;
const NAME: u32 = TYPED + 25;
const NAME_BEGUN: u32 = TYPED + 20;
const TEXT: u32 = TYPED + 5;
const TEXT_BEGUN: u32 = TYPED + 2;
/// With one typo, in the name; one more or elsewhere is less.
const TYPO: u32 = 40;
/// All words follow each other in the name.
const IN_ORDER: u32 = 100;
/// The name begins with the text.
const NAME_BEGINS: u32 = 200;
/// The last part of the name is the text.
const LAST_IS: u32 = 100_000;
/// The name is the text.
const NAME_IS: u32 = 1_000_000;

/// Terms that a word that is only begun, or has typos, may stand for.
const TERMS: usize = 1_000;
/// Terms that are looked at to find those.
const LOOKED_AT: usize = 50_000;
/// Shortest word that may have a typo, and that may have two, in characters.
const ONE_TYPO: usize = 5;
/// See [`ONE_TYPO`].
const TWO_TYPOS: usize = 8;

/// How many typos a word may have.
pub fn typos(word: &str) -> u8 {
    if !word.chars().all(char::is_alphabetic) {
        return 0;
    }
    match word.chars().count() {
        0..ONE_TYPO => 0,
        ONE_TYPO..TWO_TYPOS => 1,
        TWO_TYPOS.. => 2,
    }
}

/// Numbers and names of all types.
pub type Types = [(u32, String)];

/// A segment to look in.
pub struct Matcher<'a> {
    searcher: &'a Searcher,
    segment: &'a SegmentReader,
    fields: &'a Fields,
    types: &'a Types,
    kinds: tantivy::columnar::Column<u64>,
    typos: bool,
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
        let kinds = segment.fast_fields().u64(super::schema::KIND)?;
        Ok(Self { searcher, segment, fields, types, kinds, typos })
    }

    /// The score of each document, 0 if it is not found.
    pub fn scores(&self, query: &Query) -> tantivy::Result<Vec<u32>> {
        let len = self.segment.max_doc() as usize;
        // A query of signs only finds names by their beginning.
        let mut scores = vec![u32::from(!query.clauses.is_empty() || query.whole.is_empty()); len];
        let mut levels = vec![0; len];
        for clause in &query.clauses {
            levels.fill(0);
            self.clause(clause, &mut levels)?;
            for (score, level) in scores.iter_mut().zip(&levels) {
                *score = if *score == 0 || *level == 0 { 0 } else { *score + level };
            }
        }
        if query.whole.is_empty() {
            return Ok(scores);
        }
        let bonus = |scores: &mut [u32], levels: &[u32], found_by_it: bool| {
            for (score, level) in scores.iter_mut().zip(levels) {
                if *level > 0 && (found_by_it || *score > 0) {
                    *score += level;
                }
            }
        };
        levels.fill(0);
        self.term(self.fields.whole, &query.whole, NAME_IS, &mut levels)?;
        bonus(&mut scores, &levels, true);
        levels.fill(0);
        self.begun(self.fields.whole, &query.whole, NAME_BEGINS, &mut levels)?;
        bonus(&mut scores, &levels, query.clauses.is_empty());
        if let Some(plain) = query.plain() {
            levels.fill(0);
            self.term(self.fields.last, &as_one(&plain), LAST_IS, &mut levels)?;
            bonus(&mut scores, &levels, false);
            if plain.len() > 1 {
                levels.fill(0);
                self.phrase(self.fields.name, &plain, IN_ORDER, &mut levels)?;
                bonus(&mut scores, &levels, false);
            }
        }
        Ok(scores)
    }

    fn clause(&self, clause: &Clause, levels: &mut [u32]) -> tantivy::Result<()> {
        match clause {
            Clause::Part(part) => {
                if part.words.len() > 1 {
                    self.phrase(self.fields.name, &part.words, NAME, levels)?;
                    self.phrase(self.fields.words, &part.words, TEXT, levels)?;
                }
                self.name(part, levels)?;
                self.term(self.fields.words, &part.whole, TEXT, levels)?;
                if part.open {
                    self.begun(self.fields.words, &part.whole, TEXT_BEGUN, levels)?;
                }
                self.meant(self.fields.words, &part.whole, TYPO - 10, levels)
            }
            Clause::Phrase(words) => {
                self.phrase(self.fields.name, words, NAME, levels)?;
                self.phrase(self.fields.words, words, TEXT, levels)
            }
            Clause::Member(name, part) => {
                if name == "name" {
                    if part.words.len() > 1 {
                        self.phrase(self.fields.name, &part.words, NAME, levels)?;
                    }
                    self.name(part, levels)?;
                }
                self.member(name, part, levels)
            }
            Clause::Type(whole, parts) => self.types(whole, parts, levels),
        }
    }

    /// A part in the name.
    fn name(&self, part: &Part, levels: &mut [u32]) -> tantivy::Result<()> {
        self.term(self.fields.name, &part.whole, NAME, levels)?;
        self.term(self.fields.last, &part.whole, LAST, levels)?;
        if part.open {
            self.begun(self.fields.name, &part.whole, NAME_BEGUN, levels)?;
            self.begun(self.fields.last, &part.whole, LAST_BEGUN, levels)?;
        }
        self.meant(self.fields.name, &part.whole, TYPO, levels)
    }

    /// A part in one attribute: as a whole, or all its words.
    fn member(&self, name: &str, part: &Part, levels: &mut [u32]) -> tantivy::Result<()> {
        let term = |word: &str| [name, "\0", word].concat();
        self.term(self.fields.members, &term(&part.whole), TEXT, levels)?;
        if part.open {
            self.begun(self.fields.members, &term(&part.whole), TEXT_BEGUN, levels)?;
        }
        if part.words.len() > 1 {
            let mut found = vec![0; levels.len()];
            self.phrase(self.fields.words, &part.words, TEXT, &mut found)?;
            let mut level = vec![0; levels.len()];
            for word in &part.words {
                level.fill(0);
                self.term(self.fields.members, &term(word), TEXT, &mut level)?;
                found.iter_mut().zip(&level).for_each(|(found, level)| *found = (*found).min(*level));
            }
            levels.iter_mut().zip(&found).for_each(|(level, found)| *level = (*level).max(*found));
        }
        Ok(())
    }

    /// The type of this name; if there is none, types that have all parts in
    /// their names, and entities with an attribute `type` that has them.
    fn types(&self, whole: &str, parts: &[Part], levels: &mut [u32]) -> tantivy::Result<()> {
        let mut wanted = types_named(self.types, whole);
        if wanted.is_empty() {
            wanted = types_like(self.types, parts);
            levels.fill(TEXT);
            let mut level = vec![0; levels.len()];
            for part in parts {
                level.fill(0);
                self.member("type", part, &mut level)?;
                levels.iter_mut().zip(&level).for_each(|(all, level)| *all = (*all).min(*level));
            }
        }
        if !wanted.is_empty() {
            for (doc, level) in levels.iter_mut().enumerate() {
                let kind = self.kinds.first(doc as u32).unwrap_or_default();
                if wanted.contains(&((kind >> 1) as u32)) {
                    *level = (*level).max(TEXT);
                }
            }
        }
        Ok(())
    }

    fn term(&self, field: Field, term: &str, level: u32, levels: &mut [u32]) -> tantivy::Result<()> {
        let index = self.segment.inverted_index(field)?;
        match index.terms().get(term)? {
            Some(info) => mark(&index, &info, level, levels),
            None => Ok(()),
        }
    }

    /// Terms that begin with a word.
    fn begun(&self, field: Field, word: &str, level: u32, levels: &mut [u32]) -> tantivy::Result<()> {
        let index = self.segment.inverted_index(field)?;
        let mut end = word.as_bytes().to_vec();
        // No byte of UTF-8 is 255.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let mut stream = index.terms().range().ge(word).lt(end).into_stream()?;
        let mut infos = Vec::new();
        while infos.len() < LOOKED_AT && stream.advance() {
            infos.push(stream.value().clone());
        }
        mark_most(&index, infos, level, levels)
    }

    /// Terms that a word with typos may have been meant for.
    fn meant(&self, field: Field, word: &str, level: u32, levels: &mut [u32]) -> tantivy::Result<()> {
        if !self.typos {
            return Ok(());
        }
        let index = self.segment.inverted_index(field)?;
        for distance in 1..=typos(word) {
            let query = FuzzyTermQuery::new(Term::from_field_text(field, word), distance, true);
            let mut stream = index.terms().search(query.automaton()?).into_stream()?;
            let mut infos = Vec::new();
            while infos.len() < LOOKED_AT && stream.advance() {
                infos.push(stream.value().clone());
            }
            mark_most(&index, infos, level - 5 * (u32::from(distance) - 1), levels)?;
        }
        Ok(())
    }

    /// Words that follow each other.
    fn phrase(&self, field: Field, words: &[String], level: u32, levels: &mut [u32]) -> tantivy::Result<()> {
        if let [word] = words {
            return self.term(field, word, level, levels);
        }
        let terms = words.iter().map(|word| Term::from_field_text(field, word)).collect();
        let weight = PhraseQuery::new(terms).weight(EnableScoring::disabled_from_searcher(self.searcher))?;
        let mut found = weight.scorer(self.segment, 1.0)?;
        let mut doc = found.doc();
        while doc != TERMINATED {
            raise(levels, doc, level);
            doc = found.advance();
        }
        Ok(())
    }
}

/// Types of exactly this folded name.
fn types_named(types: &Types, whole: &str) -> HashSet<u32> {
    let named = |name: &str| super::words::folded(name, super::schema::MAX_WHOLE) == whole;
    types.iter().filter(|(_, name)| named(name)).map(|(number, _)| *number).collect()
}

/// Types whose names have all these parts.
fn types_like(types: &Types, parts: &[Part]) -> HashSet<u32> {
    let like = |name: &str| {
        let words: Vec<String> = super::words::parts(name)
            .into_iter()
            .flat_map(|(words, whole)| words.into_iter().chain([whole]))
            .collect();
        parts.iter().all(|part| {
            let mut wanted = part.words.iter();
            let met = |wanted: &str| {
                words.iter().any(|word| word == wanted || (part.open && word.starts_with(wanted)))
            };
            met(&part.whole) || wanted.all(|word| met(word))
        })
    };
    types.iter().filter(|(_, name)| like(name)).map(|(number, _)| *number).collect()
}

/// The terms that are in most documents, if there are too many.
fn mark_most(
    index: &InvertedIndexReader,
    mut infos: Vec<TermInfo>,
    level: u32,
    levels: &mut [u32],
) -> tantivy::Result<()> {
    if infos.len() > TERMS {
        infos.select_nth_unstable_by_key(TERMS, |info| std::cmp::Reverse(info.doc_freq));
        infos.truncate(TERMS);
    }
    infos.iter().try_for_each(|info| mark(index, info, level, levels))
}

fn mark(index: &InvertedIndexReader, info: &TermInfo, level: u32, levels: &mut [u32]) -> tantivy::Result<()> {
    let mut postings = index.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
    let mut doc = postings.doc();
    while doc != TERMINATED {
        raise(levels, doc, level);
        doc = postings.advance();
    }
    Ok(())
}

fn raise(levels: &mut [u32], doc: u32, level: u32) {
    if let Some(slot) = levels.get_mut(doc as usize) {
        *slot = (*slot).max(level);
    }
}
