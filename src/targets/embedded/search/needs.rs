//! What the clauses of a query ask of a segment: terms, looked up in its
//! dictionaries, and what each is worth.
//!
//! The levels are far enough apart that a word met as it was typed beats any
//! number of words met with typos, a name beats attributes, and the last part
//! of a name beats the rest of it. What costs is bounded: by the number of
//! words, and of terms that one word may stand for.

use tantivy::postings::TermInfo;
use tantivy::query::FuzzyTermQuery;
use tantivy::schema::Field;
use tantivy::{SegmentReader, Term};

use super::query::{Clause, Part};
use super::schema::{Fields, MAX_WHOLE};
use super::words::{folded, parts};

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
/// Terms that a word that is only begun, or has typos, may stand for.
const TERMS: usize = 1_000;
/// Terms that are looked at to find those, in all segments together.
const LOOKED_AT: usize = 20_000;
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

/// Some types, by their numbers.
pub struct TypeSet(Vec<bool>);

impl TypeSet {
    /// Those that `wanted` takes by their names.
    pub fn of(types: &Types, wanted: impl Fn(&str) -> bool) -> Self {
        let len = types.iter().map(|(number, _)| *number as usize + 1).max().unwrap_or_default();
        let mut set = vec![false; len];
        for (number, name) in types {
            if let Some(slot) = set.get_mut(*number as usize) {
                *slot = wanted(name);
            }
        }
        Self(set)
    }

    /// Whether a type is one of them.
    pub fn has(&self, number: u32) -> bool {
        self.0.get(number as usize).copied().unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        !self.0.contains(&true)
    }
}

/// What a document may have for a clause, one of them at least.
pub struct Need {
    /// Where it may have it.
    pub any: Vec<Source>,
    /// About how many documents have it.
    pub cost: u64,
}

/// A place where a document may have something, and the level that it earns.
pub enum Source {
    /// A term.
    Term(Field, TermInfo, u32),
    /// Words that follow each other.
    Phrase(Field, Vec<String>, u32),
    /// Everything of these.
    All(Vec<Need>),
    /// One of these types.
    Types(TypeSet, u32),
}

/// The dictionaries of a segment.
pub struct Lookup<'a> {
    /// The segment.
    pub segment: &'a SegmentReader,
    /// The fields of the index.
    pub fields: &'a Fields,
    /// All types.
    pub types: &'a Types,
    /// Whether words that were meant count.
    pub typos: bool,
    /// Documents of the whole index.
    pub documents: u64,
}

