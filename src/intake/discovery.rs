//! What is remembered of an inbox between two looks, so that a look costs
//! what is new or unfinished in it, and nothing for what is done with.
//!
//! The listing stays the truth: everything is found again at a full look.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::{SignedDuration, Timestamp};
use xxhash_rust::xxh3::xxh3_128;

use super::inbox::InboxSettings;
use super::monitor::{InboxFolder, look};
use super::prefix::{Changed, Object, Prefix, behind};
use crate::error::{Error, Result};

/// A list of folders that changed less than so long ago may change again
/// within the same tick of its clock.
const SETTLED: SignedDuration = SignedDuration::from_secs(2);
/// A folder that is incomplete, and was not touched for so long, is looked at
/// by full looks alone.
const ABANDONED: SignedDuration = SignedDuration::from_mins(15);
/// Folders that one look compares, of those that are batches already or were
/// abandoned; the next look goes on behind them.
const COMPARED: usize = 256;
/// The same of an object store at a full look, where each costs a request, of
/// those that are done with.
const COMPARED_FAR: usize = 16;

/// How a folder that is not done with stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is no batch yet.
    Waiting,
    /// The same, for so long that only full looks look at it.
    Abandoned,
    /// It is a batch that has not ended.
    Accepted,
}

#[derive(Debug, Clone)]
struct Open {
    standing: Standing,
    /// When it was seen first.
    since: Timestamp,
}

#[derive(Debug, Default)]
struct Source {
    /// When its list of folders had changed at the last listing, if it could
    /// not change unseen since.
    listed: Option<Timestamp>,
    /// Everything up to this folder is done with, where changes can't be seen.
    mark: Option<String>,
}

/// What a look found.
#[derive(Debug, Default)]
pub struct Look {
    /// Whether the inbox itself is not there.
    pub gone: bool,
    /// The folders that were looked at.
    pub folders: Vec<InboxFolder>,
    /// Folders of sources that can't be listed, and why.
    pub unreadable: Vec<(String, Error)>,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Hashes of the paths of folders that are done with.
    finished: HashSet<u128>,
    /// The others, by their paths below the inbox.
    open: BTreeMap<String, Open>,
    sources: BTreeMap<String, Source>,
    /// Where the next look goes on comparing.
    next: String,
    /// The same of full looks, for folders that are done with.
    next_finished: String,
}

fn hash(path: &str) -> u128 {
    xxh3_128(path.as_bytes())
}

/// The parts of a folder's path.
fn parts(path: &str) -> (&str, &str) {
    path.split_once('/').unwrap_or((path, ""))
}

impl Discovery {
    /// Says that a folder is a batch that has not ended.
    pub fn accepted(&mut self, path: &str, now: Timestamp) {
        self.finished.remove(&hash(path));
        self.open.insert(path.to_owned(), Open { standing: Standing::Accepted, since: now });
    }

    /// Says that a folder is done with.
    pub fn finished(&mut self, path: &str) {
        self.open.remove(path);
        self.finished.insert(hash(path));
    }

    /// The folders that may become batches, but for those that were abandoned.
    pub fn waiting(&self) -> BTreeSet<String> {
        let waiting = self.open.iter().filter(|(_, open)| open.standing == Standing::Waiting);
        waiting.map(|(path, _)| path.clone()).collect()
    }

    /// Whether a folder may become a batch.
    pub fn is_waiting(&self, path: &str) -> bool {
        self.open.get(path).is_some_and(|open| open.standing != Standing::Accepted)
    }

    /// The batches among the next folders that a look compares.
    pub fn compared(&self) -> Vec<String> {
        self.turn(Standing::Accepted)
    }

