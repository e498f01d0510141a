//! What a full batch claims to have read in full.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::glob::Glob;
use super::key::Key;

/// The keys that a full batch speaks for (contract: batch folder v1).
///
/// A key is in scope when its type matches one of `types`, and its qualified
/// name one of `names` and none of `except`; for a relationship its own type
/// and the name of its `from` end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Globs of types.
    pub types: Vec<Glob>,
    /// Globs of qualified names.
    pub names: Vec<Glob>,
    /// Globs of qualified names that are left out after all.
    pub except: Vec<Glob>,
}

impl Default for Scope {
    fn default() -> Self {
        Self { types: vec![Glob::new("*")], names: vec![Glob::new("*")], except: Vec::new() }
    }
}

impl Scope {
    /// Whether every key is in the scope, by its text.
    pub fn is_everything(&self) -> bool {
        self.types.iter().any(Glob::is_everything)
            && self.names.iter().any(Glob::is_everything)
            && self.except.is_empty()
    }

    /// Whether the key is in the scope.
    pub fn contains(&self, key: &Key) -> bool {
        self.contains_parts(key.type_name(), key.scope_name())
    }

    /// Whether a key of this type and this (`from`) name is in the scope.
    pub fn contains_parts(&self, type_name: &str, name: &str) -> bool {
        self.types.iter().any(|glob| glob.matches(type_name))
            && self.names.iter().any(|glob| glob.matches(name))
            && !self.except.iter().any(|glob| glob.matches(name))
    }

    /// Whether this scope is the same as or wider than `other`, decided by the
    /// text alone, in doubt no (`SEMANTICS` 2): each of `other`'s globs is in
    /// this one's list or this one has `*`, and this one's `except` is a
    /// subset of `other`'s.
    pub fn covers(&self, other: &Scope) -> bool {
        let wider =
            |ours: &[Glob], theirs: &[Glob]| ours.iter().any(Glob::is_everything) || are_all_in(theirs, ours);
        wider(&self.types, &other.types)
            && wider(&self.names, &other.names)
            && are_all_in(&self.except, &other.except)
    }
}

/// Whether each of `some` is among `all`, by its text. Lists may be long.
fn are_all_in(some: &[Glob], all: &[Glob]) -> bool {
    let Some((first, others)) = some.split_first() else { return true };
    // Where not, the first tells so nearly always.
    if !all.contains(first) {
        return false;
    }
    let all: HashSet<&Glob> = all.iter().collect();
    others.iter().all(|glob| all.contains(glob))
}

/// A scope that is asked for many keys: what its globs name literally is looked up.
pub struct ScopeIndex {
    everything: bool,
    types: Globs,
    names: Globs,
    except: Globs,
}

impl ScopeIndex {
    /// Of this scope.
    pub fn new(scope: &Scope) -> Self {
        Self {
            everything: scope.is_everything(),
            types: Globs::new(&scope.types),
            names: Globs::new(&scope.names),
            except: Globs::new(&scope.except),
        }
    }

    /// As [`Scope::is_everything`].
    #[inline]
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// As [`Scope::contains`].
    pub fn contains(&self, key: &Key) -> bool {
        self.contains_parts(key.type_name(), key.scope_name())
    }

    /// As [`Scope::contains_parts`].
    pub fn contains_parts(&self, type_name: &str, name: &str) -> bool {
        self.everything
            || self.types.matches(type_name) && self.names.matches(name) && !self.except.matches(name)
    }
}

struct Globs {
    literal: HashSet<String>,
    others: Vec<Glob>,
}

impl Globs {
    fn new(globs: &[Glob]) -> Self {
        let mut out = Self { literal: HashSet::new(), others: Vec::new() };
        for glob in globs {
            match glob.as_literal() {
                Some(text) => drop(out.literal.insert(text)),
                None => out.others.push(glob.clone()),
            }
        }
        out
    }

    fn matches(&self, text: &str) -> bool {
        self.literal.contains(text) || self.others.iter().any(|glob| glob.matches(text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope(types: &[&str], names: &[&str], except: &[&str]) -> Scope {
        let globs = |list: &[&str]| list.iter().map(|g| Glob::new(*g)).collect();
        Scope { types: globs(types), names: globs(names), except: globs(except) }
    }

    #[test]
    fn wider_is_decided_by_the_text() {
        let all = Scope::default();
        let sales = scope(&["*"], &["sales.*"], &[]);
        let tables = scope(&["table"], &["sales.*"], &[]);
        let without = scope(&["*"], &["*"], &["sales.tmp"]);
        assert!(all.covers(&sales) && all.covers(&tables) && all.covers(&without) && all.covers(&all));
        assert!(sales.covers(&tables) && !tables.covers(&sales) && !sales.covers(&all));
        assert!(!without.covers(&all) && !without.covers(&sales) && without.covers(&without));
        // In doubt no: "sales.*" would cover "sales.orders" but is not its text.
        assert!(!sales.covers(&scope(&["*"], &["sales.orders"], &[])));
    }

    fn scopes() -> impl Strategy<Value = Scope> {
        let globs = || prop::collection::vec(r"[ab*?\\]{0,3}".prop_map(Glob::new), 0..5);
        (globs(), globs(), globs()).prop_map(|(types, names, except)| Scope { types, names, except })
    }

    proptest! {
        #[test]
        fn an_index_answers_as_its_scope_does(scope in scopes(), type_name in "[ab*]{0,3}", name in "[ab*]{0,3}") {
            let index = ScopeIndex::new(&scope);
            prop_assert_eq!(index.is_everything(), scope.is_everything());
            prop_assert_eq!(index.contains_parts(&type_name, &name), scope.contains_parts(&type_name, &name));
        }

        #[test]
        fn wider_is_wider_glob_by_glob(ours in scopes(), theirs in scopes()) {
            let within = |some: &[Glob], all: &[Glob]| some.iter().all(|glob| all.contains(glob));
            let wider = |ours: &[Glob], theirs: &[Glob]| {
                ours.contains(&Glob::new("*")) || within(theirs, ours)
            };
            let expected = wider(&ours.types, &theirs.types)
                && wider(&ours.names, &theirs.names)
                && within(&ours.except, &theirs.except);
            prop_assert_eq!(ours.covers(&theirs), expected);
        }
    }

    #[test]
    fn a_relationship_is_in_scope_by_its_own_type_and_its_from_end() {
        let scope = scope(&["has_*"], &["a.*"], &["a.x"]);
        assert!(scope.contains_parts("has_column", "a.b"));
        assert!(!scope.contains_parts("table", "a.b"));
        assert!(!scope.contains_parts("has_column", "a.x"));
    }
}
