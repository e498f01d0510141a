//! Ranked search over names and the words of all attributes.

use jiff::Timestamp;
use redb::ReadTransaction;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::index::{OpenIndex, failure};
use super::lock;
use super::matching::NAME_IS;
use super::needs::{TypeSet, typos};
use super::query::{Clause, Query};
use super::rank::{Found, Ranked, Wanted, rank};
use super::rows::{Rows, types};
use super::snippet::matched;
use crate::domain::key::EntityKey;
use crate::error::{Error, ErrorKind, Result};
use crate::panics;
use crate::targets::embedded::EmbeddedCatalogue;
use crate::targets::embedded::tables::entity_key;

/// Most entities of a page.
pub const MAX_PAGE: usize = 500;
/// Most entities before a page.
pub const MAX_OFFSET: usize = 1_000;
/// With fewer exact hits, words with typos are looked for too.
const FEW: u64 = 20;

/// In which order entities are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FindOrder {
    /// What fits best comes first.
    #[default]
    Best,
    /// What changed last comes first.
    Newest,
}

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct FindQuery {
    /// Words, `"phrases"`, `attribute:word`, `name:word`, `type:name`. Every
    /// text is valid; an empty one finds everything.
    pub text: String,
    /// Of one of these types; of any if there are none.
    pub types: Vec<String>,
    /// Whether archived ones are found too.
    pub archived: bool,
    /// In which order.
    pub order: FindOrder,
    /// Behind so many, up to 1,000.
    pub offset: usize,
    /// At most so many, up to 500.
    pub limit: usize,
}

impl Default for FindQuery {
    fn default() -> Self {
        Self {
            text: String::new(),
            types: Vec::new(),
            archived: false,
            order: FindOrder::Best,
            offset: 0,
            limit: 20,
        }
    }
}

/// Part of a text, in bytes of its UTF-8 form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TextRange {
    /// Where it begins.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
}

/// An attribute that the query is met in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Matched {
    /// Its name; `qualified_name` for the entity's own name.
    pub attribute: String,
    /// Its text, or the piece of it around the first match.
    pub text: String,
    /// What is met, in order.
    pub ranges: Vec<TextRange>,
}

/// An entity that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindHit {
    /// Its key.
    pub key: EntityKey,
    /// Whether it is archived.
    pub archived: bool,
    /// When it was changed last.
    pub updated: Timestamp,
    /// How well it fits; to be compared within a page only.
    pub score: u32,
    /// Where, the name first.
    pub matched: Vec<Matched>,
}

/// How many of what was found are of a type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TypeCount {
    /// The type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// How many.
    pub count: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindPage {
    /// The entities. Those that went while the index did not look are left
    /// out, so a page may be short.
    pub items: Vec<FindHit>,
    /// How many there are in all.
    pub total: u64,
    /// How many there are of each type, the most first, whatever types were
    /// asked for.
    pub types: Vec<TypeCount>,
    /// Whether there are more behind this page.
    pub more: bool,
    /// Changes of entities that the index has not seen yet; while it is built,
    /// about how many entities it lacks.
    pub behind: u64,
}

impl EmbeddedCatalogue {
    /// Entities by words of their names and attributes, the best first. What
    /// the index has not seen yet is not found; what is deleted never is.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for an offset that is too large, and when the
    /// catalogue or the index can't be read. Never because of the text.
    pub fn find(&self, query: &FindQuery) -> Result<FindPage> {
        if query.offset > MAX_OFFSET {
            let text = format!("search shows up to {MAX_OFFSET} entities before a page: narrow the query");
            return Err(Error::new(ErrorKind::Usage, text));
        }
        let open = self.opened_to_search()?;
        let Some(open) = open else {
            let tx = self.begin_read()?;
            return Ok(FindPage { behind: self.unseen(&tx, None)?, ..FindPage::default() });
        };
        // The library may panic at a file that is damaged.
        let found = panics::caught(|| Finding { catalogue: self, open: &open, query }.find());
        let found = found.unwrap_or_else(|| Err(Error::internal("the search index met a panic")));
        found.inspect_err(|_| {
            // Whoever follows looks what is wrong with the index.
            *lock(&self.search.open) = None;
            self.search.signal.wake();
        })
    }
}

