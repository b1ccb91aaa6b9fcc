//! Room: how much the layers may take, and how much of the disk is left free.
//!
//! The two limits are kept in different ways. `min_free_bytes` is kept while a layer is written,
//! because the disk fills up then. `max_bytes` is kept at the moment a layer appears: only then is
//! it known to be right and how long it is, so a fill that fails has evicted nothing for it. A
//! process that makes room for a layer holds the lock on the quota until the layer is there. So
//! however many processes fill the directory, the files with a name in it never take more than
//! `max_bytes`.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cache_core::{Digest, Error, Result};

use crate::config::DiskConfig;
use crate::dir::handle::Handle;
use crate::dir::lock::Attempt;
use crate::dir::quota_lock::{LOCK, lock_quota, stalled, under_quota_if_possible};
use crate::dir::scan::scan;
use crate::failure::{failure, is_full};
use crate::space::evict::{Evictor, Purpose};
use crate::space::oversize::Oversize;
use crate::space::quarantine::Quarantine;

/// How long a file system may take to show the space of removed files as free, and a process that
/// has filled a layer to give its lock back.
const FREEING_WAIT: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(5);
/// How often something is evicted for a write that the file system refuses.
const FULL_RETRIES: usize = 8;

/// Keeps the limits, by evicting.
#[derive(Debug)]
pub(crate) struct Quota {
    max_bytes: Option<u64>,
    min_free_bytes: u64,
    pub(crate) oversize: Oversize,
    quarantine: Arc<Quarantine>,
    evictor: Arc<Evictor>,
}

impl Quota {
    pub(crate) fn new(config: &DiskConfig, quarantine: &Arc<Quarantine>, evictor: &Arc<Evictor>) -> Self {
        Self {
            max_bytes: config.max_bytes,
            min_free_bytes: config.min_free_bytes,
            oversize: Oversize::new(config.max_bytes),
            quarantine: Arc::clone(quarantine),
            evictor: Arc::clone(evictor),
        }
    }

    /// Evicts until `incoming` more bytes leave `min_free_bytes` of the disk free. Blocks.
    pub(crate) fn make_room_on_disk(&self, dir: &Handle, keep: &Digest, incoming: u64) -> Result<()> {
        let wanted = self.min_free_bytes.saturating_add(incoming);
        let missing = || -> Result<u64> { Ok(wanted.saturating_sub(dir.free_bytes()?)) };
        if self.min_free_bytes == 0 || missing()? == 0 {
            return Ok(());
        }
        // Others may be making room as well: only the bytes that are missing under the lock are
        // evicted. It goes on without the lock, because the disk is full.
        under_quota_if_possible(dir, || {
            let evicted = self.evictor.evict(dir, keep, missing()?, Purpose::Disk)?;
            let mut waited = Duration::ZERO;
            while missing()? > 0 {
                if evicted.bytes == 0 || waited >= FREEING_WAIT {
                    return Err(Error::unavailable(format!(
                        "the disk is full: `min_free_bytes` leaves {} bytes of it free",
                        self.min_free_bytes
                    )));
                }
                thread::sleep(POLL);
                waited += POLL;
            }
            Ok(())
        })
    }

