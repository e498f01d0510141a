//! The lines of a batch about one key: a bounded number of them, though a batch
//! may have the same line any number of times.

use std::collections::{BTreeSet, HashSet};

use super::asserted::{Asserted, DELETED, RESTATED, UNCHANGED};

/// Lines of a key that are held whatever they say.
const MOST: usize = 1024;

/// What a line says of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Says {
    /// That it is absent.
    Absent,
    /// The published value.
    Published,
    /// A value, by its hash.
    Value(u64),
}

impl Says {
    /// Of a line.
    pub fn of(line: &Asserted) -> Self {
        match (line.has(DELETED), line.has(UNCHANGED)) {
            (true, _) => Self::Absent,
            (false, true) => Self::Published,
            (false, false) => Self::Value(line.canon),
        }
    }
}

/// The lines of one key, in order. Of very many the first ones are held, the
/// last one, and in between those that have flags that none before has, and one
/// that contradicts the first: all that decides what becomes of the key.
#[derive(Default)]
pub struct KeyLines {
    held: Vec<Asserted>,
    flags: BTreeSet<u16>,
    contradicted: bool,
    /// What those say that are held, once some are not; and whether one of these
    /// says something else.
    said: HashSet<Says>,
    is_cut: bool,
    /// Whether the last line is the first with what it has.
    last_stays: bool,
}

impl KeyLines {
    /// Begins with the next key.
    pub fn clear(&mut self) {
        self.held.clear();
        self.flags.clear();
        self.contradicted = false;
        self.said.clear();
        self.is_cut = false;
        self.last_stays = false;
    }

    /// Takes the next line.
    pub fn push(&mut self, line: Asserted) {
        if self.held.len() < MOST {
            self.held.push(line);
            return;
        }
        if self.held.len() == MOST {
            self.flags.extend(self.held.iter().map(|line| line.flags));
            self.contradicted = self.held.iter().any(|line| Says::of(line) != Says::of(&self.held[0]));
            self.said.extend(self.held.iter().map(Says::of));
            self.last_stays = self.take_down(&line);
            if self.last_stays {
                self.said.insert(Says::of(&line));
            }
            self.held.push(line);
            return;
        }
        let news = self.take_down(&line);
        match self.held.last_mut() {
            Some(last) if !self.last_stays && !line.has(RESTATED) => {
                self.is_cut |= !self.said.contains(&Says::of(last)) && Says::of(last) != Says::of(&line);
                *last = line;
            }
            Some(_) | None => self.held.push(line),
        }
        if news {
            self.said.insert(Says::of(&line));
        }
        self.last_stays = news;
    }

    /// Notes what a line has, and tells whether none before had it.
    fn take_down(&mut self, line: &Asserted) -> bool {
        let contradicts = Says::of(line) != Says::of(&self.held[0]);
        let news = self.flags.insert(line.flags) || contradicts && !self.contradicted;
        self.contradicted |= contradicts;
        news
    }

    /// Whether some line that is not held says what none of those say.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Those that are held.
    pub fn all(&self) -> &[Asserted] {
        &self.held
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::asserted::{AGAIN, BAD, SKIPPED};
    use super::super::format::entry::Loc;
    use super::*;
    use crate::domain::key::KeyHash;

    fn line(n: u32, flags: u16, canon: u64) -> Asserted {
        Asserted {
            key: KeyHash(1),
            raw: canon,
            canon,
            loc: Loc::NONE,
            pos: 0,
            file: 0,
            line: n,
            type_id: 0,
            size: 0,
            depth: 0,
            flags,
            ends: [KeyHash(0); 2],
        }
    }

    /// All that is asked of the lines of a key.
    fn facts(lines: &[Asserted]) -> (bool, bool, bool, bool, u32, u32) {
        (
            lines.iter().all(|line| line.has(AGAIN)),
            lines.iter().any(|line| line.has(SKIPPED)),
            lines.iter().any(|line| line.has(BAD)),
            lines.iter().any(|line| Says::of(line) != Says::of(&lines[0])),
            lines[0].line,
            lines[lines.len() - 1].line,
        )
    }

    proptest! {
        #[test]
        fn what_is_held_decides_as_all_lines_do(
            before in 0usize..2 * MOST,
            rare in prop::collection::vec((0u32..3_000, 0u16..8, 0u64..3), 0..6),
            behind in 1usize..2_000,
        ) {
            let flags = [0, AGAIN, SKIPPED, BAD, DELETED, UNCHANGED, AGAIN | UNCHANGED, AGAIN | BAD];
            let mut all: Vec<Asserted> = (0..before + behind).map(|n| line(n as u32, AGAIN, 7)).collect();
            for (at, kind, canon) in rare {
                let at = at as usize % all.len();
                all[at] = line(at as u32, flags[usize::from(kind)], canon);
            }
            let mut held = KeyLines::default();
            all.iter().for_each(|line| held.push(*line));
            prop_assert_eq!(facts(held.all()), facts(&all));
            prop_assert!(held.all().len() <= MOST + 16);
        }
    }
}
