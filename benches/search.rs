//! Times search: building the index of a published catalogue, queries of
//! several kinds, and operations with and without the index following behind.
//!
//! Usage: `cargo bench --bench search -- CATALOGUE WORK [ROWS]`, with the file
//! of a catalogue, which is copied, and a folder to work in. Rows: `build`,
//! `find`, `publish`; all without.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate::clock::{Clock, SystemClock};
use tidegate::domain::change::Action;
use tidegate::domain::ids::{BatchId, OperationNo, PlanId, SourceId};
use tidegate::domain::key::{EntityKey, Key};
use tidegate::targets::embedded::{EmbeddedCatalogue, EmbeddedOptions, FindQuery, SearchQuery};
use tidegate::targets::{Operation, Target, TargetChange};

/// Changes of an operation, as a batch of a large source has them.
const CHANGES: usize = 11_000;
/// Operations between two looks at the clock.
const IN_A_ROW: usize = 5;
const PAIRS: usize = 12;
const QUERIES: usize = 400;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

struct Bench {
    clock: Arc<SystemClock>,
    catalogue: Arc<EmbeddedCatalogue>,
    file: PathBuf,
    operations: u32,
    /// Names all over the catalogue.
    keys: Vec<EntityKey>,
}

fn main() -> Outcome<()> {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [from, work, rows @ ..] = &arguments[..] else {
        println!("usage: cargo bench --bench search -- CATALOGUE WORK [build|find|publish …]");
        return Ok(());
    };
    let wanted = |row: &str| rows.is_empty() || rows.iter().any(|wanted| wanted == row);
    std::fs::create_dir_all(work)?;
    let file = Path::new(work).join("catalogue.redb");
    let index = Path::new(work).join("catalogue.redb.search");
    std::fs::copy(from, &file)?;
    if wanted("build") && index.exists() {
        std::fs::remove_dir_all(&index)?;
    }
    let clock = Arc::new(SystemClock::default());
    let as_clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let catalogue = Arc::new(EmbeddedCatalogue::open(&file, EmbeddedOptions::default(), as_clock)?);
    let mut bench = Bench { clock, catalogue, file, operations: 0, keys: Vec::new() };
    let took = bench.time(|bench| Ok(bench.catalogue.index_now()?))?;
    if wanted("build") {
        bench.build(took, &index)?;
    }
    bench.sample()?;
    if wanted("find") {
        bench.find()?;
    }
    if wanted("publish") {
        bench.publish()?;
    }
    Ok(())
}

impl Bench {
    fn time(&mut self, work: impl FnOnce(&mut Self) -> Outcome<()>) -> Outcome<f64> {
        let started = self.clock.monotonic();
        work(self)?;
        Ok((self.clock.monotonic() - started).as_secs_f64())
    }

    fn build(&self, took: f64, index: &Path) -> Outcome<()> {
        let total = self.catalogue.find(&FindQuery::default())?.total;
        let mut bytes = 0;
        for entry in std::fs::read_dir(index)? {
            bytes += entry?.metadata()?.len();
        }
        let of = std::fs::metadata(&self.file)?.len();
        println!(
            "build: {total} entities in {took:.1} s, {:.0} a second; {} MB, {:.2} times the catalogue",
            total as f64 / took,
            bytes >> 20,
            bytes as f64 / of as f64
        );
        Ok(())
    }

    /// Takes every so-manieth entity.
    fn sample(&mut self) -> Outcome<()> {
        let total = self.catalogue.find(&FindQuery::default())?.total as usize;
        let mut query = SearchQuery { limit: 50_000, ..SearchQuery::default() };
        let step = (total / (CHANGES * 2)).max(1);
        let mut seen = 0;
        loop {
            let page = self.catalogue.search(&query)?;
            for hit in &page.items {
                seen += 1;
                if seen % step == 0 {
                    self.keys.push(hit.key.clone());
                }
            }
            match page.items.last().filter(|_| page.more) {
                Some(last) => query.after = Some(last.key.clone()),
                None => return Ok(()),
            }
        }
    }

