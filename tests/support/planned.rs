//! A plan as text, to hold two against each other.

use std::fmt::Write as _;

use tidegate::planning::format::block_file::{BlockReader, FileKind, Unpacker};
use tidegate::planning::plan_file::Plan;

/// All that two plans of the same batch on the same snapshots have in common,
/// however they were made: the changes in their order, what the batch says
/// nothing of, the footprint. Where bodies lie is none of it.
pub fn text(plan: &Plan) -> String {
    let manifest = plan.manifest();
    let header = &manifest.header;
    let mut text = format!("{} {:?} {:?}", header.digest, header.summary, header.guards);
    let _ = writeln!(text, " {:?} {}", manifest.warnings, manifest.lines);
    let _ = writeln!(text, "withheld {:?}", manifest.withheld);
    let _ = writeln!(text, "excepted {:?}", manifest.exceptions);
    let _ = writeln!(text, "settles {:?}", manifest.settles);
    let _ = writeln!(text, "live {:?} {:?}", manifest.entity_counts, manifest.relationship_counts);
    plan.changes(|change| {
        let (action, hash, digest) = (change.action, change.hash, change.digest());
        let _ = writeln!(text, "{action:?} {hash:?} {digest:x} {} {}", change.moved, change.replace);
        Ok(())
    })
    .unwrap();
    // Threads come upon bad lines in any order.
    let mut rejects = Vec::new();
    plan.rejects(|reject| {
        rejects.push(format!("{reject:?}"));
        Ok(())
    })
    .unwrap();
    rejects.sort();
    let _ = writeln!(text, "rejected {rejects:#?}");
    let footprint = &manifest.footprint;
    let file = BlockReader::open(plan.path(), FileKind::Plan).unwrap();
    let (mut unpacker, mut raw) = (Unpacker::new().unwrap(), Vec::new());
    let _ = write!(text, "touches {} {}", footprint.keys, footprint.whole);
    for block in footprint.first_block..footprint.first_block + footprint.blocks {
        file.read(block, &mut unpacker, &mut raw).unwrap();
        let _ = write!(text, " {raw:x?}");
    }
    text
}
