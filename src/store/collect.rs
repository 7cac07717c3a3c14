//! Collection: removes what nothing needs, and what is worth least where room is asked for.
//!
//! What pipelines have as they were last is never removed; nor are the trials of a study among it,
//! for they are what makes the next study cheap. Which actions are cheap to run again is the
//! caller's knowledge, not the store's. It removes entries before the blobs that they name, so a
//! kill leaves nothing but blobs that the next collection takes.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::usage::Amount;
use super::{ABANDONED, Store, StoreError, files, links, listings, lock};
use crate::fingerprint::{Digest, Fingerprint};

mod needs;

use needs::{Item, Needs, protected};

/// How long a log without an entry, and a damaged file that was set aside, are kept.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What is to stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The results of so many runs of each pipeline stay; those of the last, unless given. Alone,
    /// all others go.
    pub keep_runs: Option<usize>,
    /// Of other results, those go that are older.
    pub older_than: Option<Duration>,
    /// Other results go, the cheapest to run again by byte first, until the store is no larger.
    pub max_size: Option<u64>,
    /// Whether nothing is removed, but only told.
    pub dry_run: bool,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Collected {
    /// By kind of thing.
    pub removed: BTreeMap<&'static str, Amount>,
    /// The bytes that stay.
    pub left: u64,
    /// Whether a run was under way: then nothing went that a run could need.
    pub busy: bool,
}

impl Collected {
    /// Gives the bytes that were freed.
    pub fn bytes(&self) -> u64 {
        self.removed.values().map(|amount| amount.bytes).sum()
    }
}

impl Limits {
    /// Says whether an entry that nothing protects goes, whatever the room.
    fn forbid(&self, item: &Item) -> bool {
        match self.older_than {
            Some(age) => is_older(item.modified, age),
            None => self.keep_runs.is_some() && self.max_size.is_none(),
        }
    }
}

/// A file or folder that goes.
struct Victim {
    kind: &'static str,
    path: PathBuf,
    bytes: u64,
}

impl Store {
    /// Removes what `limits` do not keep; `seconds` tells how long an action took, where known.
    ///
    /// Beside a run that is under way it removes nothing that a run could need, and says so.
    ///
    /// # Errors
    ///
    /// [`StoreError::Roots`] where what must be kept is not known; [`StoreError::Io`] where an entry
    /// cannot be read or a file not be removed.
    pub fn collect(
        &self,
        limits: &Limits,
        seconds: &dyn Fn(Fingerprint) -> Option<f64>,
    ) -> Result<Collected, StoreError> {
        // A look needs no lock, and a store that is read-only gives none.
        let locks = if limits.dry_run { None } else { Some(self.collection_locks()?) };
        let busy = matches!(&locks, Some((None, _)));
        let total = files::size(&self.folder);
        let mut victims = if busy { Vec::new() } else { self.choose(limits, total, seconds)? };
        victims.extend(self.leftovers());
        let mut collected = Collected { busy, ..Collected::default() };
        for victim in victims {
            if !limits.dry_run {
                remove(&victim.path)?;
            }
            collected.removed.entry(victim.kind).or_default().add(victim.bytes);
        }
        if !limits.dry_run {
            self.sweep();
            self.remove_idle_locks();
        }
        collected.left = total.saturating_sub(collected.bytes());
        Ok(collected)
    }

    /// Keeps runs from beginning, or finds that one is under way; and publishing from going on.
    fn collection_locks(&self) -> Result<(Option<lock::Lock>, lock::Lock), StoreError> {
        let alone = lock::try_exclusive(&self.path("locks/run"))?;
        Ok((alone, lock::exclusive(&self.path("locks/publish"))?))
    }

    /// Chooses the entries that go, with all that nothing needs then; entries first.
    fn choose(
        &self,
        limits: &Limits,
        total: u64,
        seconds: &dyn Fn(Fingerprint) -> Option<f64>,
    ) -> Result<Vec<Victim>, StoreError> {
        let (roots, forgotten) = self.roots_of_last(limits.keep_runs.unwrap_or(1).max(1))?;
        let mut needs = self.needs();
        let items = self.items(&needs)?;
        items.iter().for_each(|item| needs.add(item));
        let protected = protected(&items, &roots);
        let free = items.iter().filter(|item| !protected.contains(&item.fingerprint));
        let (mut gone, mut rest): (Vec<&Item>, Vec<&Item>) =
            free.partition(|item| limits.forbid(item));
        gone.iter().for_each(|item| needs.release(item));
        let mut checkpoints = self.checkpoints(limits, &items);
        if let Some(most) = limits.max_size {
            // What nobody knows the time of is taken to be dear.
            let seconds = |item: &Item| seconds(item.fingerprint).unwrap_or(f64::INFINITY);
            let rate = |item: &Item| seconds(item) / item.output_bytes().max(1) as f64;
            rest.sort_by(|a, b| rate(a).total_cmp(&rate(b)).then(a.modified.cmp(&b.modified)));
            let mut rest = rest.into_iter();
            let entries: u64 = gone.iter().map(|item| item.bytes).sum();
            let mut freed = entries + checkpoints.gone.iter().map(|one| one.bytes).sum::<u64>();
            while total.saturating_sub(freed + needs.dead) > most
                && let Some(item) = rest.next()
            {
                needs.release(item);
                freed += item.bytes;
                gone.push(item);
            }
            checkpoints.give_up(total.saturating_sub(freed + needs.dead + most));
        }
        let entries = gone.iter().map(|item| Victim::new("entries", &item.path, item.bytes));
        let mut victims: Vec<Victim> = entries.collect();
        victims.extend(self.dead(&needs));
        victims.extend(checkpoints.gone);
        victims.extend(gone.iter().map(|item| self.log_path(item.fingerprint)).filter_map(log));
        if limits.keep_runs.is_some() {
            victims.extend(forgotten.iter().map(|past| Victim::of("past", past)));
        }
        Ok(victims)
    }