    /// Evicts until `incoming` more bytes of the layer `keep` are within `max_bytes`, and does
    /// `work` while the room is there. Blocks.
    pub(crate) fn with_room_in_quota<T>(
        &self,
        dir: &Handle,
        keep: &Digest,
        incoming: u64,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let Some(max) = self.max_bytes else {
            return work();
        };
        let locked = self.when_full_evict(dir, keep, 1, LOCK, || match lock_quota(dir)? {
            Attempt::Held(lock) => Ok(Ok(lock)),
            Attempt::Busy(holder) => Ok(Err(holder)),
            Attempt::NoRoom => Err(io::ErrorKind::StorageFull.into()),
        })?;
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
            let used: u64 = scan(dir)?.values().map(|files| files.bytes).sum();
            let used = used.saturating_add(self.quarantine.total(dir).bytes);
            let over = used.saturating_add(incoming).saturating_sub(max);
            if over == 0 || self.evictor.evict(dir, keep, over, Purpose::Quota)?.bytes >= over {
                return Ok(());
            }
            // A layer is there a moment before the process that has filled it gives its lock back.
            if begun.elapsed() >= FREEING_WAIT {
                return Err(Error::unavailable(format!(
                    "no room within the quota of {max} bytes: the other layers are being filled or removed"
                )));
            }
            thread::sleep(POLL);
        }
    }

    /// Does `work`, and evicts `needed` bytes each time the file system has no room for it. Blocks.
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
                    if self.evictor.evict(dir, keep, needed, Purpose::Disk)?.bytes == 0 {
                        return Err(failure(what, error));
                    }
                }
                done => return done.map_err(|error| failure(what, error)),
            }
        }
        work().map_err(|error| failure(what, error))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::time::SystemTime;

    use super::*;
    use crate::dir::directory::tests::opened;
    use crate::dir::layout::{LAYER, file_name};
    use crate::images::record::ImageRecord;
    use crate::images::records::remember;
    use crate::layer::reader::DiskReader;

    /// A directory with three layers of 1000 bytes, and no index: only the lengths matter here.
    fn three_layers(dir: &std::path::Path) -> (Quota, Arc<Handle>) {
        for n in 0..3 {
            let layer = dir.join(file_name(&Digest::sha256_of(&[n]), LAYER));
            fs::write(&layer, [n; 1000]).unwrap();
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(n.into());
            fs::File::open(&layer).unwrap().set_modified(used).unwrap();
        }
        let config = DiskConfig::new(dir);
        let quarantine = Arc::default();
        let evictor = Evictor::new(&config.name, &Arc::default(), &quarantine);
        let quota = Quota::new(&config, &quarantine, &Arc::new(evictor));
        (quota, opened(dir))
    }

    fn full() -> io::Error {
        io::ErrorKind::StorageFull.into()
    }

    #[test]
    fn a_full_disk_evicts_until_the_work_is_done() {
        let root = tempfile::tempdir().unwrap();
        let (quota, dir) = three_layers(root.path());
        let new = Digest::sha256_of(b"new");
        let tries = Cell::new(0);
        let done = quota.when_full_evict(&dir, &new, 10, "write", || {
            tries.set(tries.get() + 1);
            if tries.get() < 3 { Err(full()) } else { Ok("done") }
        });
        assert_eq!(done.unwrap(), "done");
        assert_eq!(quota.evictor.total(), 2);
        assert_eq!(
            scan(&dir).unwrap().into_keys().collect::<Vec<_>>(),
            [Digest::sha256_of(&[2])]
        );
    }

    #[test]
    fn a_disk_that_stays_full_is_an_error_that_says_so() {
        let root = tempfile::tempdir().unwrap();
        let (quota, dir) = three_layers(root.path());
        let new = Digest::sha256_of(b"new");
        let error = quota
            .when_full_evict(&dir, &new, 10, "write", || Err::<(), _>(full()))
            .unwrap_err();
        assert_eq!(error.kind(), cache_core::ErrorKind::Unavailable);
        assert!(error.message().contains("the disk is full"), "{error}");
        // For more than all there is to evict, nothing is evicted.
        let other = tempfile::tempdir().unwrap();
        let (quota, dir) = three_layers(other.path());
        let refused = quota.when_full_evict(&dir, &new, 3001, "write", || Err::<(), _>(full()));
        assert!(refused.is_err());
        assert_eq!(quota.evictor.total(), 0);
    }

    #[test]
    fn a_full_disk_does_not_evict_what_is_open_since_that_frees_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (quota, dir) = three_layers(root.path());
        let (oldest, new) = (Digest::sha256_of(&[0]), Digest::sha256_of(b"new"));
        let file = dir.open_file(&file_name(&oldest, LAYER)).unwrap().unwrap();
        let reader = DiskReader::committed(&"disk".into(), oldest, Arc::clone(&dir), Arc::new(file), 1000);
        reader.keep();
        let work = || {
            quota
                .evictor
                .evict(&dir, &new, 1, Purpose::Disk)
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

    #[test]
    fn a_full_disk_evicts_pinned_layers_when_there_are_no_others() {
        let root = tempfile::tempdir().unwrap();
        let (quota, dir) = three_layers(root.path());
        let oldest = Digest::sha256_of(&[0]);
        let image = ImageRecord::new("image", "", vec![oldest]).with_pinned(true);
        remember(&dir, image, true).unwrap();
        let new = Digest::sha256_of(b"new");
        let mut evicted = Vec::new();
        for _ in 0..3 {
            let next = quota.evictor.evict(&dir, &new, 1, Purpose::Disk).unwrap();
            evicted.extend(next.layers.into_iter().map(|(digest, _)| digest));
        }
        let others = [1, 2].map(|n| Digest::sha256_of(&[n]));
        assert_eq!(evicted, [others[0], others[1], oldest]);
    }

    #[test]
    fn another_failure_evicts_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (quota, dir) = three_layers(root.path());
        let denied = || Err::<(), _>(io::ErrorKind::PermissionDenied.into());
        let error = quota
            .when_full_evict(&dir, &Digest::sha256_of(b"new"), 1, "write", denied)
            .unwrap_err();
        assert_eq!(error.kind(), cache_core::ErrorKind::Permanent);
        assert_eq!(quota.evictor.total(), 0);
    }
}