impl Lookup<'_> {
    /// How many terms are looked at here: a segment has a part in what may be
    /// looked at as it has in the documents, or an index of many segments would
    /// cost many times as much.
    fn looked_at(&self) -> usize {
        let part = LOOKED_AT as u64 * u64::from(self.segment.max_doc()) / self.documents.max(1);
        usize::try_from(part).unwrap_or(LOOKED_AT).clamp(TERMS, LOOKED_AT)
    }

    /// The sources that `fill` looks up, and what they cost.
    pub fn need_of(
        &self,
        fill: impl FnOnce(&mut Vec<Source>) -> tantivy::Result<()>,
    ) -> tantivy::Result<Need> {
        let mut any = Vec::new();
        fill(&mut any)?;
        let mut cost = 0;
        for source in &any {
            cost += match source {
                Source::Term(_, info, _) => u64::from(info.doc_freq),
                Source::Phrase(field, words, _) => self.rarest(*field, words)?,
                Source::All(needs) => needs.iter().map(|need| need.cost).min().unwrap_or_default(),
                Source::Types(..) => u64::from(self.segment.max_doc()),
            };
        }
        Ok(Need { any, cost })
    }

    /// In how many documents the rarest of some words is.
    fn rarest(&self, field: Field, words: &[String]) -> tantivy::Result<u64> {
        let index = self.segment.inverted_index(field)?;
        let mut rarest = u64::MAX;
        for word in words {
            rarest = rarest.min(index.terms().get(word)?.map_or(0, |info| u64::from(info.doc_freq)));
        }
        Ok(rarest)
    }

    /// What a document may have for a clause.
    pub fn need(&self, clause: &Clause) -> tantivy::Result<Need> {
        let Fields { name, words: text, .. } = *self.fields;
        self.need_of(|any| match clause {
            Clause::Part(part) => {
                self.follow(name, &part.words, NAME, any)?;
                self.follow(text, &part.words, TEXT, any)?;
                self.name(part, any)?;
                self.term(text, &part.whole, TEXT, any)?;
                if part.open {
                    self.begun(text, &part.whole, TEXT_BEGUN, any)?;
                }
                self.meant(text, &part.whole, TYPO - 10, any)
            }
            Clause::Phrase(words) => {
                if let [word] = &words[..] {
                    self.term(name, word, NAME, any)?;
                    return self.term(text, word, TEXT, any);
                }
                self.follow(name, words, NAME, any)?;
                self.follow(text, words, TEXT, any)
            }
            Clause::Member(member, part) => {
                if member == "name" {
                    self.follow(name, &part.words, NAME, any)?;
                    self.name(part, any)?;
                }
                self.member(member, part, any)
            }
            Clause::Type(whole, parts) => self.types(whole, parts, any),
        })
    }

    fn follow(
        &self,
        field: Field,
        words: &[String],
        level: u32,
        any: &mut Vec<Source>,
    ) -> tantivy::Result<()> {
        if words.len() > 1 && self.rarest(field, words)? > 0 {
            any.push(Source::Phrase(field, words.to_vec(), level));
        }
        Ok(())
    }

    /// A part in the name.
    fn name(&self, part: &Part, any: &mut Vec<Source>) -> tantivy::Result<()> {
        self.term(self.fields.name, &part.whole, NAME, any)?;
        self.term(self.fields.last, &part.whole, LAST, any)?;
        if part.open {
            self.begun(self.fields.name, &part.whole, NAME_BEGUN, any)?;
            self.begun(self.fields.last, &part.whole, LAST_BEGUN, any)?;
        }
        self.meant(self.fields.name, &part.whole, TYPO, any)
    }

    /// A part in one attribute: as a whole, or all its words, which follow each
    /// other somewhere.
    fn member(&self, member: &str, part: &Part, any: &mut Vec<Source>) -> tantivy::Result<()> {
        let members = self.fields.members;
        let term = |word: &str| [member, "\0", word].concat();
        self.term(members, &term(&part.whole), TEXT, any)?;
        if part.open {
            self.begun(members, &term(&part.whole), TEXT_BEGUN, any)?;
        }
        if part.words.len() > 1 {
            let mut all = vec![self.need_of(|any| self.follow(self.fields.words, &part.words, TEXT, any))?];
            for word in &part.words {
                all.push(self.need_of(|any| self.term(members, &term(word), TEXT, any))?);
            }
            any.push(Source::All(all));
        }
        Ok(())
    }

    /// The type of this name; if there is none, types that have all parts in
    /// their names, and entities with an attribute `type` that has them.
    fn types(&self, whole: &str, parts: &[Part], any: &mut Vec<Source>) -> tantivy::Result<()> {
        let named = types_named(self.types, whole);
        if !named.is_empty() {
            any.push(Source::Types(named, TEXT));
            return Ok(());
        }
        let like = types_like(self.types, parts);
        if !like.is_empty() {
            any.push(Source::Types(like, TEXT));
        }
        let mut all = Vec::new();
        for part in parts {
            all.push(self.need_of(|any| self.member("type", part, any))?);
        }
        any.push(Source::All(all));
        Ok(())
    }

    /// A term.
    pub fn term(&self, field: Field, term: &str, level: u32, any: &mut Vec<Source>) -> tantivy::Result<()> {
        let found = self.segment.inverted_index(field)?.terms().get(term)?;
        any.extend(found.map(|info| Source::Term(field, info, level)));
        Ok(())
    }

    /// Terms that begin with a word.
    pub fn begun(&self, field: Field, word: &str, level: u32, any: &mut Vec<Source>) -> tantivy::Result<()> {
        let index = self.segment.inverted_index(field)?;
        let mut end = word.as_bytes().to_vec();
        // No byte of UTF-8 is 255.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let mut stream = index.terms().range().ge(word).lt(end).into_stream()?;
        let (mut infos, looked_at) = (Vec::new(), self.looked_at());
        while infos.len() < looked_at && stream.advance() {
            infos.push(stream.value().clone());
        }
        any.extend(most(infos).into_iter().map(|info| Source::Term(field, info, level)));
        Ok(())
    }

    /// Terms that a word with typos may have been meant for.
    fn meant(&self, field: Field, word: &str, level: u32, any: &mut Vec<Source>) -> tantivy::Result<()> {
        if !self.typos {
            return Ok(());
        }
        let index = self.segment.inverted_index(field)?;
        for distance in 1..=typos(word) {
            let query = FuzzyTermQuery::new(Term::from_field_text(field, word), distance, true);
            let mut stream = index.terms().search(query.automaton()?).into_stream()?;
            let (mut infos, looked_at) = (Vec::new(), self.looked_at());
            while infos.len() < looked_at && stream.advance() {
                infos.push(stream.value().clone());
            }
            let level = level - 5 * (u32::from(distance) - 1);
            any.extend(most(infos).into_iter().map(|info| Source::Term(field, info, level)));
        }
        Ok(())
    }
}

/// The terms that are in most documents, if there are too many.
fn most(mut infos: Vec<TermInfo>) -> Vec<TermInfo> {
    if infos.len() > TERMS {
        infos.select_nth_unstable_by_key(TERMS, |info| std::cmp::Reverse(info.doc_freq));
        infos.truncate(TERMS);
    }
    infos
}

/// Types of exactly this folded name.
fn types_named(types: &Types, whole: &str) -> TypeSet {
    TypeSet::of(types, |name| folded(name, MAX_WHOLE) == whole)
}

/// Types whose names have all these parts.
fn types_like(types: &Types, wanted: &[Part]) -> TypeSet {
    TypeSet::of(types, |name| {
        let known = parts(name).into_iter().flat_map(|(words, whole)| words.into_iter().chain([whole]));
        let known: Vec<String> = known.collect();
        wanted.iter().all(|part| {
            let met = |wanted: &str| {
                known.iter().any(|word| word == wanted || (part.open && word.starts_with(wanted)))
            };
            met(&part.whole) || part.words.iter().all(|word| met(word))
        })
    })
}
