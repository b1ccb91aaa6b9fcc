//! Room: how much the layers may take and how much of the disk is left free, and the eviction of what is used least.
//!
//! Two limits, kept in different ways. `min_free_bytes` is kept while a layer is written, because the disk fills up then.
//! `max_bytes` is kept at the moment a layer appears: only then is it known to be right and how long it is, so that
//! a fill which fails has evicted nothing for it.

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, SystemTime};

use cache_core::{Digest, Error, LayerIndex, Result, planted};

use crate::directory::Handle;
use crate::failure::{failure, is_full};
use crate::layout::{LAYER, QUOTA_LOCK, file_name};
use crate::lock::{Attempt, FileLock};
use crate::scan::{Files, companions_of, scan};
use crate::tier::Store;

/// How long the quota lock is waited for. It is held for milliseconds, unless its holder is stopped: then the limit may be
/// exceeded by one layer of each process that goes on without it.
const QUOTA_LOCK_WAIT: Duration = Duration::from_secs(2);
/// How long a file system may take to show the space of removed files as free.
const FREEING_WAIT: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(5);
/// How often something is evicted for a write that the file system refuses.
const FULL_RETRIES: usize = 8;

/// What an eviction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Free space on the disk: layers that are open would free none. All that is needed, or nothing.
    Disk,
    /// Room within `max_bytes`: all that is needed, or nothing.
    Quota,
    /// What an operator asked for: as much of it as there is.
    Operator,
}

/// What an eviction did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evicted {
    pub(crate) layers: u64,
    pub(crate) bytes: u64,
}

impl Store {
    /// Refuses a layer that is, or grows, longer than the quota, before anything is evicted for it.
    pub(crate) fn check_quota(&self, len: u64) -> Result<()> {
        let needed = len.saturating_add(LayerIndex::encoded_len(len));
        match self.config.max_bytes {
            Some(max) if needed > max => Err(Error::unavailable(format!(
                "the layer is larger than the quota of {max} bytes: it is read without being cached"
            ))),
            _ => Ok(()),
        }
    }

    /// Evicts until `incoming` more bytes leave `min_free_bytes` of the disk free.
    pub(crate) fn make_room_on_disk(&self, dir: &Handle, keep: &Digest, incoming: u64) -> Result<()> {
        let wanted = self.config.min_free_bytes.saturating_add(incoming);
        let missing = || -> Result<u64> {
            Ok(wanted.saturating_sub(free_bytes(dir).map_err(|error| failure("examine the disk", error))?))
        };
        if self.config.min_free_bytes == 0 || missing()? == 0 {
            return Ok(());
        }
        // Others may be making room as well: under the lock only what is missing then is evicted.
        let _quota = lock_quota(dir)?;
        let evicted = self.evict(dir, Some(keep), missing()?, Purpose::Disk)?;
        let mut waited = Duration::ZERO;
        while missing()? > 0 {
            if evicted.layers == 0 || waited >= FREEING_WAIT {
                return Err(Error::unavailable(format!(
                    "the disk is full: {} bytes of it are to be left free",
                    self.config.min_free_bytes
                )));
            }
            thread::sleep(POLL);
            waited += POLL;
        }
        Ok(())
    }

    /// Evicts until `incoming` more bytes of the layer `keep` are within `max_bytes`. The room is the caller's for as long
    /// as it keeps what this returns.
    pub(crate) fn make_room_in_quota(
        &self,
        dir: &Handle,
        keep: &Digest,
        incoming: u64,
    ) -> Result<Option<FileLock>> {
        let Some(max) = self.config.max_bytes.filter(|_| !planted::is("quota-ignored")) else {
            return Ok(None);
        };
        let quota = lock_quota(dir)?;
        let used: u64 = self.scan(dir)?.values().map(|files| files.bytes).sum();
        let over = used.saturating_add(incoming).saturating_sub(max);
        if over > 0 && self.evict(dir, Some(keep), over, Purpose::Quota)?.bytes < over {
            return Err(Error::unavailable(format!(
                "no room within the quota of {max} bytes: the other layers are in use"
            )));
        }
        Ok(quota)
    }

    /// Does `work`, evicting `needed` bytes each time the file system has no room for it.
    pub(crate) fn when_full_evict<T>(
        &self,
        dir: &Handle,
        keep: &Digest,
        needed: u64,
        what: &str,
        mut work: impl FnMut() -> io::Result<T>,
    ) -> Result<T> {
        for _ in 0..FULL_RETRIES {
            match work() {
                Err(error) if is_full(&error) => {
                    if self.evict(dir, Some(keep), needed, Purpose::Disk)?.layers == 0 {
                        return Err(failure(what, error));
                    }
                }
                done => return done.map_err(|error| failure(what, error)),
            }
        }
        work().map_err(|error| failure(what, error))
    }

