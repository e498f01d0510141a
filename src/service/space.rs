//! Room on the disks that Tidegate writes to. Below the floor nothing is
//! accepted and nothing new is begun; what runs comes to its end, and all goes
//! on by itself when there is room again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::engine::Engine;
use super::views::DiskView;
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};

/// Time between two looks at the disks while there is too little room.
pub(super) const RECHECK: Duration = Duration::from_secs(2);

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Which: places on the same one share their room.
    pub device: u64,
    /// Bytes that this user may still write.
    pub free: u64,
    /// Bytes that it has.
    pub total: u64,
}

/// Tells how much room there is: tests put their own here.
pub trait FreeSpace: Send + Sync {
    /// The room where `path` is, or would be.
    ///
    /// # Errors
    /// When the system does not tell.
    fn of(&self, path: &Path) -> std::io::Result<DiskSpace>;
}

/// Asks the operating system.
pub struct SystemSpace;

impl FreeSpace for SystemSpace {
    fn of(&self, path: &Path) -> std::io::Result<DiskSpace> {
        let path = std::path::absolute(path)?;
        let there = path.ancestors().find(|path| path.exists()).unwrap_or(&path);
        let found = rustix::fs::statvfs(there)?;
        let device = rustix::fs::stat(there)?.st_dev;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(DiskSpace { device, free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
    }
}

/// How the disks are looked at, and what was found last.
pub(super) struct Space {
    reader: Arc<dyn FreeSpace>,
    /// Why there is too little room; `None`: there is enough.
    low: Mutex<Option<String>>,
}

impl Default for Space {
    fn default() -> Self {
        Self { reader: Arc::new(SystemSpace), low: Mutex::default() }
    }
}

/// A size in the largest unit that leaves a whole number.
pub fn in_words(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 10 * 1024 && unit + 1 < units.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{value} {}", units[unit])
}

/// The file systems that these settings write to, each once, with what lies
/// there.
pub(super) fn disks_of(settings: &Settings, reader: &dyn FreeSpace) -> Vec<DiskView> {
    let mut places: Vec<(String, PathBuf)> =
        vec![("data directory".into(), settings.data.clone()), ("state".into(), settings.state.clone())];
    for (name, target) in &settings.targets {
        if let Some(path) = target.path() {
            places.push((format!("target {name}"), path.to_owned()));
        }
    }
    let mut seen = BTreeSet::new();
    let mut disks = Vec::new();
    for (what, path) in places {
        let path = std::path::absolute(&path).unwrap_or(path);
        let shown = path.display().to_string();
        match reader.of(&path) {
            Ok(space) => {
                if seen.insert(space.device) {
                    let (free, total) = (Some(space.free), Some(space.total));
                    disks.push(DiskView { what, path: shown, free, total, error: None });
                }
            }
            Err(error) => {
                let error = Some(error.to_string());
                disks.push(DiskView { what, path: shown, free: None, total: None, error });
            }
        }
    }
    disks
}

impl Engine {
    /// Asks `reader` for the room on disks instead of the operating system.
    pub fn with_free_space(mut self, reader: Arc<dyn FreeSpace>) -> Self {
        self.space.reader = reader;
        self
    }

    /// The file systems that Tidegate writes to, each once, with what lies there.
    pub fn disks(&self) -> Vec<DiskView> {
        disks_of(&self.settings(), &*self.space.reader)
    }

    /// Why nothing is accepted and begun now: a disk has less room than the
    /// floor. `None`: there is enough. Once there was too little, it takes a
    /// tenth more than the floor to go on. What the system does not tell is no
    /// reason to stop.
    pub fn too_little_room(&self) -> Option<String> {
        let floor = self.settings().service.min_free;
        let mut low = self.space.low.lock().unwrap_or_else(PoisonError::into_inner);
        let least = if low.is_some() { floor.saturating_add(floor / 10) } else { floor };
        let short = if floor == 0 {
            None
        } else {
            self.disks().into_iter().find(|disk| disk.free.is_some_and(|free| free < least))
        };
        let now = short.map(|disk| {
            format!(
                "{} are free where {} lies ({}), the floor is {} (`service.min_free`): nothing is accepted or begun until there is room",
                in_words(disk.free.unwrap_or_default()),
                match disk.what.as_str() {
                    "data directory" => "the data directory".to_owned(),
                    other => other.to_owned(),
                },
                disk.path,
                in_words(floor),
            )
        });
        match (&*low, &now) {
            (None, Some(reason)) => {
                tracing::error!("too little room: {reason}");
                self.events.inbox();
            }
            (Some(_), None) => {
                tracing::info!("there is room again: intake goes on");
                self.events.inbox();
                self.work.notify();
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        low.clone_from(&now);
        now
    }

    /// # Errors
    /// [`ErrorKind::DiskFull`] when there is less room than the floor.
    pub(super) fn check_room(&self) -> Result<()> {
        self.too_little_room().map_or(Ok(()), |reason| Err(Error::new(ErrorKind::DiskFull, reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_units_that_leave_at_least_two_digits() {
        assert_eq!(in_words(512), "512 bytes");
        assert_eq!(in_words(256 << 20), "256 MiB");
        assert_eq!(in_words(11 << 30), "11 GiB");
        assert_eq!(in_words(3 << 30), "3072 MiB");
    }

    #[test]
    fn the_system_tells_the_room_of_a_path_that_is_not_there_yet() {
        let folder = tempfile::tempdir().unwrap();
        let space = SystemSpace.of(&folder.path().join("not/there")).unwrap();
        assert!(space.total > 0 && space.free <= space.total);
    }
}