    fn find(&mut self) -> Outcome<()> {
        let words = |key: &EntityKey| -> Vec<String> {
            key.qualified_name.split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect()
        };
        let pick = |n: usize| &self.keys[n * 7919 % self.keys.len()];
        let last = |n: usize| words(pick(n)).pop().unwrap_or_default();
        let kinds: [(&str, &dyn Fn(usize) -> String); 8] = [
            ("whole name", &|n| pick(n).qualified_name.clone()),
            ("two words", &|n| words(pick(n)).into_iter().rev().take(2).collect::<Vec<_>>().join(" ")),
            ("one word", &|n| last(n)),
            ("three letters", &|n| last(n).chars().take(3).collect()),
            ("one letter", &|n| last(n).chars().take(1).collect()),
            ("word and type", &|n| format!("type:{} {}", pick(n).type_name, last(n))),
            ("typo", &|n| {
                let mut word: Vec<char> = words(pick(n)).swap_remove(0).chars().collect();
                let middle = word.len() / 2;
                word.insert(middle, 'q');
                format!("{} {}", word.into_iter().collect::<String>(), last(n))
            }),
            ("everything", &|_| String::new()),
        ];
        for (kind, text) in kinds {
            let mut times = Vec::new();
            let mut found = 0;
            for n in 0..QUERIES {
                let query = FindQuery { text: text(n), ..FindQuery::default() };
                let started = self.clock.monotonic();
                found += self.catalogue.find(&query)?.total;
                times.push((self.clock.monotonic() - started).as_secs_f64() * 1e3);
            }
            times.sort_by(f64::total_cmp);
            let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
            println!(
                "find, {kind}: p50 {:.1} ms, p99 {:.1} ms; {} found",
                at(0.5),
                at(0.99),
                found / QUERIES as u64
            );
        }
        Ok(())
    }

    /// Operations in a row, one after the other.
    fn operations(&mut self) -> Outcome<()> {
        for _ in 0..IN_A_ROW {
            self.operations += 1;
            let no = self.operations;
            let skip = no as usize % 2;
            let changes = self.keys.iter().skip(skip).step_by(2).take(CHANGES).map(|key| TargetChange {
                action: Action::Update,
                key: Key::Entity(key.clone()),
                set: format!(r#"{{"description":"Run number {no} has changed this"}}"#).into_bytes(),
                unset: Vec::new(),
                replace: false,
            });
            let operation = Operation {
                plan_id: PlanId::new(format!("bench-{}", std::process::id()))?,
                no: OperationNo(no),
                part: None,
                source_id: SourceId::new("bench")?,
                batch_id: "bench:20261124T000000Z_run".parse::<BatchId>()?,
                at: self.clock.now(),
                changes: changes.collect(),
            };
            self.catalogue.apply(&operation)?;
        }
        Ok(())
    }

    fn catch_up(&self) -> Outcome<()> {
        while self.catalogue.find(&FindQuery::default())?.behind > 0 {
            self.clock.sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn publish(&mut self) -> Outcome<()> {
        self.operations()?;
        let (mut ratios, mut without, mut behind) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            self.catalogue.index_now()?;
            let alone = self.time(Self::operations)?;
            let following = self.catalogue.index_behind()?;
            self.catch_up()?;
            let both = self.time(Self::operations)?;
            let seen = self.time(|bench| bench.catch_up())?;
            following.stop();
            ratios.push(both / alone);
            without.push(alone / IN_A_ROW as f64 * 1e3);
            behind.push(seen);
        }
        let median = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        println!(
            "publish: {:.3} times as long with the index following (of {PAIRS}: {:.3} to {:.3}); {:.0} ms an \
             operation of {CHANGES} without; the index has seen all {:.1} s after the last of {IN_A_ROW}",
            median(&mut ratios),
            ratios[0],
            ratios[ratios.len() - 1],
            median(&mut without),
            median(&mut behind)
        );
        Ok(())
    }
}