    /// Evicts the least recently used layers until `needed` bytes are gone.
    pub(crate) fn evict(
        &self,
        dir: &Handle,
        keep: Option<&Digest>,
        needed: u64,
        purpose: Purpose,
    ) -> Result<Evicted> {
        let mut evicted = Evicted::default();
        if needed == 0 {
            return Ok(evicted);
        }
        let mut candidates: Vec<(SystemTime, Digest, Files)> = self
            .scan(dir)?
            .into_iter()
            .filter(|(digest, _)| Some(digest) != keep)
            .filter_map(|(digest, files)| Some((files.layer?.1, digest, files)))
            .collect();
        if purpose == Purpose::Disk && !planted::is("open-layer-evicted") {
            candidates.retain(|(_, digest, _)| !is_open(dir, digest));
        }
        let evictable: u64 = candidates.iter().map(|(.., files)| files.bytes).sum();
        if evictable < needed && purpose != Purpose::Operator {
            return Ok(evicted);
        }
        candidates.sort_unstable_by_key(|(used, digest, _)| (*used, *digest));
        if planted::is("most-recently-used-evicted") {
            candidates.reverse();
        }
        for (_, digest, files) in candidates {
            if evicted.bytes >= needed {
                break;
            }
            // Whoever holds the lock fills or removes the layer.
            let attempt = FileLock::try_acquire(dir, &digest.hex());
            let free = matches!(attempt, Ok(Attempt::Held(_) | Attempt::NoRoom))
                || planted::is("layer-being-filled-evicted");
            if free && remove_files(dir, &digest, &files.companions).is_ok_and(|removed| removed) {
                evicted.layers += 1;
                evicted.bytes += files.bytes;
                self.evicted_layers.fetch_add(1, Relaxed);
                tracing::info!(%digest, bytes = files.bytes, "evicted layer from disk");
            }
        }
        Ok(evicted)
    }

    /// Removes a layer and its companions; whether there was a layer. While somebody else holds its lock, what it is
    /// about to commit is not removed, and the companions are left to it.
    pub(crate) fn remove_layer(&self, dir: &Handle, digest: &Digest) -> io::Result<bool> {
        let attempt = FileLock::try_acquire(dir, &digest.hex())?;
        match attempt {
            Attempt::Held(_) | Attempt::NoRoom => remove_files(dir, digest, &companions_of(dir, digest)?),
            Attempt::Busy(_) => dir.unlink(&file_name(digest, LAYER)),
        }
    }

    pub(crate) fn scan(&self, dir: &Handle) -> Result<BTreeMap<Digest, Files>> {
        scan(dir).map_err(|error| failure("list the cache directory", error))
    }
}

/// Removes the files of a layer that nobody else has the lock of: the layer first, so that it is not there without its
/// index.
pub(crate) fn remove_files(dir: &Handle, digest: &Digest, companions: &[String]) -> io::Result<bool> {
    let removed = dir.unlink(&file_name(digest, LAYER))?;
    for kind in companions {
        dir.unlink(&file_name(digest, kind))?;
    }
    Ok(removed)
}

/// Makes it durable that files were removed. An evicted layer may come back in a power loss, since it is right; one that was
/// removed for being wrong must not, least of all next to the index of the right one.
pub(crate) fn sync_removal(dir: &Handle) -> io::Result<()> {
    if planted::is("wrong-layer-comes-back") {
        return Ok(());
    }
    dir.sync()
}

/// Whether some process has the layer open: readers keep a shared lock on its file.
fn is_open(dir: &Handle, digest: &Digest) -> bool {
    let file = dir.open_file(&file_name(digest, LAYER));
    file.is_ok_and(|file| {
        matches!(
            file.map(|file| file.try_lock()),
            Some(Err(TryLockError::WouldBlock))
        )
    })
}

