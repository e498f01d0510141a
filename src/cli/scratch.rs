//! A data directory for the time of one command, so that `plan` works where
//! there is none and leaves none behind.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use super::common::clock;
use crate::config::{Settings, TargetKind};
use crate::error::{Error, Result};

/// The folder, which goes when this is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one, among the temporary files.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("tidegate-plan-{:016x}", clock().random()));
        // What is planned is nobody else's to read.
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|e| Error::io(&path, e))?;
        Ok(Self(path))
    }

    /// A folder in it, which need not be there.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The settings with everything here that a data directory would have made.
    pub fn instead_of(&self, mut settings: Settings) -> Settings {
        settings.data = self.0.join("data");
        settings.state = self.0.join("state");
        for (name, target) in &mut settings.targets {
            if let TargetKind::Embedded(embedded) = &mut target.kind
                && !embedded.path.exists()
            {
                embedded.path = self.0.join(format!("{name}.redb"));
            }
        }
        settings
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Should it stay, it is in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