struct Finding<'a> {
    catalogue: &'a EmbeddedCatalogue,
    open: &'a OpenIndex,
    query: &'a FindQuery,
}

impl Finding<'_> {
    fn find(&self) -> Result<FindPage> {
        let fail = |e| failure(&self.catalogue.search.folder, e);
        let searcher = self.open.searcher();
        // Later than the searcher: what it finds and is gone is left out.
        let tx = self.catalogue.begin_read()?;
        let types = types(self.catalogue, &tx)?;
        let wanted = TypeSet::of(&types, |name| self.query.types.iter().any(|wanted| wanted == name));
        let parsed = Query::parse(&self.query.text, &mut |name| self.open.knows(&searcher, name));
        let parsed = parsed.map_err(fail)?;
        let limit = self.query.limit.clamp(1, MAX_PAGE);
        let mut how = Wanted {
            types: Some(&wanted).filter(|_| !self.query.types.is_empty()),
            archived: self.query.archived,
            newest: self.query.order == FindOrder::Newest,
            typos: false,
            count: self.query.offset + limit,
        };
        let mut ranked = rank(&searcher, &self.open.fields, &types, &parsed, &how).map_err(fail)?;
        // What is called so is no typo.
        let called = ranked.first.first().is_some_and(|best| best.score >= NAME_IS);
        if ranked.total < FEW && !called && may_be_meant(&parsed) {
            how.typos = true;
            ranked = rank(&searcher, &self.open.fields, &types, &parsed, &how).map_err(fail)?;
        }
        let name_of = |number: u32| types.iter().find(|(known, _)| *known == number).map(|(_, name)| name);
        let mut counts: Vec<TypeCount> = ranked
            .types
            .iter()
            .filter_map(|(number, count)| Some((name_of(*number)?, *count)))
            .map(|(name, count)| TypeCount { type_name: name.clone(), count })
            .collect();
        counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.type_name.cmp(&b.type_name)));
        let Ranked { first, total, .. } = ranked;
        let mut items = Vec::new();
        let mut rows = Rows::new(self.catalogue, &tx)?;
        for found in first.iter().skip(self.query.offset) {
            items.extend(self.hit(&mut rows, &types, found, &parsed, how.typos)?);
        }
        Ok(FindPage {
            items,
            total,
            types: counts,
            more: total > how.count as u64,
            behind: self.behind(&tx)?,
        })
    }

    fn behind(&self, tx: &ReadTransaction) -> Result<u64> {
        self.catalogue.unseen(tx, Some(self.open))
    }

    /// What is shown of a document, if its entity is still there.
    fn hit(
        &self,
        rows: &mut Rows<'_>,
        types: &[(u32, String)],
        found: &Found,
        parsed: &Query,
        meant: bool,
    ) -> Result<Option<FindHit>> {
        let Some((name, number)) = found.place.split_last_chunk() else { return Ok(None) };
        let (number, name) = (u32::from_be_bytes(*number), String::from_utf8_lossy(name));
        let Some((_, type_name)) = types.iter().find(|(known, _)| *known == number) else { return Ok(None) };
        let row = rows.get(&entity_key(number, &name))?;
        let Some(row) = row.filter(|row| !row.archived || self.query.archived) else { return Ok(None) };
        let attributes = rows.body(&row)?;
        Ok(Some(FindHit {
            key: EntityKey::new(type_name, &*name),
            archived: row.archived,
            updated: rows.updated(&row)?,
            score: found.score,
            matched: matched(parsed, meant, &name, &attributes),
        }))
    }
}

/// Whether a word of a query is long enough for a typo.
fn may_be_meant(query: &Query) -> bool {
    query.clauses.iter().any(|clause| match clause {
        Clause::Part(part) | Clause::Member(_, part) => typos(&part.whole) > 0,
        Clause::Phrase(_) | Clause::Type(..) => false,
    })
}
