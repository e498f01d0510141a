//! Figures for the metrics: how things stand in numbers.

use super::super::engine::Engine;
use super::super::looking::{LookCosts, LookKind};
use super::super::queue::is_parked;
use super::waits::Fronts;
use crate::domain::ids::SourceId;
use crate::domain::publish_state::PublishStatus;
use crate::error::Result;
use crate::publishing::send::SendCounts;
use crate::store::{LetterCounts, Totals};

/// How things stand in numbers.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Batches by status.
    pub batches: Vec<(String, u64)>,
    /// Batches that have not ended, by source; the last row may be `other`.
    pub depth: Vec<(String, u64)>,
    /// Skips in force, by source; the last row may be `other`.
    pub skips: Vec<(String, u64)>,
    /// Batches that wait for a person.
    pub parked: u64,
    /// Sources that wait for a person.
    pub held: u64,
    /// Dead letters that wait for repair.
    pub dead_letters: u64,
    /// Their groups.
    pub dead_letter_groups: u64,
    /// What became of dead letters since the data directory was made.
    pub letters: LetterCounts,
    /// Size of the store's file.
    pub store_bytes: u64,
    /// Sizes of the catalogues' files, by target.
    pub catalogues: Vec<(String, u64)>,
    /// Free bytes of the disks, by the first that lies there.
    pub free: Vec<(String, u64)>,
    /// Whether nothing is accepted for want of room.
    pub stopped: bool,
    /// Whether each target can't be used: 1 or 0.
    pub targets_down: Vec<(String, u64)>,
    /// Whether each inbox can't be looked into, by its URL: 1 or 0.
    pub inboxes_lost: Vec<(String, u64)>,
    /// Known issues in force.
    pub known_issues: u64,
    /// Requests to targets, since the process started.
    pub sent: SendCounts,
    /// What looks into inboxes cost since the process started, by what gave rise to them.
    pub looks: Vec<(&'static str, LookCosts)>,
    /// What was done since the data directory was made.
    pub totals: Totals,
}

impl Engine {
    /// Figures, with at most `sources` sources by name.
    pub fn figures(&self, sources: usize) -> Result<Figures> {
        let mut figures = self.store.read(|view| {
            let mut figures = Figures { totals: view.totals()?, ..Figures::default() };
            figures.letters = view.letter_counts()?;
            view.each_letter_group(|_| {
                figures.dead_letter_groups += 1;
                Ok(())
            })?;
            figures.dead_letters = view.count_unsettled_dead_letters()?;
            for status in PublishStatus::ALL {
                figures.batches.push((status.as_str().to_owned(), view.count_batches(None, status)?));
            }
            let known: Vec<SourceId> = view.sources()?;
            let mut fronts = Fronts::new(self, view);
            let (mut others, mut other_skips) = (0, 0);
            let now = self.clock.now();
            for (number, source) in known.iter().enumerate() {
                let waiting = self.counts(view, Some(source))?.unfinished();
                let skips = view.skips(source)?.iter().filter(|skip| skip.is_active(now)).count() as u64;
                if number < sources {
                    figures.depth.push((source.to_string(), waiting));
                    figures.skips.push((source.to_string(), skips));
                } else {
                    others += waiting;
                    other_skips += skips;
                }
                let front = fronts.of(source)?;
                figures.held += u64::from(front.hold.is_some());
                figures.parked += u64::from(front.oldest.as_ref().is_some_and(is_parked));
            }
            if known.len() > sources {
                figures.depth.push(("other".to_owned(), others));
                figures.skips.push(("other".to_owned(), other_skips));
            }
            let down = view.open_breakers()?;
            figures.targets_down = self
                .targets
                .keys()
                .map(|name| (name.to_string(), u64::from(down.iter().any(|(down, _)| down == name))))
                .collect();
            let now = self.clock.now();
            let issues = view.known_issues()?;
            figures.known_issues = issues.iter().filter(|issue| issue.is_in_force(now)).count() as u64;
            Ok(figures)
        })?;
        figures.sent = *self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
        let settings = self.settings();
        figures.store_bytes = size(&settings.data.join("tidegate.redb"));
        figures.catalogues = settings
            .targets
            .iter()
            .filter_map(|(name, target)| Some((name.to_string(), size(target.path()?))))
            .collect();
        let free = self.disks().into_iter().filter_map(|disk| Some((disk.what, disk.free?)));
        figures.free = free.collect();
        let lost = |url| u64::from(self.inboxes.lost(url).is_some());
        figures.inboxes_lost =
            settings.inboxes.iter().map(|inbox| (inbox.url.to_string(), lost(&inbox.url))).collect();
        figures.stopped = self.too_little_room().is_some();
        let costs = self.look_costs();
        for (name, kind) in
            [("poll", LookKind::Poll), ("rescan", LookKind::Rescan), ("notified", LookKind::Notified)]
        {
            figures.looks.push((name, costs.get(&kind).copied().unwrap_or_default()));
        }
        Ok(figures)
    }
}
