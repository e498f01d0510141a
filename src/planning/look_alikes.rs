//! Keys that differ from one another only by case, Unicode form or outer
//! blanks: usually one thing under two names. Their types may do so too.
//!
//! Those that a plan creates or deletes are compared with each other, and with
//! what is published by the spellings that are likely: a snapshot knows its
//! keys by their hashes alone.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use unicode_normalization::UnicodeNormalization;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::halt::Halt;
use super::types::Types;
use super::view::{Reader, TargetView};
use crate::domain::key::KeyHash;
use crate::error::Result;

/// Names that are compared with each other. Of more only a part is looked at,
/// chosen by hash, so that it is the same part whoever read which file.
const COMPARED: usize = 100_000;
/// Their bytes.
const COMPARED_BYTES: usize = 32 << 20;
/// Names that a thread keeps to itself.
const HELD: usize = 4_096;
/// Their bytes.
const HELD_BYTES: usize = 1 << 20;
/// Spellings that are looked up among what is published.
const LOOKED_UP: usize = 4_096;
/// Below so many look-ups one thread does as well.
const FEW: usize = 256;
/// Warnings of one plan.
const WARNINGS: usize = 10;
/// Names that a warning tells.
const TOLD: usize = 3;
/// Characters that it tells of each, at its beginning and at its end.
const SHOWN: usize = 50;

/// What look-alikes differ in.
const IN_WHAT: &str = "case, Unicode form or outer blanks";

/// Names that come or go, by what they have in common with their look-alikes.
#[derive(Default)]
pub struct LookAlikes {
    /// Hashes that are looked at have so many zero bits at their end.
    zeros: u32,
    names: BTreeSet<(u64, u32, Box<str>)>,
    /// Bytes of the names.
    bytes: usize,
    plain: String,
}

/// Names of one type that look alike.
struct Group {
    type_id: u32,
    names: Vec<Box<str>>,
    /// Other spellings that are published.
    published: Vec<String>,
}

/// A name without what look-alikes differ in.
fn plain(name: &str, out: &mut String) {
    out.clear();
    if name.is_ascii() {
        out.push_str(name.trim());
        out.make_ascii_lowercase();
    } else {
        // By way of capitals, for some small letters have several (`ß`, `ς`).
        out.push_str(&name.trim().nfc().collect::<String>().to_uppercase().to_lowercase());
    }
}

impl LookAlikes {
    /// Looks at the name of an entity, and at the number and name of its type.
    pub fn push(&mut self, type_id: u32, type_name: &str, name: &str) {
        plain(name, &mut self.plain);
        let hash = xxh3_64_with_seed(self.plain.as_bytes(), xxh3_64(type_name.as_bytes()));
        self.take((hash, type_id, name.into()));
        self.shrink();
    }

    fn take(&mut self, name: (u64, u32, Box<str>)) {
        let len = name.2.len();
        if name.0.trailing_zeros() >= self.zeros && self.names.insert(name) {
            self.bytes += len;
        }
    }

    /// Takes over what another one has.
    pub fn absorb(&mut self, other: Self) {
        if other.zeros > self.zeros {
            self.raise(other.zeros);
        }
        other.names.into_iter().for_each(|name| self.take(name));
        self.shrink();
    }

    /// Whether there are so many that a thread had better hand them over.
    pub fn is_full(&self) -> bool {
        self.names.len() >= HELD || self.bytes >= HELD_BYTES
    }

    fn raise(&mut self, zeros: u32) {
        self.zeros = zeros;
        self.names.retain(|(hash, ..)| hash.trailing_zeros() >= zeros);
        self.bytes = self.names.iter().map(|(.., name)| name.len()).sum();
    }

    fn shrink(&mut self) {
        while self.names.len() > COMPARED || self.bytes > COMPARED_BYTES {
            self.raise(self.zeros + 1);
        }
    }

