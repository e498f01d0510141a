//! What a full batch claims to have read in full.

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
        let wider = |ours: &[Glob], theirs: &[Glob]| {
            ours.iter().any(Glob::is_everything) || theirs.iter().all(|glob| ours.contains(glob))
        };
        wider(&self.types, &other.types)
            && wider(&self.names, &other.names)
            && self.except.iter().all(|glob| other.except.contains(glob))
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_relationship_is_in_scope_by_its_own_type_and_its_from_end() {
        let scope = scope(&["has_*"], &["a.*"], &["a.x"]);
        assert!(scope.contains_parts("has_column", "a.b"));
        assert!(!scope.contains_parts("table", "a.b"));
        assert!(!scope.contains_parts("has_column", "a.x"));
    }
}
