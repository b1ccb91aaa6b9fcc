//! The lock on the quota: one process at a time makes room for a layer until it appears, or changes
//! the record of an image.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use cache_core::{Error, Result};

use crate::dir::handle::Handle;
use crate::dir::layout::QUOTA_LOCK;
use crate::dir::lock::{Attempt, FileLock, Holder};
use crate::failure::failure;

/// How long a holder may show no progress. It shows some each second, unless it is stopped.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the lock is waited for at most, however many others come first.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// Names the operation in errors.
pub(crate) const LOCK: &str = "lock the quota";

/// Does `work` with the lock on the quota, and shows progress meanwhile: others give up on a holder
/// that shows none, and lose what they have fetched. Fails when the lock is not to be had. Blocks.
pub(crate) fn under_quota<T>(dir: &Handle, work: impl FnOnce() -> Result<T>) -> Result<T> {
    match lock_quota(dir).map_err(|error| failure(LOCK, error))? {
        Attempt::Held(quota) => quota.beat_during(work),
        Attempt::Busy(holder) => Err(stalled(holder)),
        Attempt::NoRoom => Err(failure(LOCK, io::Error::from(io::ErrorKind::StorageFull))),
    }
}

/// Does `work` with the lock on the quota, or without it where it is not to be had: for work that
/// only removes. A stopped holder must not stop an operator, nor keep a full disk from being
/// emptied. Blocks.
pub(crate) fn under_quota_if_possible<T>(dir: &Handle, work: impl FnOnce() -> Result<T>) -> Result<T> {
    match lock_quota(dir).map_err(|error| failure(LOCK, error))? {
        Attempt::Held(quota) => quota.beat_during(work),
        Attempt::Busy(_) | Attempt::NoRoom => work(),
    }
}

/// Waits for the lock for as long as its holders make progress: `Busy` when one does not, `NoRoom`
/// when the disk is so full that nobody can hold it. Blocks.
pub(crate) fn lock_quota(dir: &Handle) -> io::Result<Attempt> {
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
        if since.elapsed() >= PATIENCE || began.elapsed() >= LONGEST_WAIT {
            return Ok(Attempt::Busy(holder));
        }
        thread::sleep(POLL);
    }
}

/// The error of an operation that cannot have the lock.
pub(crate) fn stalled(holder: Holder) -> Error {
    Error::unavailable(format!(
        "{holder} holds the lock on the quota and makes no progress: resume it or end it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::directory::tests::opened;

    #[test]
    fn who_holds_the_quota_and_makes_no_progress_is_not_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let dir = opened(root.path());
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
        let dir = opened(root.path());
        let (begun, has_begun) = std::sync::mpsc::channel();
        let long_work = || {
            begun.send(()).unwrap();
            thread::sleep(PATIENCE + Duration::from_secs(1));
            Ok(())
        };
        thread::scope(|scope| {
            let first = scope.spawn(|| under_quota(&dir, long_work));
            has_begun.recv().unwrap();
            under_quota(&dir, || Ok(())).unwrap();
            first.join().unwrap().unwrap();
        });
    }
}
