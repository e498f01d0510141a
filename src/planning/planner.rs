//! Making a plan: from a batch and the published snapshots to files under the
//! state folder. Nothing at the target changes.

mod folding;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;

use super::absent::{self, Absent, AbsentInput};
use super::candidate::{Candidate, NONE, REFRESH, UNSURE, group};
use super::durable::Durable;
use super::fold::{self, Fold, FoldLimits};
use super::footprint::Footprint;
use super::format::block_file::{BlockWriter, FileKind};
use super::format::entry::Loc;
use super::format::layer::{CacheBudget, Layer, LayerWriter, StampInfo};
use super::format::order::{Order, OrderWriter};
use super::halt::Halt;
use super::judge::{self, JudgeInput, Sections};
use super::layer_tables::OWN_PACK;
use super::originals::{Originals, OriginalsInput};
use super::pass::{self, PassInput, PassOutput};
use super::plan_file::{FORMAT, PlanManifest};
use super::plan_writer::{self, SectionWriter};
use super::ranks::type_ranks;
use super::rejects::Rejects;
use super::settle::{self, SettleInput};
use super::snapshot::{Found, LayerRef, OrderRef, Snapshot};
use super::sorter::Sorter;
use super::state_dir::StateDir;
use super::types::Types;
use super::view::{Reader, TargetView, UnsureKeys};
use crate::domain::guards;
use crate::domain::ids::{PlanId, SnapshotId, SourceId, TargetName};
use crate::domain::json::ComparisonRules;
use crate::domain::key::{Key, KeyHash, Kind};
use crate::domain::plan::PlanHeader;
use crate::domain::scope::ScopeIndex;
use crate::domain::settings::{Deletion, Mode, SourceSettings};
use crate::domain::skip::Skips;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::batch::Batch;
use crate::intake::reader::ReadLimits;

/// How plans are made, whatever the batch.
#[derive(Debug, Clone)]
pub struct PlanningOptions {
    /// Whether lines that are equal to what is published are taken without
    /// being parsed. Off: everything is parsed and compared; same plan.
    pub fast_path: bool,
    /// Threads that read files.
    pub threads: usize,
    /// Bytes that sorting may hold.
    pub sort_memory: usize,
    /// Bytes of index blocks that may be kept.
    pub index_memory: usize,
    /// Blocks of a type that a dictionary for them is made from; 0: packs have
    /// no dictionaries. Same plan.
    pub dictionary_samples: usize,
    /// When layers are folded. Same plan.
    pub fold: FoldLimits,
    /// Limits of reading.
    pub read: ReadLimits,
}

impl Default for PlanningOptions {
    fn default() -> Self {
        Self {
            fast_path: true,
            threads: std::thread::available_parallelism().map_or(2, |n| n.get().min(4)),
            sort_memory: 96 << 20,
            index_memory: 112 << 20,
            dictionary_samples: 128,
            fold: FoldLimits::default(),
            read: ReadLimits::default(),
        }
    }
}

/// What one operation may hold.
#[derive(Debug, Clone, Copy)]
pub struct OperationLimits {
    /// Most changes.
    pub changes: usize,
    /// Most bytes of keys and values.
    pub bytes: usize,
    /// Whether the target applies an operation as a whole: then it may hold
    /// changes of all kinds.
    pub atomic: bool,
}

/// What a plan is made from.
pub struct PlanInput<'a> {
    /// The plan's id.
    pub plan_id: PlanId,
    /// The batch.
    pub batch: &'a Batch,
    /// Its source's settings.
    pub settings: &'a SourceSettings,
    /// The target.
    pub target: &'a TargetName,
    /// What the target calls itself.
    pub target_identity: String,
    /// What a deletion means there.
    pub deletion: Deletion,
    /// Whether the batch was made of dead letters: such a one is never too late.
    /// The horizon stands while they are open.
    pub of_letters: bool,
    /// Keys of the source that an operator skips.
    pub skips: &'a Skips,
    /// What one operation may hold.
    pub operation_limits: OperationLimits,
    /// The current snapshot of every source of the target.
    pub bases: BTreeMap<SourceId, SnapshotId>,
    /// Called as planning comes further.
    pub progress: &'a (dyn Fn(Step) + Sync),
    /// Whether to go on. When it says no, planning ends with
    /// [`ErrorKind::Interrupted`].
    pub halt: Halt<'a>,
}