    /// Tells of those that look like another, or like one that is published,
    /// which is looked up on a thread for each reader.
    pub fn warnings(
        self,
        types: &Types,
        view: &TargetView,
        readers: &mut [Reader],
        halt: Halt<'_>,
    ) -> Result<Vec<String>> {
        let mut groups: Vec<Group> = Vec::new();
        let mut last = None;
        for (hash, type_id, name) in self.names {
            match groups.last_mut().filter(|_| last == Some((hash, type_id))) {
                Some(group) => group.names.push(name),
                None => groups.push(Group { type_id, names: vec![name], published: Vec::new() }),
            }
            last = Some((hash, type_id));
        }
        let is_first = view.own.is_none() && view.others.is_empty();
        let looked_up = match is_first {
            true => LookedUp { all: true, each: true },
            false => look_up(&mut groups, types, view, readers, halt)?,
        };
        let (mut warnings, mut more) = (BTreeSet::new(), 0);
        for Group { type_id, names, published } in groups {
            let names: BTreeSet<String> = names.into_iter().map(String::from).chain(published).collect();
            if names.len() > 1 {
                let type_name = types.name(type_id);
                let names = told(&names);
                warnings.insert(format!("{type_name} {names} differ only by {IN_WHAT}"));
                if warnings.len() > WARNINGS {
                    warnings.pop_last();
                    more += 1;
                }
            }
        }
        let mut warnings = Vec::from_iter(warnings);
        warnings.extend(unlisted(more, self.zeros == 0 && looked_up.all));
        if self.zeros > 0 || !looked_up.each {
            warnings.push(format!(
                "so many names come or go that only a part of them was compared with others that differ only by {IN_WHAT}"
            ));
        }
        Ok(warnings)
    }
}

/// Names as a warning tells them: a few, and of a long one its beginning and end.
fn told(names: &BTreeSet<String>) -> String {
    let short = |name: &String| {
        let count = name.chars().count();
        if count <= 2 * SHOWN {
            return format!("{name:?}");
        }
        let from: String = name.chars().take(SHOWN).collect();
        let to: String = name.chars().skip(count - SHOWN).collect();
        format!("{:?}", format!("{from}…{to}"))
    };
    let more = names.len().saturating_sub(TOLD);
    let more = (more > 0).then(|| format!("{more} more"));
    names.iter().take(TOLD).map(short).chain(more).collect::<Vec<_>>().join(" and ")
}

/// The warning that stands for those that are not listed. `all`: every name was
/// compared and every spelling looked up, so that their number is known.
fn unlisted(more: usize, all: bool) -> Option<String> {
    let least = if all { "" } else { "at least " };
    let groups = if more == 1 { "group of names differs" } else { "groups of names differ" };
    (more > 0).then(|| format!("and {least}{more} more {groups} only by {IN_WHAT}"))
}

/// Tells of types that come with a plan, and look like another one that comes too or
/// was there before. `before` and `after`: how many live keys of each type there are.
pub fn warn_of_types(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<String> {
    let is_live = |(name, live): (&String, &u64)| (*live > 0).then(|| name.clone());
    let before: BTreeSet<String> = before.iter().filter_map(is_live).collect();
    let after: BTreeSet<String> = after.iter().filter_map(is_live).collect();
    let mut alike: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut form = String::new();
    for name in before.union(&after) {
        plain(name, &mut form);
        alike.entry(form.clone()).or_default().insert(name.clone());
    }
    let comes = |names: &BTreeSet<String>| names.len() > 1 && names.iter().any(|name| !before.contains(name));
    let found = alike.into_values().filter(comes).take(WARNINGS);
    found.map(|names| format!("the types {} differ only by {IN_WHAT}", told(&names))).collect()
}

/// Adds what is published under other spellings: the likeliest of every name
/// first, then the next ones, for as many as are looked up.
fn look_up(
    groups: &mut [Group],
    types: &Types,
    view: &TargetView,
    readers: &mut [Reader],
    halt: Halt<'_>,
) -> Result<LookedUp> {
    let mut left = LOOKED_UP;
    let mut looked = vec![false; groups.iter().map(|group| group.names.len()).sum()];
    let mut pace = halt.pace();
    // Names, and spellings that were looked up, by hash, each in its group.
    let mark = |at: usize, name: &str| xxh3_64_with_seed(name.as_bytes(), at as u64);
    let names =
        groups.iter().enumerate().flat_map(|(at, group)| group.names.iter().map(move |name| (at, name)));
    let mut known: HashSet<u64> = names.map(|(at, name)| mark(at, name)).collect();
    for round in 0.. {
        let (mut wanted, mut any, mut number) = (Vec::new(), false, 0);
        'names: for (at, Group { type_id, names, .. }) in groups.iter().enumerate() {
            for name in names {
                pace.tick()?;
                if left == 0 {
                    break 'names;
                }
                let looked = looked.get_mut(number);
                number += 1;
                let other = match spelling(name, round) {
                    Spelling::Other(other) => other,
                    Spelling::Known => {
                        any = true;
                        continue;
                    }
                    Spelling::NoMore => {
                        looked.into_iter().for_each(|looked| *looked = true);
                        continue;
                    }
                };
                if let Some(looked) = looked {
                    *looked = true;
                }
                any = true;
                // Two names of a group may be spelled alike otherwise.
                if !known.insert(mark(at, &other)) {
                    continue;
                }
                left -= 1;
                let key = KeyHash::of_entity(&types.name(*type_id), &other);
                wanted.push(Wanted { at, other, key });
            }
        }
        for Wanted { at, other, .. } in published_of(wanted, view, readers)? {
            groups[at].published.push(other);
        }
        if !any || left == 0 {
            return Ok(LookedUp { all: !any, each: !any || looked.iter().all(|looked| *looked) });
        }
    }
    Ok(LookedUp { all: true, each: true })
}

