//! Keys that differ from one another only by case, Unicode form or outer
//! blanks: usually one thing under two names.
//!
//! Those that a plan creates or deletes are compared with each other, and with
//! what is published by the spellings that are likely: a snapshot knows its
//! keys by their hashes alone.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use unicode_normalization::UnicodeNormalization;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::types::Types;
use super::view::{Reader, TargetView};
use crate::domain::key::KeyHash;
use crate::error::Result;

/// Names that are compared with each other. Of more only a part is looked at,
/// chosen by hash, so that it is the same part whoever read which file.
const COMPARED: usize = 100_000;
/// Names that a thread keeps to itself.
const HELD: usize = 4_096;
/// Spellings that are looked up among what is published.
const LOOKED_UP: usize = 4_096;
/// Warnings of one plan.
const WARNINGS: usize = 10;

/// Names that come or go, by what they have in common with their look-alikes.
#[derive(Default)]
pub struct LookAlikes {
    /// Hashes that are looked at have so many zero bits at their end.
    zeros: u32,
    names: HashSet<(u64, u32, Box<str>)>,
    plain: String,
}

/// A name without what look-alikes differ in.
fn plain(name: &str, out: &mut String) {
    out.clear();
    if name.is_ascii() {
        out.push_str(name.trim());
        out.make_ascii_lowercase();
    } else {
        out.push_str(&name.trim().nfc().collect::<String>().to_lowercase());
    }
}

impl LookAlikes {
    /// Looks at the name of an entity, and at the number and name of its type.
    pub fn push(&mut self, type_id: u32, type_name: &str, name: &str) {
        plain(name, &mut self.plain);
        let hash = xxh3_64_with_seed(self.plain.as_bytes(), xxh3_64(type_name.as_bytes()));
        if hash.trailing_zeros() >= self.zeros {
            self.names.insert((hash, type_id, name.into()));
            self.shrink();
        }
    }

    /// Takes over what another one has.
    pub fn absorb(&mut self, other: Self) {
        if other.zeros > self.zeros {
            self.raise(other.zeros);
        }
        let zeros = self.zeros;
        self.names.extend(other.names.into_iter().filter(|(hash, ..)| hash.trailing_zeros() >= zeros));
        self.shrink();
    }

    /// Whether there are so many that a thread had better hand them over.
    pub fn is_full(&self) -> bool {
        self.names.len() >= HELD
    }

    fn raise(&mut self, zeros: u32) {
        self.zeros = zeros;
        self.names.retain(|(hash, ..)| hash.trailing_zeros() >= zeros);
    }

    fn shrink(&mut self) {
        while self.names.len() > COMPARED {
            self.raise(self.zeros + 1);
        }
    }

    /// Tells of those that look like another, or like one that is published.
    pub fn warnings(self, types: &Types, view: &TargetView, reader: &mut Reader) -> Result<Vec<String>> {
        let mut groups: BTreeMap<(u64, u32), BTreeSet<String>> = BTreeMap::new();
        for (hash, type_id, name) in self.names {
            groups.entry((hash, type_id)).or_default().insert(name.into());
        }
        let is_first = view.own.is_none() && view.others.is_empty();
        if !is_first {
            look_up(&mut groups, types, view, reader)?;
        }
        let mut found = BTreeSet::new();
        for ((_, type_id), names) in groups {
            if names.len() > 1 {
                let type_name = types.name(type_id);
                let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
                let names = names.join(" and ");
                found
                    .insert(format!("{type_name} {names} differ only by case, Unicode form or outer blanks"));
            }
        }
        Ok(found.into_iter().take(WARNINGS).collect())
    }
}

/// Adds what is published under other spellings: the likeliest of every name
/// first, then the next ones, for as many as are looked up.
fn look_up(
    groups: &mut BTreeMap<(u64, u32), BTreeSet<String>>,
    types: &Types,
    view: &TargetView,
    reader: &mut Reader,
) -> Result<()> {
    let mut left = LOOKED_UP;
    for round in 0.. {
        let mut any = false;
        for ((_, type_id), names) in &mut *groups {
            for name in names.clone() {
                let Some(other) = spellings(&name).into_iter().nth(round) else { continue };
                any = true;
                if names.contains(&other) {
                    continue;
                }
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                let key = KeyHash::of_entity(&types.name(*type_id), &other);
                if view.own_live(key, reader)?.is_some() || view.others_have(key, reader)? {
                    names.insert(other);
                }
            }
        }
        if !any {
            break;
        }
    }
    Ok(())
}

/// How one thing may be spelled otherwise, likely ones first: the name in
/// small, capital or title letters; with an outer blank or without; in the
/// other Unicode form; the same for one of its parts.
fn spellings(name: &str) -> Vec<String> {
    let trimmed = name.trim();
    let cases = |text: &str| [text.to_lowercase(), text.to_uppercase(), title(text)];
    let mut all: Vec<String> = cases(trimmed).into();
    all.extend([trimmed.to_owned(), format!(" {trimmed}"), format!("{trimmed} ")]);
    let parts: Vec<&str> = trimmed.split('.').collect();
    for n in 0..parts.len().min(8) {
        for case in cases(parts[n]) {
            let mut parts = parts.clone();
            parts[n] = &case;
            all.push(parts.join("."));
        }
    }
    if !name.is_ascii() {
        let forms = |text: &String| [text.nfc().collect(), text.nfd().collect::<String>()];
        all = all.iter().flat_map(forms).collect();
    }
    let mut seen = HashSet::from([name.to_owned()]);
    all.retain(|text| seen.insert(text.clone()));
    all
}

/// Each word with a capital letter at its beginning.
fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match inside {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        inside = c.is_alphanumeric();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likely_spellings_are_found() {
        for (name, other) in [
            ("sales.orders", "Sales.Orders"),
            ("A.B", "a.B"),
            ("A.B", "a.b"),
            ("DB.T1", "db.t1"),
            (" db.t2", "db.t2"),
            ("db.t2", " db.t2"),
            ("caf\u{e9}", "cafe\u{301}"),
        ] {
            assert!(spellings(name).iter().any(|text| text == other), "{name:?} {other:?}");
            let plain = |name| {
                let mut out = String::new();
                plain(name, &mut out);
                out
            };
            assert_eq!(plain(name), plain(other));
        }
        assert!(!spellings("a.b").iter().any(|text| text == "a.b"));
    }

    #[test]
    fn of_too_many_the_same_part_is_looked_at_whoever_saw_which() {
        let names: Vec<String> = (0..COMPARED + COMPARED / 2).map(|n| format!("n{n}")).collect();
        let of = |names: &[String]| {
            let mut some = LookAlikes::default();
            names.iter().for_each(|name| some.push(0, "t", name));
            some
        };
        let all = of(&names);
        let (first, second) = names.split_at(COMPARED + 7);
        let mut joined = of(second);
        joined.absorb(of(first));
        assert!(all.names.len() <= COMPARED && all.names.len() > COMPARED / 4);
        assert!(joined.names == all.names);
    }
}
