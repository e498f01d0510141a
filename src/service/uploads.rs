//! Plans of batches that are sent here to be looked at: made from the present
//! snapshots, never queued, kept for a while.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::Timestamp;

use super::engine::Engine;
use super::query::plan_json;
use crate::domain::ids::PlanId;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::unpack::unpack;

/// Folder of the data directory, below `spool`, that uploads are unpacked in.
/// No source's name begins with a dot.
const UPLOADS: &str = ".uploads";
/// The same of their plans.
const PLANS: &str = ".plans";
/// Most plans that are kept.
const KEPT: usize = 64;

/// The plans that are kept, with the time until which they are.
#[derive(Default)]
pub struct Uploads(Mutex<Vec<(PlanId, Timestamp)>>);

/// Removes a folder when its work is done, however it ends.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Should it stay, the next start removes it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Engine {
    fn uploads_folder(&self, name: &str) -> PathBuf {
        self.settings().data.join("spool").join(name)
    }

    /// Removes what uploads before this start left.
    pub fn clear_uploads(&self) -> Result<()> {
        for name in [UPLOADS, PLANS] {
            let folder = self.uploads_folder(name);
            if folder.exists() {
                std::fs::remove_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
            }
        }
        Ok(())
    }

    /// An empty folder that goes with what is returned.
    pub(super) fn scratch(&self) -> Result<Scratch> {
        self.scratch_named(&self.new_plan_id()?)
    }

    fn scratch_named(&self, id: &PlanId) -> Result<Scratch> {
        let scratch = Scratch(self.uploads_folder(UPLOADS).join(id.as_str()));
        std::fs::create_dir_all(&scratch.0).map_err(|e| Error::io(&scratch.0, e))?;
        Ok(scratch)
    }

    /// Plans the batch in a tar archive against what is published now, and
    /// keeps the plan's JSON for `server.plan_ttl`. Nothing is queued.
    ///
    /// # Errors
    /// [`ErrorKind::UploadInvalid`] when the archive is none; as
    /// [`Engine::plan_only`].
    pub fn plan_upload(&self, archive: &mut dyn Read) -> Result<PlanId> {
        self.expire_uploads(1);
        let id = self.new_plan_id()?;
        let scratch = self.scratch_named(&id)?;
        let batch = unpack(archive, &scratch.0)?;
        let folder = self.uploads_folder(PLANS);
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        let made = self.plan_only(&batch, |plan| {
            let id = plan.manifest().header.plan_id.clone();
            let path = folder.join(format!("{id}.json"));
            let failed = |e| Error::io(&path, e);
            let mut out = BufWriter::with_capacity(1 << 16, File::create(&path).map_err(failed)?);
            plan_json::write_plan(plan, false, &mut out)?;
            out.flush().map_err(failed)?;
            let header = &plan.manifest().header;
            tracing::info!(plan = %id, batch = %header.batch_id, source = %header.source_id, "planned what was uploaded");
            Ok(id)
        })?;
        let ttl = jiff::SignedDuration::try_from(self.settings().server.plan_ttl)
            .unwrap_or(jiff::SignedDuration::MAX);
        let until = self.clock.now().checked_add(ttl).unwrap_or(Timestamp::MAX);
        self.uploads.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((made.clone(), until));
        Ok(made)
    }

    /// The JSON of a plan that was uploaded, and its size in bytes.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none, or its time is over.
    pub fn uploaded_plan(&self, id: &PlanId) -> Result<(File, u64)> {
        self.expire_uploads(0);
        let known = self.uploads.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let path = self.uploads_folder(PLANS).join(format!("{id}.json"));
        if known.iter().any(|(plan, _)| plan == id) {
            let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
            let size = file.metadata().map_err(|e| Error::io(&path, e))?.len();
            return Ok((file, size));
        }
        Err(Error::new(ErrorKind::NotFound, format!("there is no plan {id}, or its time is over")))
    }

    /// Removes the plans whose time is over, and the oldest past the limit, so
    /// that there is room for so many more.
    fn expire_uploads(&self, room: usize) {
        let now = self.clock.now();
        let mut kept = self.uploads.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let excess = (kept.len() + room).saturating_sub(KEPT);
        let mut number = 0;
        kept.retain(|(id, until)| {
            number += 1;
            let keep = number > excess && *until > now;
            if !keep {
                // Should it stay, the next start removes it.
                let _ = std::fs::remove_file(self.uploads_folder(PLANS).join(format!("{id}.json")));
            }
            keep
        });
    }
}