/// How many bytes of the file system this user may still write.
pub(crate) fn free_bytes(dir: &Handle) -> io::Result<u64> {
    let stat = rustix::fs::fstatvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Waits for the lock that makes room a question of one process at a time; `None` when its holder does not give it up, or
/// when the disk is so full that there cannot be one.
pub(crate) fn lock_quota(dir: &Handle) -> Result<Option<FileLock>> {
    let mut waited = Duration::ZERO;
    loop {
        match FileLock::try_acquire(dir, QUOTA_LOCK).map_err(|error| failure("lock the quota", error))? {
            Attempt::Held(lock) => return Ok(Some(lock)),
            // Making room does not fail for want of it.
            Attempt::NoRoom => return Ok(None),
            Attempt::Busy(_) if waited >= QUOTA_LOCK_WAIT => return Ok(None),
            Attempt::Busy(_) => thread::sleep(POLL),
        }
        waited += POLL;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use cache_core::LayerDescriptor;

    use super::*;
    use crate::DiskTier;

    /// A tier with three layers of 1000 bytes, and no index: only the lengths matter here.
    fn tier(dir: &std::path::Path) -> DiskTier {
        for n in 0..3 {
            let layer = dir.join(file_name(&Digest::sha256_of(&[n]), LAYER));
            fs::write(&layer, [n; 1000]).unwrap();
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(n.into());
            fs::File::open(&layer).unwrap().set_modified(used).unwrap();
        }
        DiskTier::builder(dir).open().unwrap()
    }

    fn full() -> io::Error {
        io::ErrorKind::StorageFull.into()
    }

    #[test]
    fn a_full_disk_evicts_until_the_work_is_done() {
        let root = tempfile::tempdir().unwrap();
        let store = tier(root.path()).store;
        let dir = store.directory.current().unwrap();
        let new = Digest::sha256_of(b"new");
        let tries = Cell::new(0);
        let done = store.when_full_evict(&dir, &new, 10, "write", || {
            tries.set(tries.get() + 1);
            if tries.get() < 3 { Err(full()) } else { Ok("done") }
        });
        assert_eq!(done.unwrap(), "done");
        assert_eq!(store.evicted_layers.load(Relaxed), 2);
        assert_eq!(
            store.scan(&dir).unwrap().into_keys().collect::<Vec<_>>(),
            [Digest::sha256_of(&[2])]
        );
    }

    #[test]
    fn a_disk_that_stays_full_is_an_error_that_says_so() {
        let root = tempfile::tempdir().unwrap();
        let store = tier(root.path()).store;
        let dir = store.directory.current().unwrap();
        let new = Digest::sha256_of(b"new");
        let error = store
            .when_full_evict(&dir, &new, 10, "write", || Err::<(), _>(full()))
            .unwrap_err();
        assert_eq!(error.kind(), cache_core::ErrorKind::Unavailable);
        assert!(error.message().contains("the disk is full"), "{error}");
        // What is more than all there is to evict, nothing is evicted for.
        let other = tempfile::tempdir().unwrap();
        let store = tier(other.path()).store;
        let dir = store.directory.current().unwrap();
        let refused = store.when_full_evict(&dir, &new, 3001, "write", || Err::<(), _>(full()));
        assert!(refused.is_err());
        assert_eq!(store.evicted_layers.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn a_full_disk_does_not_evict_what_is_open_since_that_frees_nothing() {
        let root = tempfile::tempdir().unwrap();
        let store = tier(root.path()).store;
        let dir = store.directory.current().unwrap();
        let (oldest, new) = (Digest::sha256_of(&[0]), Digest::sha256_of(b"new"));
        let layer = LayerDescriptor::new(oldest).with_diff_id(Digest::sha256_of(&[0; 1000]));
        let reader = store.find(&layer).await.unwrap();
        let work = || store.evict(&dir, Some(&new), 1, Purpose::Disk).unwrap().layers;
        assert_eq!(work(), 1);
        assert!(dir.contains(&file_name(&oldest, LAYER)));
        assert_eq!(work(), 1);
        assert_eq!(work(), 0);
        drop(reader);
        assert_eq!(work(), 1);
        assert!(!dir.contains(&file_name(&oldest, LAYER)));
    }

    #[test]
    fn who_holds_the_quota_for_long_is_not_waited_for_longer() {
        let root = tempfile::tempdir().unwrap();
        let dir = tier(root.path()).store.directory.current().unwrap();
        let held = lock_quota(&dir).unwrap();
        assert!(held.is_some());
        assert!(lock_quota(&dir).unwrap().is_none());
    }

    #[test]
    fn another_failure_evicts_nothing() {
        let root = tempfile::tempdir().unwrap();
        let store = tier(root.path()).store;
        let dir = store.directory.current().unwrap();
        let denied = || Err::<(), _>(io::ErrorKind::PermissionDenied.into());
        let error = store
            .when_full_evict(&dir, &Digest::sha256_of(b"new"), 1, "write", denied)
            .unwrap_err();
        assert_eq!(error.kind(), cache_core::ErrorKind::Permanent);
        assert_eq!(store.evicted_layers.load(Relaxed), 0);
    }
}