/// How far planning has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many more stored bytes were read.
    Read(u64),
    /// Everything is read, and so many keys have to be judged.
    Settled(u64),
    /// So many more keys were judged.
    Judged(u64),
}

/// Makes plans.
pub struct Planner<'a> {
    state: &'a StateDir,
    options: &'a PlanningOptions,
}

impl<'a> Planner<'a> {
    /// A planner on a state folder.
    pub fn new(state: &'a StateDir, options: &'a PlanningOptions) -> Self {
        Self { state, options }
    }

    /// Opens the current snapshots of a target.
    pub fn view(
        &self,
        source: &SourceId,
        target: &TargetName,
        bases: &BTreeMap<SourceId, SnapshotId>,
    ) -> Result<TargetView> {
        let budget = CacheBudget::new(self.options.index_memory);
        let mut view = TargetView { source: source.clone(), own: None, others: Vec::new() };
        for (of, id) in bases {
            let snapshot = Snapshot::open(self.state, of, target, id, &budget)?;
            if of == source {
                view.own = Some(snapshot);
            } else {
                view.others.push(snapshot);
            }
        }
        Ok(view)
    }

    /// Makes the plan of a batch, checks it, and writes its manifest last.
    pub fn plan(&self, input: &PlanInput<'_>) -> Result<PlanManifest> {
        let source = input.batch.id.source();
        self.state.prepare(source, input.target)?;
        let view = self.view(source, input.target, &input.bases)?;
        match self.plan_on(input, &view, true) {
            // It only saves work: the next full batch leaves another one.
            Err(error) if is_damage(&error) && self.is_order_damaged(&view)? => {
                tracing::warn!(plan = %input.plan_id, %source, "planned without the line order: {error}");
                self.plan_on(input, &view, false)
            }
            made => made,
        }
    }

    fn is_order_damaged(&self, view: &TargetView) -> Result<bool> {
        let Some(own) = &view.own else { return Ok(false) };
        let read = own.order(self.state).and_then(|order| match order {
            Some(order) => order.scan(|_, _| ()),
            None => Ok(()),
        });
        match read {
            Err(error) if is_damage(&error) => Ok(true),
            other => other.map(|()| false),
        }
    }

    /// The same, with the published snapshots opened. `by_order`: whether their line
    /// order may be used.
    fn plan_on(&self, input: &PlanInput<'_>, view: &TargetView, by_order: bool) -> Result<PlanManifest> {
        let source = input.batch.id.source();
        let work = self.state.work_folder(&input.plan_id)?;
        let making = Making::new(self, input, view, work.path(), by_order)?;
        std::thread::scope(|scope| {
            let durable = Durable::new(self.state, scope);
            let threads = (self.options.threads, self.options.sort_memory / 3);
            let made = making.run(&durable).and_then(|manifest| {
                let limits = &input.settings.guards;
                super::check::check(self.state, view, &manifest, limits, work.path(), threads, input.halt)?;
                tracing::debug!(plan = %input.plan_id, "checked");
                Ok(manifest)
            });
            // A disk that failed explains whatever was read of these files since.
            durable.wait()?;
            let manifest = made?;
            self.state.write_checked(&self.state.plan_manifest_path(source, &input.plan_id), &manifest)?;
            Ok(manifest)
        })
    }
}

/// The horizon of a source after a batch of this stamp (`SEMANTICS` 2): never
/// back, and never past what is unfinished, which the caller knows.
pub fn horizon(before: Option<Timestamp>, newest: Timestamp, max_lateness_seconds: u64) -> Option<Timestamp> {
    let lateness = jiff::SignedDuration::from_secs(i64::try_from(max_lateness_seconds).unwrap_or(i64::MAX));
    let new = newest.checked_sub(lateness).ok();
    before.max(new)
}

/// Whether a file may be damaged; a sector that can't be read is so too.
fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::SnapshotInvalid | ErrorKind::Io)
}