/// How much was looked up of what may be published.
struct LookedUp {
    /// Every spelling of every name.
    all: bool,
    /// The likeliest spelling of every name.
    each: bool,
}

/// Another spelling of a name of a group, to be looked up.
struct Wanted {
    at: usize,
    other: String,
    key: KeyHash,
}

/// Those that are published, looked up on a thread for each reader.
fn published_of(mut wanted: Vec<Wanted>, view: &TargetView, readers: &mut [Reader]) -> Result<Vec<Wanted>> {
    let share = wanted.len().div_ceil(readers.len().max(1)).max(FEW);
    let look = |wanted: &[Wanted], reader: &mut Reader| -> Result<Vec<bool>> {
        let there = |wanted: &Wanted| {
            Ok(view.own_live(wanted.key, reader)?.is_some() || view.others_have(wanted.key, reader)?)
        };
        wanted.iter().map(there).collect()
    };
    let there: Vec<Result<Vec<bool>>> = std::thread::scope(|scope| {
        let mut shares = wanted.chunks(share).zip(readers);
        let first = shares.next();
        let others: Vec<_> = shares.map(|(share, reader)| scope.spawn(move || look(share, reader))).collect();
        let first = first.map(|(share, reader)| look(share, reader));
        let others = others.into_iter().map(|thread| match thread.join() {
            Ok(there) => there,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        first.into_iter().chain(others).collect()
    });
    let there: Vec<bool> = there.into_iter().collect::<Result<Vec<_>>>()?.concat();
    let mut there = there.into_iter();
    wanted.retain(|_| there.next() == Some(true));
    Ok(wanted)
}

/// A way to spell a name.
#[derive(Debug, PartialEq)]
enum Spelling {
    /// Another one than the name's own.
    Other(String),
    /// The name's own, or one that came before.
    Known,
    /// All were told.
    NoMore,
}

/// Parts of a name, between dots, that are spelled otherwise.
const PARTS: usize = 8;

/// How one thing may be spelled otherwise, the `n`th way, likely ones first: the
/// name in small, capital or title letters; with an outer blank or without; the
/// same for one of its parts; all that in either Unicode form. Made one at a
/// time: a plan with many names looks only the first ways up.
fn spelling(name: &str, n: usize) -> Spelling {
    let is_ascii = name.is_ascii();
    let (way, form) = if is_ascii { (n, 0) } else { (n / 2, n % 2) };
    let trimmed = name.trim();
    let other = match way {
        0..3 => in_case(trimmed, way),
        3 => Some(trimmed.to_owned()),
        4 => Some(format!(" {trimmed}")),
        5 => Some(format!("{trimmed} ")),
        _ => {
            let (place, case) = ((way - 6) / 3, (way - 6) % 3);
            let mut parts = trimmed.split('.');
            // The only part is the whole.
            let is_one = parts.clone().nth(1).is_none();
            let Some(part) = parts.nth(place).filter(|_| place < PARTS && !is_one) else {
                return Spelling::NoMore;
            };
            let at = trimmed.split('.').take(place).map(|part| part.len() + 1).sum::<usize>();
            let end = at + part.len();
            in_case(part, case).map(|part| [&trimmed[..at], &part, &trimmed[end..]].concat())
        }
    };
    let other = match (other, is_ascii, form) {
        (Some(other), true, _) => Some(other),
        (Some(other), false, 0) => Some(other.nfc().collect()),
        (Some(other), false, _) => Some(other.nfd().collect()),
        (None, ..) => None,
    };
    other.filter(|other| other != name).map_or(Spelling::Known, Spelling::Other)
}

/// A text in small, capital or title letters; `None` for what one before it is.
fn in_case(text: &str, case: usize) -> Option<String> {
    match case {
        0 => Some(text.to_lowercase()),
        1 => Some(text.to_uppercase()),
        _ => Some(title(text)).filter(|title| *title != text.to_uppercase()),
    }
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
            ("stra\u{df}e", "STRASSE"),
        ] {
            assert!(spellings(name).iter().any(|text| text == other), "{name:?} {other:?}");
            let plain = |name| {
                let mut out = String::new();
                plain(name, &mut out);
                out
            };
            assert_eq!(plain(name), plain(other));
        }
        let mut all = spellings("ab.c d");
        let many = all.len();
        assert!(!all.iter().any(|text| text == "ab.c d"), "{all:?}");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), many, "{all:?}");
        assert_eq!(spellings("ab"), ["AB", "Ab", " ab", "ab "]);
        assert_eq!(spellings("x.y"), ["X.Y", " x.y", "x.y ", "X.y", "x.Y"]);
    }

    fn spellings(name: &str) -> Vec<String> {
        let ways = (0..).map(|n| spelling(name, n)).take_while(|way| *way != Spelling::NoMore);
        ways.filter_map(|way| match way {
            Spelling::Other(other) => Some(other),
            Spelling::Known | Spelling::NoMore => None,
        })
        .collect()
    }

    #[test]
    fn a_type_that_comes_and_looks_like_another_is_told() {
        let counts = |counts: &[(&str, u64)]| {
            counts.iter().map(|(name, live)| ((*name).to_owned(), *live)).collect::<BTreeMap<_, _>>()
        };
        let alike = ["the types \"Table\" and \"table\" differ only by case, Unicode form or outer blanks"];
        for (before, after, told) in [
            (&[("table", 3)][..], &[("table", 3), ("Table", 1)][..], &alike[..]),
            (&[], &[("Table", 1), ("table", 1), ("view", 1)], &alike),
            // Another source has it, or the last of it goes: nothing comes.
            (&[("table", 3), ("Table", 1)], &[("table", 3), ("Table", 2)], &[]),
            (&[("table", 3)], &[("table", 3), ("Table", 0)], &[]),
        ] {
            assert_eq!(warn_of_types(&counts(before), &counts(after)), told, "{before:?} {after:?}");
        }
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

    #[test]
    fn long_names_are_counted_by_their_bytes() {
        let of = |numbers: std::ops::Range<usize>| {
            let mut some = LookAlikes::default();
            numbers.for_each(|n| some.push(0, "t", &format!("{n}{}", "x".repeat(16_000))));
            some
        };
        let (all, mut joined) = (of(0..5_000), of(2_100..5_000));
        joined.absorb(of(0..2_500));
        let bytes: usize = all.names.iter().map(|(.., name)| name.len()).sum();
        assert!(bytes == all.bytes && bytes <= COMPARED_BYTES && bytes > COMPARED_BYTES / 4, "{bytes}");
        assert!(joined.names == all.names && joined.bytes == all.bytes);
        assert!(of(0..70).is_full());
    }
}
