//! Room: how much the layers may take, and how much of the disk is left free.
//!
//! Two limits, kept in different ways. `min_free_bytes` is kept while a layer is written, because the disk fills up then.
//! `max_bytes` is kept at the moment a layer appears: only then is it known to be right and how long it is, so that
//! a fill which fails has evicted nothing for it. Whoever makes room for a layer holds the lock on the quota until the layer is there, so
//! that however many processes fill the directory, what has a name in it is never more than `max_bytes`.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use cache_core::{Digest, Error, Result, planted};
use rustix::fs::StatVfs;

use crate::dir::directory::Handle;
use crate::dir::layout::QUOTA_LOCK;
use crate::dir::lock::{Attempt, FileLock, Holder};
use crate::failure::{failure, is_full};
use crate::space::evict::Purpose;
use crate::tier::Store;

/// How long a holder of the quota lock may show no progress. It shows some each second, unless it is stopped.
const QUOTA_LOCK_PATIENCE: Duration = Duration::from_secs(3);
/// How long the quota lock is waited for at most, however many others come first.
const QUOTA_LOCK_WAIT: Duration = Duration::from_secs(60);
/// How long a file system may take to show the space of removed files as free, and whoever has filled a layer to give its lock back.
const FREEING_WAIT: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(5);
/// How often something is evicted for a write that the file system refuses.
const FULL_RETRIES: usize = 8;

/// What locking the quota does, for its failure.
const LOCK: &str = "lock the quota";

impl Store {
    /// Evicts until `incoming` more bytes leave `min_free_bytes` of the disk free.
    pub(crate) fn make_room_on_disk(&self, dir: &Handle, keep: &Digest, incoming: u64) -> Result<()> {
        let wanted = self.config.min_free_bytes.saturating_add(incoming);
        let missing = || -> Result<u64> {
            Ok(wanted.saturating_sub(free_bytes(dir).map_err(|error| failure("examine the disk", error))?))
        };
        if self.config.min_free_bytes == 0 || missing()? == 0 {
            return Ok(());
        }
        // Others may be making room as well: under the lock only what is missing then is evicted. Without it as well: the disk is full.
        under_quota_if_possible(dir, || {
            let evicted = self.evict(dir, Some(keep), missing()?, Purpose::Disk)?;
            let mut waited = Duration::ZERO;
            while missing()? > 0 {
                if evicted.bytes == 0 || waited >= FREEING_WAIT {
                    return Err(Error::unavailable(format!(
                        "the disk is full: `min_free_bytes` leaves {} bytes of it free",
                        self.config.min_free_bytes
                    )));
                }
                thread::sleep(POLL);
                waited += POLL;
            }
            Ok(())
        })
    }

    /// Evicts until `incoming` more bytes of the layer `keep` are within `max_bytes`, and does `work` while the room is there.
    pub(crate) fn with_room_in_quota<T>(
        &self,
        dir: &Handle,
        keep: &Digest,
        incoming: u64,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let Some(max) = self.config.max_bytes.filter(|_| !planted::is("quota-ignored")) else {
            return work();
        };
        let locked = self.when_full_evict(dir, keep, 1, LOCK, || match lock_quota(dir)? {
            Attempt::Held(lock) => Ok(Ok(lock)),
            Attempt::Busy(holder) => Ok(Err(holder)),
            Attempt::NoRoom => Err(io::ErrorKind::StorageFull.into()),
        })?;
        if locked.is_err() && planted::is("layer-appears-without-the-quota") {
            return work();
        }
        // A layer that appears without the lock may be one too many.
        let quota = locked.map_err(stalled)?;
        quota.beat_during(|| {
            self.make_room_in_quota(dir, keep, incoming, max)?;
            work()
        })
    }

    fn make_room_in_quota(&self, dir: &Handle, keep: &Digest, incoming: u64, max: u64) -> Result<()> {
        let begun = Instant::now();
        loop {
            let used: u64 = self.scan(dir)?.values().map(|files| files.bytes).sum();
            let used = used.saturating_add(self.quarantined(dir).bytes);
            let over = used.saturating_add(incoming).saturating_sub(max);
            if over == 0 || self.evict(dir, Some(keep), over, Purpose::Quota)?.bytes >= over {
                return Ok(());
            }
            // A layer is there a moment before whoever has filled it gives its lock back.
            if begun.elapsed() >= FREEING_WAIT {
                return Err(Error::unavailable(format!(
                    "no room within the quota of {max} bytes: the other layers are being filled or removed"
                )));
            }
            thread::sleep(POLL);
        }
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
                    if self.evict(dir, Some(keep), needed, Purpose::Disk)?.bytes == 0 {
                        return Err(failure(what, error));
                    }
                }
                done => return done.map_err(|error| failure(what, error)),
            }
        }
        work().map_err(|error| failure(what, error))
    }
}

/// How many bytes of the file system this user may still write.
pub(crate) fn free_bytes(dir: &Handle) -> io::Result<u64> {
    Ok(writable_bytes(&rustix::fs::fstatvfs(dir)?))
}