/// A key that is judged anew though the batch does not change it.
fn refreshed(key: KeyHash, found: Option<Found>, flags: u32) -> Candidate {
    Candidate {
        group: if key.kind() == Kind::Entity { group::ENTITY } else { group::RELATIONSHIP },
        rank: 0,
        file: 0,
        line: 0,
        key,
        ends: [KeyHash(0); 2],
        loc: Loc::NONE,
        canon: found.map_or(0, |found| found.entry.canon),
        size: 0,
        old_layer: found.map_or(NONE, |found| found.layer as u32),
        old_number: found.map_or(0, |found| found.number),
        flags: REFRESH | flags,
    }
}

struct Making<'a> {
    planner: &'a Planner<'a>,
    input: &'a PlanInput<'a>,
    view: &'a TargetView,
    stamp: StampInfo,
    rules: ComparisonRules,
    comparison: u64,
    fingerprint: u64,
    types: Types,
    fold: Fold,
    order: Option<Order>,
    tmp: &'a Path,
}

impl<'a> Making<'a> {
    fn new(
        planner: &'a Planner<'a>,
        input: &'a PlanInput<'a>,
        view: &'a TargetView,
        tmp: &'a Path,
        by_order: bool,
    ) -> Result<Self> {
        let batch = input.batch;
        let settings = input.settings;
        let stamp = StampInfo { stamp: batch.stamp.clone(), workflow: batch.workflow.clone() };
        let fingerprint = settings.fingerprint(batch.id.source(), input.deletion);
        let own = view.own.as_ref();
        if let Some(horizon) = own.and_then(|own| own.manifest().horizon)
            && batch.stamp.source_timestamp < horizon
            && !input.of_letters
        {
            return Err(Error::new(
                ErrorKind::TooLate,
                format!(
                    "batch {} is of {}, the source's horizon is {horizon}",
                    batch.id, batch.stamp.source_timestamp
                ),
            ));
        }
        let full = batch.mode == Mode::Full;
        let newest = own.is_none_or(|own| own.is_newest(&stamp));
        let usable = |order: &OrderRef| order.fingerprint == fingerprint && batch.scope.covers(&order.scope);
        let reference = own.and_then(|own| own.manifest().order.as_ref()).filter(|_| by_order);
        let use_order = planner.options.fast_path && full && newest && reference.is_some_and(usable);
        let order = match own {
            Some(own) if use_order => own.order(planner.state)?,
            Some(_) | None => None,
        };
        // A full batch that is not late writes a line order where none is of
        // use to its like.
        let useless = full && newest && reference.is_none_or(|order| !usable(order));
        Ok(Self {
            planner,
            input,
            view,
            stamp,
            rules: ComparisonRules::new(&settings.volatile, &settings.unordered),
            comparison: settings.comparison_fingerprint(),
            fingerprint,
            types: Types::default(),
            fold: fold::due(own, planner.options.fold, full && newest, useless),
            order,
            tmp,
        })
    }

