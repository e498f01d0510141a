//! Keys that an operator has skipped: what a source newly asserts of them is
//! not published, absence included. Their published value stays.

use super::glob::Glob;
use super::key::Key;

/// Keys of one type by their names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SkipRule {
    /// The type, as it is: of an entity or of a relationship.
    pub type_name: String,
    /// Qualified names; of a relationship that of its `from` end.
    pub name: Glob,
}

/// What is skipped of a source now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skips(Vec<SkipRule>);

impl Skips {
    /// Of these rules; their order does not matter.
    pub fn new(mut rules: Vec<SkipRule>) -> Self {
        rules.sort();
        Self(rules)
    }

    /// Whether nothing is skipped.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a key is skipped.
    pub fn has(&self, key: &Key) -> bool {
        self.has_parts(key.type_name(), key.scope_name())
    }

    /// Whether a key of this type and this (`from`) name is skipped.
    #[inline]
    pub fn has_parts(&self, type_name: &str, name: &str) -> bool {
        self.0.iter().any(|rule| rule.type_name == type_name && rule.name.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_skipped_by_its_own_type_and_a_name_that_matches() {
        let rule =
            |type_name: &str, name: &str| SkipRule { type_name: type_name.into(), name: Glob::new(name) };
        let skips = Skips::new(vec![rule("table", "sales.*"), rule("has", "a")]);
        assert!(skips.has_parts("table", "sales.orders") && skips.has_parts("has", "a"));
        assert!(!skips.has_parts("column", "sales.orders") && !skips.has_parts("table", "a"));
        assert!(!Skips::default().has_parts("table", "a"));
        assert_eq!(
            Skips::new(vec![rule("b", "x"), rule("a", "x")]),
            Skips::new(vec![rule("a", "x"), rule("b", "x")])
        );
    }
}
