//! The layers of the next snapshot, folded ahead where that is due.

use super::super::durable::Durable;
use super::super::fold::{self, Covering, Fold, FoldInput, Folded};
use super::super::format::layer::CacheBudget;
use super::super::format::order::OrderWriter;
use super::super::next;
use super::super::pass::PassOutput;
use super::super::plan_file::{FoldRef, PlanManifest};
use super::super::snapshot::{LayerRef, OrderRef, Snapshot, SnapshotManifest};
use super::Making;
use crate::error::Result;

impl Making<'_> {
    /// Prepares the layers of the next snapshot for the case that everything
    /// is published; else they are left to the next batch.
    pub(super) fn fold(
        &self,
        manifest: &PlanManifest,
        output: &PassOutput,
        new_order: Option<OrderWriter>,
        order_name: &str,
        durable: &Durable<'_, '_>,
    ) -> Result<Option<FoldRef>> {
        let (state, source) = (self.planner.state, self.input.batch.id.source());
        let (from, suffix) = match self.fold {
            Fold::None => return Ok(None),
            Fold::Deltas => (1, "-merged.layer"),
            Fold::Base => (0, "-base.layer"),
        };
        let budget = CacheBudget::new(self.planner.options.index_memory);
        let layers = |own: Option<&SnapshotManifest>| {
            let mut layers = own.map_or_else(Vec::new, |own| own.layers.clone());
            layers.push(manifest.layer.clone());
            layers
        };
        let own = self.view.own.as_ref().map(Snapshot::manifest);
        let next = next::draft(manifest, own, layers(own), self.input.plan_id.clone());
        let next = Snapshot::from_manifest(state, next, &budget)?;
        let positions = new_order.as_ref().map_or(0, OrderWriter::positions);
        let order_ref = |lines| OrderRef {
            file: order_name.to_owned(),
            scope: self.input.batch.scope.clone(),
            fingerprint: self.fingerprint,
            lines,
        };
        if own.is_none() {
            // The plan's layer is the base; only the order needs its entries.
            let mut entries = vec![u32::MAX; positions as usize];
            if let Some(new_order) = new_order {
                let mut scan = next.layer(0).scan();
                while let Some((number, entry)) = scan.advance()? {
                    if let Some(slot) = entries.get_mut(entry.pos as usize).filter(|_| entry.is_live()) {
                        *slot = number;
                    }
                }
                durable.begin(new_order.finish(&entries)?)?;
                let order = Some(order_ref(manifest.lines));
                return Ok(Some(FoldRef { keep: 0, layer: manifest.layer.clone(), order }));
            }
            return Ok(None);
        }
        let mut covering: Vec<Covering> = Vec::new();
        for record in own.iter().flat_map(|own| &own.full_records) {
            if record.scope.is_everything() {
                covering.push(Covering::new(&record.stamp.stamp, &record.exceptions));
            }
        }
        if manifest.asserts_absence && manifest.scope.is_everything() {
            covering.push(Covering::new(&self.stamp.stamp, &manifest.exceptions));
        }
        let name = self.name(suffix);
        let path = state.layer_path(source, &name);
        let packed = self.name("-packed.pack");
        let packed_path = state.pack_path(source, &packed);
        let Folded { layer, entries, repacked, order } = fold::run(
            &FoldInput {
                next: &next,
                from,
                new_positions: &output.new_positions,
                positions_are_new: new_order.is_some(),
                horizon: own.and_then(|own| own.horizon),
                covering: &covering,
                comparison: self.comparison,
                repacked: (&packed, &packed_path),
                tmp: self.tmp,
                budget: self.planner.options.sort_memory / 4,
                halt: self.input.halt,
            },
            &path,
            positions,
        )?;
        durable.begin(layer)?;
        if let Some(repacked) = repacked {
            durable.begin(repacked)?;
        }
        let order = match new_order {
            Some(new_order) => {
                durable.begin(new_order.finish(&order)?)?;
                Some(order_ref(manifest.lines))
            }
            None => None,
        };
        Ok(Some(FoldRef { keep: from, layer: LayerRef { file: name, entries }, order }))
    }
}