    /// Gives the conversions, listings and blobs that nothing needs, and the links to them.
    fn dead(&self, needs: &Needs) -> Vec<Victim> {
        let conversions = needs.conversions.iter().filter(|(_, (users, _))| *users == 0);
        let conversions = conversions
            .map(|(key, _)| Victim::of("conversions", &self.sharded("conversions", *key)));
        let blobs = needs.blobs.iter().filter(|(_, (users, _))| *users == 0);
        let blobs = blobs
            .map(|(digest, (_, bytes))| Victim::new("blobs", &self.blob_path(*digest), *bytes));
        let listings = needs.listings.iter().filter(|(_, users)| **users == 0);
        let folder = self.path(listings::FOLDER);
        let listings =
            listings.map(|(digest, _)| Victim::of("listings", &folder.join(digest.to_string())));
        conversions.chain(blobs).chain(listings).chain(self.dangling(needs)).collect()
    }

    /// Gives the links to blobs that are not there or that nothing needs.
    fn dangling(&self, needs: &Needs) -> impl Iterator<Item = Victim> {
        let is_needed = |digest| needs.blobs.get(&digest).is_some_and(|(users, _)| *users > 0);
        let links = files::list(&self.path(links::FOLDER)).into_iter();
        links
            .filter(move |link| !links::digest_of(link).is_some_and(is_needed))
            .map(|link| Victim::of("links", &link))
    }

    /// Sorts the checkpoints into those that go and those that may.
    fn checkpoints(&self, limits: &Limits, items: &[Item]) -> Checkpoints {
        let known: HashSet<Fingerprint> = items.iter().map(|item| item.fingerprint).collect();
        let mut all = Checkpoints::default();
        for path in files::list(&self.path("checkpoints")) {
            let name = path.file_name().and_then(|name| name.to_str());
            let fingerprint = name.and_then(|name| name.parse().ok()).map(Fingerprint);
            // The action has ended: a kill kept the folder from being removed.
            let ended = fingerprint.is_some_and(|fingerprint| known.contains(&fingerprint));
            let modified = modified(&path);
            let old = limits.older_than.is_some_and(|age| is_older(modified, age));
            let victim = Victim::of("checkpoints", &path);
            if ended || old {
                all.gone.push(victim);
            } else {
                all.open.push((modified, victim));
            }
        }
        all.open.sort_by_key(|(modified, _)| *modified);
        all
    }

    /// Finds what no run needs, whatever it does.
    fn leftovers(&self) -> Vec<Victim> {
        let old = |kind, folder, age| {
            let paths = files::list_all(&self.path(folder)).into_iter();
            paths
                .filter(move |path| is_older(changed(path), age))
                .map(move |path| Victim::of(kind, &path))
        };
        let has_entry = |victim: &Victim| {
            let name = victim.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let fingerprint = name.get(..64).and_then(|name| name.parse().ok());
            fingerprint.is_some_and(|one| self.sharded("entries", one).exists())
        };
        let logs = old("logs", "logs", FORGOTTEN).filter(|log| !has_entry(log));
        let damaged = old("damaged", "damaged", FORGOTTEN);
        logs.chain(damaged).chain(old("temporary", "tmp", ABANDONED)).collect()
    }

    /// Removes the files of locks that killed runs left.
    fn remove_idle_locks(&self) {
        for path in files::list(&self.path("locks")) {
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.parse::<Digest>().is_ok()) {
                // Whoever has it holds its action's lock.
                if let Ok(Some(_held)) = lock::try_action(&path) {
                    let _ = fs::remove_file(&path);
                }
            }
        }
    }
}

/// The checkpoints that go, and the others, the oldest first.
#[derive(Default)]
struct Checkpoints {
    gone: Vec<Victim>,
    open: Vec<(SystemTime, Victim)>,
}

impl Checkpoints {
    /// Lets the oldest go until so many bytes are free.
    fn give_up(&mut self, mut bytes: u64) {
        let mut open = std::mem::take(&mut self.open).into_iter();
        while bytes > 0
            && let Some((_, victim)) = open.next()
        {
            bytes = bytes.saturating_sub(victim.bytes);
            self.gone.push(victim);
        }
    }
}

impl Victim {
    fn new(kind: &'static str, path: &Path, bytes: u64) -> Victim {
        Victim { kind, path: path.to_owned(), bytes }
    }

    fn of(kind: &'static str, path: &Path) -> Victim {
        Victim::new(kind, path, files::size(path))
    }
}

fn log(path: PathBuf) -> Option<Victim> {
    path.exists().then(|| Victim::of("logs", &path))
}

fn is_older(moment: SystemTime, age: Duration) -> bool {
    // What is from the future, by a clock that was set back, is young.
    moment.elapsed().is_ok_and(|elapsed| elapsed > age)
}

/// Gives when a file, or the latest in a folder, was written; the present where nobody can tell.
fn modified(path: &Path) -> SystemTime {
    let own = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    let own = own.unwrap_or_else(|_| SystemTime::now());
    files::list_all(path).iter().map(|path| modified(path)).fold(own, SystemTime::max)
}

/// Gives when a file was last written, renamed or otherwise changed.
fn changed(path: &Path) -> SystemTime {
    use std::os::unix::fs::MetadataExt;

    let changed = fs::symlink_metadata(path).ok().and_then(|metadata| {
        let seconds = u64::try_from(metadata.ctime()).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    });
    changed.unwrap_or_else(SystemTime::now)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    if is_folder { files::remove_folder(path) } else { files::remove_file(path) }
}

#[cfg(test)]
mod tests;
