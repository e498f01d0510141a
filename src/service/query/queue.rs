//! The queue in the order in which its batches would run now.

use std::collections::{HashSet, VecDeque};

use super::super::engine::Engine;
use super::super::queue::{Standing, is_parked};
use super::super::views::{QueueDepth, QueueItem, QueueView};
use super::waits::{self, Fronts};
use super::{Part, cursor};
use crate::domain::ids::{BatchId, SourceId};
use crate::domain::stamp::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{BatchRecord, View};

/// Positions that are told. What lies behind them is listed by `batches`.
pub const DEEPEST: usize = 2_000;
/// Batches of a source that are read ahead.
const AHEAD: usize = 64;
/// The list's name, for cursors.
const NAME: &str = "queue";

/// The unfinished batches of a source, those ahead that are not placed yet.
struct Line {
    source: SourceId,
    /// 0: the first one runs; 1: it may run, or waits for those before it; 2: the source waits.
    class: u8,
    /// Batches of it that an operator put ahead, and that are not placed yet:
    /// what is older in their source jumps with them.
    prioritised: HashSet<BatchId>,
    score: f64,
    ahead: VecDeque<BatchRecord>,
    /// Stamp of the last one that was read.
    read: Option<Stamp>,
}

impl Line {
    /// What its first batch is compared by: the smallest goes first.
    fn rank(&self) -> (u8, bool, std::cmp::Reverse<Total>, &SourceId) {
        (self.class, self.prioritised.is_empty(), std::cmp::Reverse(Total(self.score)), &self.source)
    }
}

/// A score, in the total order of numbers.
#[derive(Clone, Copy)]
struct Total(f64);

impl PartialEq for Total {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Total {}

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Total {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Engine {
    /// The queue, a part at a time, down to position `DEEPEST`.
    pub fn queue(&self, part: &Part) -> Result<QueueView> {
        let limit = part.limit()?;
        let skip = match part.after(NAME)? {
            None => 0,
            Some(key) => {
                let bytes =
                    key.try_into().map_err(|_| Error::new(ErrorKind::Usage, "`cursor` is damaged"))?;
                usize::try_from(u64::from_be_bytes(bytes)).unwrap_or(DEEPEST)
            }
        };
        self.store.read(|view| {
            let mut fronts = Fronts::new(self, view);
            let depth = self.depth(view, &mut fronts)?;
            let total = depth.iter().map(|depth| depth.waiting + depth.running).sum();
            let end = skip.saturating_add(limit).min(DEEPEST);
            let (items, more) = self.places(view, &mut fronts, skip, end)?;
            let next = (more && end < DEEPEST).then(|| cursor::encode(NAME, &(end as u64).to_be_bytes()));
            Ok(QueueView { items, next_cursor: next, depth, total })
        })
    }

    /// How much of each source has not ended.
    pub(super) fn depth(&self, view: &View<'_>, fronts: &mut Fronts<'_>) -> Result<Vec<QueueDepth>> {
        let mut depths = Vec::new();
        for source in view.sources_with_unfinished()? {
            let unfinished = self.counts(view, Some(&source))?.unfinished();
            let front = fronts.of(&source)?;
            let held = front.hold.is_some() || front.oldest.as_ref().is_some_and(is_parked);
            let running = u64::from(front.running().is_some());
            let waiting = unfinished.saturating_sub(running);
            depths.push(QueueDepth { source_id: source, waiting, running, held });
        }
        Ok(depths)
    }

    /// The batches at positions `skip + 1` to `end`, and whether there are more.
    pub(super) fn places(
        &self,
        view: &View<'_>,
        fronts: &mut Fronts<'_>,
        skip: usize,
        end: usize,
    ) -> Result<(Vec<QueueItem>, bool)> {
        let mut lines = Vec::new();
        for source in view.sources_with_unfinished()? {
            let front = fronts.of(&source)?.clone();
            let class = match front.turn.as_ref().map(|turn| &turn.standing) {
                Some(Standing::InWork) => 0,
                Some(Standing::Ready) => 1,
                Some(
                    Standing::Until(_)
                    | Standing::Waits(_)
                    | Standing::Held(_)
                    | Standing::Parked(_)
                    | Standing::Behind(_),
                )
                | None => 2,
            };
            let prioritised = view.prioritised_of(&source)?.into_iter().collect();
            let (ahead, read) = (VecDeque::new(), None);
            let mut line = Line { source, class, prioritised, score: 0.0, ahead, read };
            self.refill(view, &mut line)?;
            self.promote(&mut line, front.next());
            self.rate(&mut line, fronts);
            lines.push(line);
        }
        let mut items = Vec::new();
        let mut position = 0;
        while position < end {
            // Sources are few against batches; the best is found by looking.
            let best = (0..lines.len()).min_by(|a, b| lines[*a].rank().cmp(&lines[*b].rank()));
            let Some(best) = best else { return Ok((items, false)) };
            let line = &mut lines[best];
            let Some(record) = line.ahead.pop_front() else {
                lines.swap_remove(best);
                continue;
            };
            position += 1;
            line.prioritised.remove(&record.batch_id);
            if position > skip {
                items.push(self.queue_item(fronts, &record, position as u64)?);
            }
            if line.ahead.is_empty() {
                self.refill(view, line)?;
            }
            // What follows a running or waiting batch of its source waits for it.
            line.class = line.class.max(1);
            self.rate(line, fronts);
        }
        Ok((items, lines.iter().any(|line| !line.ahead.is_empty())))
    }

    /// Reads the next batches of a line.
    fn refill(&self, view: &View<'_>, line: &mut Line) -> Result<()> {
        line.ahead = view.unfinished_page(&line.source, line.read.as_ref(), AHEAD)?.into();
        if let Some(last) = line.ahead.back() {
            line.read = Some(last.stamp.clone());
        }
        Ok(())
    }

    /// Puts the batch that may run before the parked ones that it overtakes.
    fn promote(&self, line: &mut Line, next: Option<&BatchId>) {
        if let Some(at) = line.ahead.iter().position(|batch| Some(&batch.batch_id) == next)
            && let Some(batch) = line.ahead.remove(at)
        {
            line.ahead.push_front(batch);
        }
    }

    fn rate(&self, line: &mut Line, fronts: &Fronts<'_>) {
        if let Some(first) = line.ahead.front() {
            line.score = waits::priority(self, first, fronts.now()).score;
        }
    }

    fn queue_item(&self, fronts: &mut Fronts<'_>, record: &BatchRecord, position: u64) -> Result<QueueItem> {
        let now = fronts.now();
        let progress = self.progress_of(&record.batch_id);
        Ok(QueueItem {
            position,
            batch_id: record.batch_id.clone(),
            source_id: record.batch_id.source().clone(),
            status: record.status,
            source_timestamp: record.stamp.source_timestamp,
            accepted_at: record.accepted_at,
            priority: waits::priority(self, record, now),
            prioritised: waits::prioritised(record),
            hold: waits::hold(record),
            waits: fronts.wait(record)?,
            eta: progress.as_ref().and_then(|progress| waits::eta(progress, now)),
            progress,
        })
    }
}