    /// Looks at an inbox: at everything, and at the next of what is done with
    /// (`full`), or at what is new or not done with. `watch` is told of a folder before it is looked at (`""` is
    /// the inbox itself), so that nothing that comes in between goes unseen.
    ///
    /// # Errors
    /// When the inbox itself can't be listed.
    pub fn look(
        &mut self,
        inbox: &InboxSettings,
        prefix: &dyn Prefix,
        now: Timestamp,
        full: bool,
        watch: &mut dyn FnMut(&str),
    ) -> Result<Look> {
        watch("");
        let mut found = Look::default();
        if prefix.changed("")? == Changed::Gone {
            self.sources.clear();
            self.open.clear();
            return Ok(Look { gone: true, ..found });
        }
        let sources = prefix.folders("")?;
        let there: HashSet<&str> = sources.iter().map(String::as_str).collect();
        self.sources.retain(|source, _| there.contains(source.as_str()));
        self.open.retain(|path, _| there.contains(parts(path).0));
        let mut listed: BTreeMap<String, Vec<Object>> = BTreeMap::new();
        let mut done = Vec::new();
        for source in &sources {
            watch(source);
            if let Err(error) = self.list(prefix, source, now, full, &mut listed, &mut done) {
                found.unreadable.push((source.clone(), error));
            }
        }
        let mut paths: Vec<String> = self.turn(Standing::Accepted);
        if full {
            paths.extend(self.turn(Standing::Abandoned));
        }
        if let Some(last) = paths.iter().max() {
            self.next.clone_from(last);
        }
        if full {
            let most = if prefix.local("").is_some() { COMPARED } else { COMPARED_FAR };
            paths.extend(self.turn_of_finished(done, most));
        }
        let waiting = self.open.iter().filter(|(_, open)| open.standing == Standing::Waiting);
        paths.extend(waiting.map(|(path, _)| path.clone()));
        paths.extend(listed.keys().filter(|path| self.open.contains_key(*path)).cloned());
        paths.sort();
        paths.dedup();
        for path in paths {
            let objects = listed.remove(&path);
            found.folders.push(self.look_at(inbox, prefix, now, &path, objects, watch));
        }
        Ok(found)
    }

    /// Looks at these paths alone, each a folder or a source: something
    /// changed there.
    pub fn glance(
        &mut self,
        inbox: &InboxSettings,
        prefix: &dyn Prefix,
        now: Timestamp,
        paths: impl IntoIterator<Item = String>,
        watch: &mut dyn FnMut(&str),
    ) -> Look {
        let mut found = Look::default();
        for path in paths {
            let (source, folder) = parts(&path);
            if folder.is_empty() {
                watch(source);
                let before: HashSet<String> = self.open.keys().cloned().collect();
                let listed = &mut BTreeMap::new();
                if let Err(error) = self.list(prefix, source, now, true, listed, &mut Vec::new()) {
                    found.unreadable.push((source.to_owned(), error));
                }
                let new: Vec<String> =
                    self.open.keys().filter(|path| !before.contains(*path)).cloned().collect();
                for path in new {
                    found.folders.push(self.look_at(inbox, prefix, now, &path, None, watch));
                }
            } else if !self.finished.contains(&hash(&path)) {
                self.note(&path, now);
                found.folders.push(self.look_at(inbox, prefix, now, &path, None, watch));
            }
        }
        found
    }

    fn note(&mut self, path: &str, now: Timestamp) {
        self.open.entry(path.to_owned()).or_insert(Open { standing: Standing::Waiting, since: now });
    }

    /// Lists the folders of a source, where that may show anything new; with
    /// the objects of those that were listed along, and those that are done with.
    fn list(
        &mut self,
        prefix: &dyn Prefix,
        source: &str,
        now: Timestamp,
        full: bool,
        listed: &mut BTreeMap<String, Vec<Object>>,
        done: &mut Vec<String>,
    ) -> Result<()> {
        let changed = prefix.changed(source)?;
        let known = self.sources.entry(source.to_owned()).or_default();
        match changed {
            Changed::Gone => return Ok(()),
            Changed::At(at) if !full && known.listed == Some(at) => return Ok(()),
            Changed::At(_) => {
                let folders = prefix.folders(source)?;
                known.listed = match changed {
                    Changed::At(at) if now.duration_since(at) > SETTLED => Some(at),
                    Changed::At(_) | Changed::Unknown | Changed::Gone => None,
                };
                done.extend(self.took(source, folders, now));
                return Ok(());
            }
            Changed::Unknown => {}
        }
        let mark = known.mark.clone();
        match mark {
            Some(mark) if !full => {
                let mut folders = Vec::new();
                for (folder, objects) in prefix.tail(source, &mark)? {
                    let path = format!("{source}/{folder}");
                    if !self.finished.contains(&hash(&path)) {
                        self.note(&path, now);
                        listed.insert(path, objects);
                    }
                    folders.push(folder);
                }
                self.mark(source, folders);
            }
            Some(_) | None => {
                let folders = prefix.folders(source)?;
                done.extend(self.took(source, folders.clone(), now));
                self.mark(source, folders);
            }
        }
        Ok(())
    }

