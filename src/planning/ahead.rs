//! Reads the bodies that judging is about to need, on several threads:
//! unpacking their blocks takes longer than judging itself.

use super::bodies::BodyRef;
use super::candidate::{Candidate, NONE};
use super::snapshot::{Found, Snapshot};
use super::view::Reader;
use crate::error::Result;

/// Candidates that are read for at a time.
pub const CHUNK: usize = 1_024;
/// Below so many bodies one thread does as well.
const FEW: usize = 64;
/// Bytes of bodies that one thread may hold ready.
const HOLD: usize = 4 << 20;

/// The readers, one per thread.
pub struct Ahead(Vec<Reader>);

impl Ahead {
    /// Readers for so many threads.
    pub fn new(threads: usize) -> Result<Self> {
        (0..threads.max(1)).map(|_| Reader::new()).collect::<Result<_>>().map(Self)
    }

    /// The bodies that the snapshot holds of candidates, by their places;
    /// `None` where there is none or where it was not read ahead.
    pub fn read(&mut self, own: &Snapshot, candidates: &[Candidate]) -> Result<Vec<Option<BodyRef>>> {
        let wanted = candidates.iter().filter(|candidate| candidate.old_layer != NONE).count();
        if wanted < FEW || self.0.len() < 2 {
            return Ok(vec![None; candidates.len()]);
        }
        let share = candidates.len().div_ceil(self.0.len());
        let parts: Vec<Result<Vec<Option<BodyRef>>>> = std::thread::scope(|scope| {
            let mut shares = candidates.chunks(share).zip(&mut self.0);
            let first = shares.next();
            let others: Vec<_> =
                shares.map(|(share, reader)| scope.spawn(move || read_share(own, share, reader))).collect();
            let first = first.map(|(share, reader)| read_share(own, share, reader));
            let others = others.into_iter().map(|thread| match thread.join() {
                Ok(part) => part,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            first.into_iter().chain(others).collect()
        });
        let mut all = Vec::with_capacity(candidates.len());
        for part in parts {
            all.extend(part?);
        }
        Ok(all)
    }
}

fn read_share(own: &Snapshot, share: &[Candidate], reader: &mut Reader) -> Result<Vec<Option<BodyRef>>> {
    let mut held = 0;
    let mut bodies = vec![None; share.len()];
    for (candidate, slot) in share.iter().zip(&mut bodies) {
        if candidate.old_layer == NONE {
            continue;
        }
        let body = body_of(own, candidate, reader)?;
        held += body.len();
        *slot = Some(body);
        if held > HOLD {
            break;
        }
    }
    Ok(bodies)
}

/// The body that was published of a candidate that has an old entry.
pub fn body_of(own: &Snapshot, candidate: &Candidate, reader: &mut Reader) -> Result<BodyRef> {
    let layer = candidate.old_layer as usize;
    let entry = own.layer(layer).get(candidate.old_number, &mut reader.scratch)?;
    own.body(&Found { layer, number: candidate.old_number, entry }, &mut reader.bodies)
}
