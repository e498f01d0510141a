//! What a person types, understood. Every text is a valid query.
//!
//! Words stand for entities that have all of them; the last one may be only
//! begun. `"several words"` have to follow each other. `owner:ann` asks for a
//! word of one attribute, `name:` for one of the name, `type:` for a type.
//! Everything else separates words.

use super::schema::{MAX_WHOLE, fold_member};
use super::texts::beginning;
use super::words::{self, folded};

/// Bytes of a query that are looked at.
const MAX_QUERY: usize = 1_000;
/// Words of a query that are looked at.
const MAX_WORDS: usize = 16;

/// A run of letters and digits that was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its words, which have to follow each other.
    pub words: Vec<String>,
    /// All of them as one word. (The word itself, if it is one.)
    pub whole: String,
    /// Whether it may be only the beginning.
    pub open: bool,
}

/// What an entity has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clause {
    /// A part.
    Part(Part),
    /// Words that follow each other.
    Phrase(Vec<String>),
    /// A part in one attribute, whose name is folded.
    Member(String, Part),
    /// A type: its folded name, or parts of it.
    Type(String, Vec<Part>),
}

/// A query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// The whole text, folded as whole names are.
    pub whole: String,
    /// What has to be there.
    pub clauses: Vec<Clause>,
}

impl Query {
    /// Understands a text. `known` tells whether there is an attribute of a
    /// name, folded: what looks like one and is none is text like any other.
    pub fn parse<E>(text: &str, known: &mut dyn FnMut(&str) -> Result<bool, E>) -> Result<Self, E> {
        let text = beginning(text.trim(), MAX_QUERY);
        let mut query = Self { whole: folded(text, MAX_WHOLE), clauses: Vec::new() };
        let mut left = MAX_WORDS;
        let mut rest = text;
        while !rest.is_empty() && left > 0 {
            rest = query.clause(rest, &mut left, known)?.trim_start();
        }
        Ok(query)
    }

    /// Its words, if it has nothing but words.
    pub fn plain(&self) -> Option<Vec<String>> {
        let mut plain = Vec::new();
        for clause in &self.clauses {
            match clause {
                Clause::Part(part) => plain.extend(part.words.iter().cloned()),
                Clause::Phrase(_) | Clause::Member(..) | Clause::Type(..) => return None,
            }
        }
        Some(plain).filter(|plain| !plain.is_empty())
    }

    /// Takes one clause from the beginning of a text, which is no white space.
    fn clause<'t, E>(
        &mut self,
        text: &'t str,
        left: &mut usize,
        known: &mut dyn FnMut(&str) -> Result<bool, E>,
    ) -> Result<&'t str, E> {
        if let Some(rest) = text.strip_prefix('"') {
            let (quoted, rest) = rest.split_once('"').unwrap_or((rest, ""));
            let mut words = words::words(quoted);
            words.truncate(*left);
            *left -= words.len();
            if !words.is_empty() {
                self.clauses.push(Clause::Phrase(words));
            }
            return Ok(rest);
        }
        let end = text.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(text.len());
        let (run, rest) = text.split_at(end);
        if let Some((name, value)) = run.split_once(':') {
            let (value, rest) = match rest.strip_prefix('"').filter(|_| value.is_empty()) {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => (value, rest),
            };
            let mut member = String::new();
            fold_member(name, &mut member);
            let is_known = is_member(name) && (["name", "type"].contains(&&*member) || known(&member)?);
            let parts = if is_known { parts(value, rest.is_empty(), left) } else { Vec::new() };
            if !parts.is_empty() {
                if member == "type" {
                    self.clauses.push(Clause::Type(folded(value, MAX_WHOLE), parts));
                } else {
                    self.clauses.extend(parts.into_iter().map(|part| Clause::Member(member.clone(), part)));
                }
                return Ok(rest);
            }
        }
        self.clauses.extend(parts(run, rest.is_empty(), left).into_iter().map(Clause::Part));
        Ok(rest)
    }
}

/// Whether this may be the name of an attribute that a person asks for.
fn is_member(name: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    !name.is_empty() && name.chars().all(allowed)
}

/// The parts of a text; the last one may be only begun if it is `open`.
fn parts(text: &str, open: bool, left: &mut usize) -> Vec<Part> {
    let mut parts = Vec::new();
    for (mut words, whole) in words::parts(text) {
        if *left == 0 {
            break;
        }
        words.truncate(*left);
        *left -= words.len();
        parts.push(Part { words, whole, open: false });
    }
    if let Some(last) = parts.last_mut() {
        last.open = open;
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Query {
        let mut known = |name: &str| Ok::<_, Infallible>(name == "owner" || name == "cost-center");
        Query::parse(text, &mut known).unwrap()
    }

    fn shown(text: &str) -> String {
        let part = |part: &Part| {
            let open = if part.open { "*" } else { "" };
            if part.words.len() == 1 {
                format!("{}{open}", part.whole)
            } else {
                format!("{:?}{open}", part.words)
            }
        };
        let clauses = parse(text).clauses;
        let clauses = clauses.iter().map(|clause| match clause {
            Clause::Part(p) => part(p),
            Clause::Phrase(words) => format!("<{}>", words.join(" ")),
            Clause::Member(name, p) => format!("{name}:{}", part(p)),
            Clause::Type(whole, parts) => {
                format!("type:{whole}={:?}", parts.iter().map(part).collect::<Vec<_>>())
            }
        });
        clauses.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_text_is_understood() {
        for (text, query) in [
            ("orders", "orders*"),
            ("Sales Ord", "sales ord*"),
            ("shop.sales.orders", "shop sales orders*"),
            ("salesOrd x", r#"["sales", "ord"] x*"#),
            (r#""gross margin" q1"#, r#"<gross margin> ["q", "1"]*"#),
            (r#"x "open ended"#, "x <open ended>"),
            ("owner:ann table", "owner:ann table*"),
            ("owner:An", "owner:an*"),
            (r#"Owner:"Ann Lee" x"#, "owner:ann owner:lee x*"),
            ("cost-center:7", "cost-center:7*"),
            ("type:rdbms_table", r#"type:rdbms_table=["rdbms", "table*"]"#),
            ("name:orders", "name:orders*"),
            ("owner:", "owner*"),
            ("s3://bucket/x", r#"["s", "3"] bucket x*"#),
            ("shop:orders", "shop orders*"),
            ("a:b:c", "a b c*"),
            ("AND OR NOT ( ) [ TO } ^2 ~ * ?", "and or not to 2"),
            (r#"" "" """#, ""),
            ("***", ""),
            ("", ""),
        ] {
            assert_eq!(shown(text), query, "{text}");
        }
    }

    #[test]
    fn only_so_much_of_a_query_is_looked_at() {
        let text = "word ".repeat(10_000);
        assert_eq!(parse(&text).clauses.len(), MAX_WORDS);
        assert_eq!(parse(&"aA1".repeat(500)).clauses.len(), 1);
        assert_eq!(parse(&format!("\"{text}\"")).clauses.len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_makes_trouble(text in "\\PC{0,60}|[ a:\".A1é]{0,40}") {
            let query = parse(&text);
            let words: usize = query.clauses.iter().map(|clause| match clause {
                Clause::Part(part) | Clause::Member(_, part) => part.words.len(),
                Clause::Phrase(words) => words.len(),
                Clause::Type(_, parts) => parts.iter().map(|part| part.words.len()).sum(),
            }).sum();
            prop_assert!(words <= MAX_WORDS);
        }
    }
}