    /// Takes the whole list of a source's folders; returns those that are done
    /// with.
    fn took(&mut self, source: &str, folders: Vec<String>, now: Timestamp) -> Vec<String> {
        let paths: HashSet<String> = folders.into_iter().map(|folder| format!("{source}/{folder}")).collect();
        self.open.retain(|path, _| parts(path).0 != source || paths.contains(path));
        let (done, open): (Vec<String>, Vec<String>) =
            paths.into_iter().partition(|path| self.finished.contains(&hash(path)));
        for path in open {
            self.note(&path, now);
        }
        done
    }

    /// Moves the mark of a source over folders that follow it and are done
    /// with, or looked at by full looks alone.
    fn mark(&mut self, source: &str, mut folders: Vec<String>) {
        folders.sort_by(|a, b| behind(a, b).cmp(&behind(b, a)));
        let done = |folder: &&String| {
            let path = format!("{source}/{folder}");
            self.finished.contains(&hash(&path))
                || self.open.get(&path).is_some_and(|open| open.standing == Standing::Abandoned)
        };
        if let Some(last) = folders.iter().take_while(done).last()
            && let Some(known) = self.sources.get_mut(source)
        {
            known.mark = Some(last.clone());
        }
    }

    /// The next folders of one standing.
    fn turn(&self, standing: Standing) -> Vec<String> {
        let ahead = self
            .open
            .range::<str, _>((std::ops::Bound::Excluded(self.next.as_str()), std::ops::Bound::Unbounded));
        let again = self
            .open
            .range::<str, _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(self.next.as_str())));
        let wanted = ahead.chain(again).filter(|(_, open)| open.standing == standing);
        wanted.take(COMPARED).map(|(path, _)| path.clone()).collect()
    }

    /// The next of the folders that are done with.
    fn turn_of_finished(&mut self, mut done: Vec<String>, most: usize) -> Vec<String> {
        done.sort();
        let behind = done.partition_point(|path| *path <= self.next_finished);
        done.rotate_left(behind);
        done.truncate(most);
        if let Some(last) = done.last() {
            self.next_finished.clone_from(last);
        }
        done
    }

    fn look_at(
        &mut self,
        inbox: &InboxSettings,
        prefix: &dyn Prefix,
        now: Timestamp,
        path: &str,
        objects: Option<Vec<Object>>,
        watch: &mut dyn FnMut(&str),
    ) -> InboxFolder {
        let (source, folder) = parts(path);
        if self.is_waiting(path) {
            watch(path);
        }
        let listed = objects.map_or_else(|| prefix.objects(path), Ok);
        let found = look(inbox, path.to_owned(), source, folder, now, listed);
        if let Some(open) = self.open.get_mut(path)
            && open.standing != Standing::Accepted
        {
            let idle = now.duration_since(found.newest.max(open.since)) > ABANDONED;
            let hopeless = found.names.is_none();
            open.standing = if found.waits.is_some() && (idle || hopeless) {
                Standing::Abandoned
            } else {
                Standing::Waiting
            };
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::intake::inbox::Complete;
    use crate::intake::prefix;

    struct Local {
        folder: tempfile::TempDir,
        inbox: InboxSettings,
        prefix: std::sync::Arc<dyn Prefix>,
        discovery: Discovery,
        now: Timestamp,
    }

    impl Local {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let url = url::Url::from_directory_path(folder.path()).unwrap();
            let inbox = InboxSettings {
                url: url.clone(),
                poll: Duration::from_secs(1),
                rescan: Duration::from_secs(60),
                complete: Complete::Manifest,
            };
            // Long enough after everything that is written now.
            let made = std::fs::metadata(folder.path()).unwrap().modified().unwrap();
            let now = Timestamp::try_from(made).unwrap() + SignedDuration::from_hours(1);
            Self { folder, inbox, prefix: prefix::open(&url).unwrap(), discovery: Discovery::default(), now }
        }

        fn put(&self, path: &str) {
            let path = self.folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
            std::fs::write(path, "x").unwrap();
        }

        fn look(&mut self, full: bool) -> Vec<String> {
            let look = self.discovery.look(&self.inbox, &*self.prefix, self.now, full, &mut |_| {}).unwrap();
            look.folders.into_iter().map(|folder| folder.path).collect()
        }
    }

    #[test]
    fn a_look_makes_as_many_requests_with_many_finished_folders_as_with_few() {
        let mut costs = Vec::new();
        for finished in [10, 2000] {
            let mut local = Local::new();
            for n in 0..finished {
                let path = format!("s/20260101T{:02}{:02}{:02}Z_r", n / 3600, n / 60 % 60, n % 60);
                local.put(&format!("{path}/manifest.json"));
                local.discovery.finished(&path);
            }
            local.put("s/20270101T000000Z_r/entities-0.ndjson");
            // Of those that are done with some are compared, however many there are.
            let looked = local.look(true);
            assert!(looked.contains(&"s/20270101T000000Z_r".to_owned()));
            assert_eq!(looked.len(), 1 + finished.min(COMPARED));
            let before = local.prefix.listings();
            assert_eq!(local.look(false), ["s/20270101T000000Z_r"]);
            costs.push(local.prefix.listings() - before);
        }
        assert_eq!(costs, [2, 2], "the inbox, and the unfinished folder");
    }

    #[test]
    fn full_looks_compare_all_that_is_done_with_one_after_the_other() {
        let mut local = Local::new();
        let paths: Vec<String> = (0..600).map(|n| format!("s/20260101T000000Z_r{n:03}")).collect();
        for path in &paths {
            local.put(&format!("{path}/manifest.json"));
            local.discovery.finished(path);
        }
        let mut seen: Vec<String> = (0..3).flat_map(|_| local.look(true)).collect();
        assert_eq!(seen.len(), 3 * COMPARED);
        seen.sort();
        seen.dedup();
        assert_eq!(seen, paths);
    }

    #[test]
    fn what_is_new_is_found_by_the_changed_list_and_what_went_is_forgotten() {
        let mut local = Local::new();
        local.put("s/20270101T000000Z_a/manifest.json");
        assert_eq!(local.look(false), ["s/20270101T000000Z_a"]);
        local.discovery.finished("s/20270101T000000Z_a");
        assert_eq!(local.look(false), [""; 0]);
        local.put("s/20270101T000000Z_b/x");
        local.put("t/20270101T000000Z_c/x");
        assert_eq!(local.look(false), ["s/20270101T000000Z_b", "t/20270101T000000Z_c"]);
        std::fs::remove_dir_all(local.folder.path().join("t")).unwrap();
        std::fs::remove_dir_all(local.folder.path().join("s/20270101T000000Z_b")).unwrap();
        assert_eq!(local.look(true), ["s/20270101T000000Z_a"], "to be compared");
    }

    #[test]
    fn an_abandoned_folder_is_looked_at_by_full_looks_alone_and_is_found_by_a_glance() {
        let mut local = Local::new();
        local.put("s/20270101T000000Z_a/x");
        local.look(false);
        local.now += SignedDuration::from_mins(20);
        assert_eq!(local.look(false), ["s/20270101T000000Z_a"], "for the last time");
        assert_eq!(local.look(false), [""; 0]);
        assert_eq!(local.look(true), ["s/20270101T000000Z_a"]);
        local.put("s/20270101T000000Z_a/manifest.json");
        let path = ["s/20270101T000000Z_a".to_owned()];
        let look = local.discovery.glance(&local.inbox, &*local.prefix, local.now, path, &mut |_| {});
        assert_eq!(look.folders[0].waits, None);
    }

    #[test]
    fn an_inbox_that_is_gone_is_looked_into_as_a_whole_when_it_is_back() {
        let mut local = Local::new();
        local.put("s/20270101T000000Z_a/x");
        local.look(false);
        let (root, away) = (local.folder.path().to_owned(), local.folder.path().with_extension("away"));
        std::fs::rename(&root, &away).unwrap();
        let look = local.discovery.look(&local.inbox, &*local.prefix, local.now, false, &mut |_| {}).unwrap();
        assert!(look.gone && look.folders.is_empty());
        std::fs::rename(&away, &root).unwrap();
        assert_eq!(local.look(false), ["s/20270101T000000Z_a"]);
    }
}