/// The same of what the file system says.
pub(crate) fn writable_bytes(stat: &StatVfs) -> u64 {
    stat.f_bavail.saturating_mul(stat.f_frsize)
}

/// Does `work` with the lock on the quota, and shows progress meanwhile: others give up on a holder that shows none, and what they have
/// fetched is lost for it. Fails when the lock is not to be had. Blocks.
pub(crate) fn under_quota<T>(dir: &Handle, work: impl FnOnce() -> Result<T>) -> Result<T> {
    match lock_quota(dir).map_err(|error| failure(LOCK, error))? {
        Attempt::Held(quota) => quota.beat_during(work),
        Attempt::Busy(holder) => Err(stalled(holder)),
        Attempt::NoRoom => Err(failure(LOCK, io::Error::from(io::ErrorKind::StorageFull))),
    }
}

/// The same for what only removes: it goes on without the lock where that is not to be had, since who stops with it stops no operator,
/// and no full disk from being emptied. Blocks.
pub(crate) fn under_quota_if_possible<T>(dir: &Handle, work: impl FnOnce() -> Result<T>) -> Result<T> {
    match lock_quota(dir).map_err(|error| failure(LOCK, error))? {
        Attempt::Held(quota) => quota.beat_during(work),
        Attempt::Busy(_) | Attempt::NoRoom => work(),
    }
}

/// Waits for the lock that makes room a question of one process at a time, for as long as its holders make progress: `Busy` when one
/// does not, `NoRoom` when the disk is so full that nobody can hold it. Blocks.
fn lock_quota(dir: &Handle) -> io::Result<Attempt> {
    let began = Instant::now();
    let mut seen: Option<(Holder, Instant)> = None;
    loop {
        let holder = match FileLock::try_acquire(dir, QUOTA_LOCK)? {
            Attempt::Busy(holder) => holder,
            attempt => return Ok(attempt),
        };
        let since = match seen {
            Some((last, since)) if last == holder => since,
            _ => Instant::now(),
        };
        seen = Some((holder, since));
        if since.elapsed() >= QUOTA_LOCK_PATIENCE || began.elapsed() >= QUOTA_LOCK_WAIT {
            return Ok(Attempt::Busy(holder));
        }
        thread::sleep(POLL);
    }
}

/// The error for want of the quota lock.
fn stalled(holder: Holder) -> Error {
    Error::unavailable(format!(
        "{holder} holds the lock on the quota and makes no progress: resume it or end it"
    ))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::SystemTime;

    use cache_core::LayerDescriptor;

    use super::*;
    use crate::DiskTier;
    use crate::dir::layout::{LAYER, file_name};

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
        let work = || {
            store
                .evict(&dir, Some(&new), 1, Purpose::Disk)
                .unwrap()
                .layers
                .len()
        };
        assert_eq!(work(), 1);
        assert!(dir.contains(&file_name(&oldest, LAYER)));
        assert_eq!(work(), 1);
        assert_eq!(work(), 0);
        drop(reader);
        assert_eq!(work(), 1);
        assert!(!dir.contains(&file_name(&oldest, LAYER)));
    }

    #[tokio::test]
    async fn a_full_disk_evicts_pinned_layers_when_there_are_no_others() {
        let root = tempfile::tempdir().unwrap();
        let tier = tier(root.path());
        let oldest = Digest::sha256_of(&[0]);
        let image = crate::ImageRecord::new("image", "", vec![oldest]).with_pinned(true);
        tier.record_image(image).await.unwrap();
        let dir = tier.store.directory.current().unwrap();
        let new = Digest::sha256_of(b"new");
        let mut evicted = Vec::new();
        for _ in 0..3 {
            let next = tier.store.evict(&dir, Some(&new), 1, Purpose::Disk).unwrap();
            evicted.extend(next.layers.into_iter().map(|(digest, _)| digest));
        }
        let others = [1, 2].map(|n| Digest::sha256_of(&[n]));
        assert_eq!(evicted, [others[0], others[1], oldest]);
    }

    #[test]
    fn who_holds_the_quota_and_makes_no_progress_is_not_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let dir = tier(root.path()).store.directory.current().unwrap();
        let held = lock_quota(&dir).unwrap();
        assert!(matches!(held, Attempt::Held(_)));
        let Attempt::Busy(holder) = lock_quota(&dir).unwrap() else {
            panic!("locked twice")
        };
        assert!(
            stalled(holder)
                .message()
                .contains(&std::process::id().to_string())
        );
    }

    #[test]
    fn who_shows_progress_is_waited_for_however_long_it_takes() {
        let root = tempfile::tempdir().unwrap();
        let dir = tier(root.path()).store.directory.current().unwrap();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let long_work = || {
            begun.send(()).unwrap();
            thread::sleep(QUOTA_LOCK_PATIENCE + Duration::from_secs(1));
            Ok(())
        };
        thread::scope(|scope| {
            let first = scope.spawn(|| under_quota(&dir, long_work));
            has_begun.recv().unwrap();
            under_quota(&dir, || Ok(())).unwrap();
            first.join().unwrap().unwrap();
        });
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