    fn name(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.input.plan_id)
    }

    fn pass(
        &self,
        mode: Mode,
        pack: &BlockWriter,
        order: Option<&OrderWriter>,
        rejects: &Rejects,
    ) -> Result<PassOutput> {
        let options = self.planner.options;
        pass::run(&PassInput {
            batch: self.input.batch,
            mode,
            stamp: &self.stamp,
            snapshot: self.view.own.as_ref(),
            order: self.order.as_ref().filter(|_| mode == Mode::Full),
            fast_path: options.fast_path,
            rules: &self.rules,
            comparison: self.comparison,
            restates: self.restates(),
            skips: self.input.skips,
            pack,
            dictionary_samples: options.dictionary_samples,
            new_order: order,
            tmp: self.tmp,
            budget: options.sort_memory,
            table_limit: options.index_memory / 3 * 2,
            threads: options.threads,
            limits: &options.read,
            types: &self.types,
            rejects,
            progress: &|bytes| (self.input.progress)(Step::Read(bytes)),
            halt: self.input.halt,
        })
    }

    fn rejects(&self) -> Result<Rejects> {
        Ok(Rejects::new(SectionWriter::new(self.tmp, "rejects")?))
    }

    fn run(mut self, durable: &Durable<'_, '_>) -> Result<PlanManifest> {
        let (state, options, input) = (self.planner.state, self.planner.options, self.input);
        let (source, batch) = (input.batch.id.source(), input.batch);
        let tmp = self.tmp;
        let pack_name = self.name(".pack");
        let pack_path = state.pack_path(source, &pack_name);
        state.forget_pack(&pack_path);

        tracing::debug!(plan = %input.plan_id, "reading the batch");
        // The pass, twice when a full batch turns out to assert no absence.
        let newest = self.view.own.as_ref().is_none_or(|own| own.is_newest(&self.stamp));
        let mut mode = batch.mode;
        let mut writer = BlockWriter::create(&pack_path, FileKind::Pack)?;
        let mut rejects = self.rejects()?;
        let order_name = self.name(".order");
        let order_path = state.order_path(source, &order_name);
        let mut new_order = match (self.fold, mode) {
            (Fold::Base, Mode::Full) if newest => Some(OrderWriter::create(&order_path)?),
            (Fold::Base | Fold::Deltas | Fold::None, _) => None,
        };
        let mut output = self.pass(mode, &writer, new_order.as_ref(), &rejects)?;
        tracing::debug!(plan = %input.plan_id, in_order = output.in_order, "read");
        let mut absent: Sorter<Absent> = Sorter::new(tmp, "absent", options.sort_memory / 4);
        let mut reader = Reader::new()?;
        if let (Some(own), Some(seen)) = (&self.view.own, &output.seen) {
            let (order, scope, stamp) = (self.order.as_ref(), &ScopeIndex::new(&batch.scope), &batch.stamp);
            let halt = input.halt;
            let input = AbsentInput { snapshot: own, order, seen, scope, stamp, newest, halt };
            let mut readers =
                (0..options.threads.max(1)).map(|_| Reader::new()).collect::<Result<Vec<_>>>()?;
            absent::collect(&input, &mut readers, &mut absent)?;
        }
        if mode == Mode::Full && output.unreadable != [0; 2] && !batch.withholds_nothing {
            mode = Mode::Incremental;
            new_order = None;
            if self.fold == Fold::Base && self.view.own.is_some() {
                self.fold = fold::due(self.view.own.as_ref(), options.fold, false, false);
            }
            // What the first one still holds must not get into the new file.
            drop(writer);
            writer = BlockWriter::create(&pack_path, FileKind::Pack)?;
            rejects = self.rejects()?;
            output = self.pass(mode, &writer, None, &rejects)?;
        }
        tracing::debug!(plan = %input.plan_id, "looking for what is absent is done");
        let lines = output.lines[0] + output.lines[1];
        self.isolate(output.bad, lines + output.bad, || rejects.first())?;
        durable.begin(writer.finish()?)?;
        let pack = state.pack(&pack_path);

        // The source's own changes.
        let edges_before = self.view.own.as_ref().map(|own| &own.manifest().type_edges);
        let edges = self.types.edges(edges_before.unwrap_or(&BTreeSet::new()));
        let ranks = type_ranks(&edges, &input.settings.containment);
        let layer_name = self.name(".layer");
        let layer_path = state.layer_path(source, &layer_name);
        let mut candidates = Sorter::new(tmp, "candidates", options.sort_memory / 2);
        let mut originals = Originals::new(tmp);
        let mut unsure = self.view.unsure();
        let (mut settled, moved, layer) = settle::run(
            &SettleInput {
                batch,
                mode,
                stamp: &self.stamp,
                view: self.view,
                comparison: self.comparison,
                pack: (&pack, &pack_name),
                types: &self.types,
                ranks: &ranks,
                containment: &input.settings.containment,
                container_contents: input.settings.guards.container_contents,
                new_positions: new_order.is_some(),
                rejects: &rejects,
                skips: input.skips,
                unsure: &unsure,
                threads: options.threads,
                tmp,
                moved_budget: options.sort_memory / 8,
                unchanged: output.unchanged,
                halt: input.halt,
            },
            std::mem::replace(&mut output.asserted, Sorter::new(tmp, "none", 0)).finish()?,
            absent.finish()?,
            LayerWriter::create(&layer_path)?,
            Sorter::new(tmp, "ends", options.sort_memory / 4),
            &mut candidates,
            &mut originals,
        )?;
        durable.begin(layer)?;
        // Of the lines of a key that contradict each other one at most is right.
        let first = || rejects.first().or_else(|| originals.first());
        self.isolate(output.bad + settled.rejected, lines + output.bad, first)?;
        originals.read(
            &OriginalsInput {
                batch,
                snapshot: self.view.own.as_ref(),
                rules: &self.rules,
                limits: &options.read,
                halt: input.halt,
            },
            &rejects,
        )?;
        for kind in [Kind::Entity, Kind::Relationship] {
            // Settling goes by keys, and these have none.
            settled.summary.of(kind).rejected += output.unreadable[kind as usize];
        }
        if !input.skips.is_empty() {
            // They stay unsure: nothing is sent for them.
            unsure.retain(|_, unsure| !input.skips.has(unsure.key));
        }
        // In the order of the index, so that each of its blocks is read once.
        let mut left: Vec<KeyHash> = std::mem::take(&mut settled.unsure).into_iter().collect();
        left.sort_unstable();
        for key in left {
            let Some(own) = unsure.get(&key).map(|unsure| unsure.own) else { continue };
            let found = self.view.own_live(key, &mut reader)?;
            if found.is_some() || own {
                candidates.push(refreshed(key, found, UNSURE))?;
            } else if !settled.moved_unsure.contains(&key) {
                // Another source's, with which the plan has nothing to do.
                unsure.remove(&key);
            }
        }
        self.refresh(&mut candidates, &mut reader, &layer_path, &unsure)?;

        tracing::debug!(plan = %input.plan_id, "the source's own changes are settled");
        // Changes at the target.
        let budget = CacheBudget::new(options.index_memory);
        let layer = Layer::open(&layer_path, &budget)?;
        let limits = input.operation_limits;
        let mut sections = Sections::new(tmp, limits.changes, limits.bytes)?;
        let mut footprint = Footprint::new(tmp, options.sort_memory / 8);
        let count = candidates.len();
        (input.progress)(Step::Settled(count));
        let mut summary = settled.summary;
        let digest = judge::run(
            &JudgeInput {
                view: self.view,
                layer: &layer,
                pack: &pack,
                precedence: input.settings.precedence,
                types: &self.types,
                unsure: &unsure,
                threads: self.planner.options.threads,
                progress: &|keys| (input.progress)(Step::Judged(keys)),
                halt: input.halt,
            },
            (candidates.finish()?, count),
            moved,
            &mut sections,
            &mut summary,
            &mut footprint,
            &mut output.new_names,
        )?;
        drop(layer);
        tracing::debug!(plan = %input.plan_id, "changes are judged");
        let plan_path = state.plan_path(source, &input.plan_id);
        let mut cuts = Vec::new();
        let reject_count = rejects.len();
        let names = std::mem::take(&mut output.new_names);
        let touches_everything = self.touches_everything();
        let mut readers = (0..options.threads.max(1)).map(|_| Reader::new()).collect::<Result<Vec<_>>>()?;
        let (alike, written) = std::thread::scope(|scope| {
            let alike = scope.spawn(|| names.warnings(&self.types, self.view, &mut readers, input.halt));
            let written = (|| {
                let out = BlockWriter::create(&plan_path, FileKind::Plan)?;
                sections.relationships_gone.append_to(&out, &mut cuts)?;
                sections.entities.append_to(&out, &mut cuts)?;
                sections.relationships.append_to(&out, &mut cuts)?;
                sections.entities_gone.append_to(&out, &mut cuts)?;
                let rejects = rejects.into_section().append_to(&out)?;
                let footprint = footprint.append_to(tmp, &out, touches_everything)?;
                durable.begin(out.finish()?)?;
                Ok((rejects, footprint))
            })();
            match alike.join() {
                Ok(alike) => (alike, written),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        let (names_alike, (rejects, footprint)) = (alike?, written?);
        let mut alike = self.look_alike_types(&settled.counts);
        alike.extend(names_alike);
        let most = limits.atomic.then_some((limits.changes, limits.bytes));
        let operations = plan_writer::operations(cuts, most);

        tracing::debug!(plan = %input.plan_id, "changes are written");
        let trips = guards::evaluate(&self.input.settings.guards, &settled.facts);
        let header = PlanHeader {
            plan_id: input.plan_id.clone(),
            batch_id: batch.id.clone(),
            source_id: source.clone(),
            target: input.target.clone(),
            bases: input.bases.clone(),
            digest,
            summary,
            guards: trips,
            operations: operations.len() as u32,
        };
        settled.withheld.sort();
        let mut settles: Vec<Key> = unsure.into_values().map(|unsure| unsure.key.clone()).collect();
        // Equal plans are equal to the letter.
        settles.sort_unstable();
        let mut manifest = PlanManifest {
            format: FORMAT.into(),
            header,
            target_identity: input.target_identity.clone(),
            stamp: self.stamp.clone(),
            asserts_absence: mode == Mode::Full,
            scope: batch.scope.clone(),
            fingerprint: self.fingerprint,
            comparison: self.comparison,
            precedence: input.settings.precedence,
            max_lateness_seconds: input.settings.max_lateness_seconds,
            layer: LayerRef { file: layer_name, entries: settled.entries },
            fold: None,
            entity_counts: std::mem::take(&mut settled.counts[Kind::Entity as usize]),
            relationship_counts: std::mem::take(&mut settled.counts[Kind::Relationship as usize]),
            type_edges: edges,
            exceptions: std::mem::take(&mut settled.exceptions),
            withheld: std::mem::take(&mut settled.withheld),
            volatile: input.settings.volatile.clone(),
            settles,
            operations,
            rejects,
            reject_count,
            footprint,
            warnings: self.warnings(&output, &settled, alike),
            lines,
            lines_in_order: output.in_order,
        };
        tracing::debug!(plan = %input.plan_id, fold = ?self.fold, "folding");
        manifest.fold = self.fold(&manifest, &output, new_order, &order_name, durable)?;
        tracing::debug!(plan = %input.plan_id, "folded");
        Ok(manifest)
    }

    /// # Errors
    /// [`ErrorKind::TooManyBadLines`] when more of the batch's lines are bad than
    /// its isolation limit allows (`SEMANTICS` 9); `first` tells one of them.
    fn isolate(&self, bad: u64, lines: u64, first: impl Fn() -> Option<String>) -> Result<()> {
        let limit = &self.input.settings.isolation;
        if !limit.exceeded(bad, lines) {
            return Ok(());
        }
        let text = format!(
            "batch {}: {bad} of {lines} lines are bad, more than the {} that the isolation limit allows; the first: {}",
            self.input.batch.id,
            limit.allowed(lines),
            first().unwrap_or_default(),
        );
        Err(Error::new(ErrorKind::TooManyBadLines, text))
    }

    /// Arrays may have been declared unordered since: they are published sorted
    /// by the next plan (`SEMANTICS` 12).
    fn restates(&self) -> bool {
        let own = self.view.own.as_ref();
        self.rules.has_unordered() && own.is_some_and(|own| own.manifest().fingerprint != self.fingerprint)
    }

    /// With another precedence than before, keys that another plan brings
    /// meanwhile would have been judged anew too: nothing else may be in work.
    fn touches_everything(&self) -> bool {
        let own = self.view.own.as_ref();
        own.is_some_and(|own| own.manifest().precedence != self.input.settings.precedence)
    }

    /// With another precedence than before, every key that another source
    /// asserts too has to be judged anew (`SEMANTICS` 12). The unsure keys are
    /// judged as it is.
    fn refresh(
        &self,
        candidates: &mut Sorter<Candidate>,
        reader: &mut Reader,
        layer: &Path,
        unsure: &UnsureKeys<'_>,
    ) -> Result<()> {
        let Some(own) = &self.view.own else { return Ok(()) };
        if own.manifest().precedence == self.input.settings.precedence || self.view.others.is_empty() {
            return Ok(());
        }
        let layer = Layer::open(layer, &CacheBudget::new(self.planner.options.index_memory))?;
        let mut scratch = super::format::layer::Scratch::default();
        let mut pace = self.input.halt.pace();
        own.each_live(|found| {
            pace.tick()?;
            let key = found.entry.key;
            if unsure.contains_key(&key) || !self.view.others_have(key, reader)? {
                return Ok(());
            }
            // A key that the plan changes is judged already; one whose stamp
            // alone rises is not: that has the body which it had.
            if let Some((_, entry)) = layer.lookup(key, &mut scratch)?
                && (!entry.is_live() || entry.loc.pack() == OWN_PACK)
            {
                return Ok(());
            }
            candidates.push(refreshed(key, Some(found), 0))
        })
    }
}
