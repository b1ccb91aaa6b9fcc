//! Locks that exclude every other task and process of the host: one for each layer, one for the
//! quota.
//!
//! A lock is an exclusive `flock` of a file in `lock/`, so the kernel releases it when its holder
//! dies. The holder writes its pid into the file, shows progress by the file's mtime, and removes
//! the file before it unlocks it. A process that has locked a file must therefore check that the
//! name still stands for that file.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{Mode, OFlags};

use crate::dir::handle::{Handle, still_names, unlink_at};
use crate::dir::layout::LOCK_DIR;
use crate::failure::is_full;

/// How often a holder shows progress at most.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often a lock file that vanishes under our hands is tried again at once, before it counts as
/// busy.
const VANISHED_RETRIES: usize = 16;
const MAX_PID_LEN: u64 = 20;

/// An exclusive lock that is held. Dropping it removes the lock file and releases the lock.
#[derive(Debug)]
pub(crate) struct FileLock {
    dir: OwnedFd,
    name: String,
    file: File,
    last_beat: Instant,
}

/// The outcome of an attempt to lock.
#[derive(Debug)]
pub(crate) enum Attempt {
    Held(FileLock),
    Busy(Holder),
    /// The disk is so full that there cannot be a lock file: nobody holds the lock or can take it.
    NoRoom,
}

/// A process that holds a lock, as far as its lock file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: Option<u32>,
    /// Time of its last progress; `None` when it has just released the lock.
    pub(crate) heartbeat: Option<SystemTime>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}

impl FileLock {
    /// Locks `name` unless somebody else holds it. Never waits.
    pub(crate) fn try_acquire(dir: &Handle, name: &str) -> io::Result<Attempt> {
        for _ in 0..VANISHED_RETRIES {
            let (dir, mut file) = match open(dir, name) {
                Err(error) if is_full(&error) => return Ok(Attempt::NoRoom),
                opened => opened?,
            };
            match file.try_lock() {
                Ok(()) if still_names(&dir, name, &file) => {
                    // The pid is for messages only, and evicting from a full disk has to be
                    // possible.
                    let pid = std::process::id().to_string();
                    let _ = file.set_len(0).and_then(|()| file.write_all(pid.as_bytes()));
                    let lock = Self {
                        dir,
                        name: name.to_owned(),
                        file,
                        last_beat: Instant::now(),
                    };
                    lock.touch();
                    return Ok(Attempt::Held(lock));
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Attempt::Busy(Holder::of(&file))),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(Attempt::Busy(Holder {
            pid: None,
            heartbeat: None,
        }))
    }

    /// Shows progress, at most once in a while.
    pub(crate) fn beat(&mut self) {
        if self.last_beat.elapsed() >= HEARTBEAT {
            self.last_beat = Instant::now();
            self.touch();
        }
    }

    /// Shows progress. A heartbeat that fails does not fail the fill: at worst others stop waiting.
    fn touch(&self) {
        let _ = self.file.set_modified(SystemTime::now());
    }

    /// Runs `work`, which may take long within a single system call, and shows progress meanwhile.
    pub(crate) fn beat_during<T>(&self, work: impl FnOnce() -> T) -> T {
        thread::scope(|scope| {
            let (done, wait) = channel::<()>();
            let beats = move || {
                while wait.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                    self.touch();
                }
            };
            self.touch();
            // Without a thread to spare the work is done without heartbeats.
            let _ = thread::Builder::new()
                .name("cache-disk-beat".into())
                .spawn_scoped(scope, beats);
            let result = work();
            drop(done);
            result
        })
    }
}

/// Opens or makes a lock file. Without `NONBLOCK`, opening a FIFO would wait for a reader.
const TO_LOCK: OFlags = OFlags::RDWR
    .union(OFlags::CREATE)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);
const FOR_THE_USER: Mode = Mode::RUSR.union(Mode::WUSR);

fn open(dir: &Handle, name: &str) -> io::Result<(OwnedFd, File)> {
    let dir = dir.subdir(LOCK_DIR)?;
    let file = rustix::fs::openat(&dir, name, TO_LOCK, FOR_THE_USER)?;
    Ok((dir, file.into()))
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // An operator may have removed the file, and somebody else may hold a new one of the same
        // name.
        if still_names(&self.dir, &self.name, &self.file) {
            let _ = unlink_at(&self.dir, &self.name);
        }
    }
}

impl Holder {
    fn of(file: &File) -> Self {
        let mut pid = String::new();
        let read = file.take(MAX_PID_LEN).read_to_string(&mut pid);
        let pid = read.ok().and_then(|_| pid.parse().ok());
        Self {
            pid,
            heartbeat: file.metadata().and_then(|metadata| metadata.modified()).ok(),
        }
    }
}

/// Decides how long to wait for a holder: for as long as it makes progress.
#[derive(Debug)]
pub(crate) struct LockPatience {
    limit: Duration,
    last: Option<(Holder, tokio::time::Instant)>,
}

impl LockPatience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, last: None }
    }

    /// Looks at the holder, and tells whether it has made no progress for longer than the limit.
    ///
    /// A heartbeat is judged by its age only when it was seen twice, because a new holder takes a
    /// moment to write its first one. It is also judged by how long it was seen unchanged, because
    /// the file system's clock may not be ours.
    pub(crate) fn is_exhausted_by(&mut self, holder: Holder) -> bool {
        match self.last {
            Some((last, since)) if last == holder => {
                let age = holder
                    .heartbeat
                    .and_then(|beat| beat.elapsed().ok())
                    .unwrap_or_default();
                age > self.limit || since.elapsed() > self.limit
            }
            _ => {
                self.last = Some((holder, tokio::time::Instant::now()));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::dir::directory::tests::opened;

    fn locked(dir: &Path) -> FileLock {
        match FileLock::try_acquire(&opened(dir), "name").unwrap() {
            Attempt::Held(lock) => lock,
            other => panic!("not free: {other:?}"),
        }
    }

    #[test]
    fn long_work_beats_until_it_is_done() {
        let root = tempfile::tempdir().unwrap();
        let lock = locked(&root.path().join("clip"));
        let beat = || lock.file.metadata().unwrap().modified().unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        let beaten = lock.beat_during(|| {
            // The first beat comes at once; that there are more is what keeps others waiting.
            lock.file.set_modified(long_ago).unwrap();
            (0..100).any(|_| {
                thread::sleep(HEARTBEAT / 10);
                beat() > long_ago
            })
        });
        assert!(beaten);
    }

    #[test]
    fn the_holder_is_known_and_nothing_is_left_of_it() {
        let root = tempfile::tempdir().unwrap();
        // The temporary directory is the user's own, as the cache directory has to be.
        let dir = opened(root.path());
        let lock = locked(root.path());
        let Attempt::Busy(holder) = FileLock::try_acquire(&dir, "name").unwrap() else {
            panic!("locked twice")
        };
        assert_eq!(holder.pid, Some(std::process::id()));
        drop(lock);
        assert!(!root.path().join("lock/name").exists());
        assert!(matches!(
            FileLock::try_acquire(&dir, "name").unwrap(),
            Attempt::Held(_)
        ));
    }

    #[test]
    fn progress_is_shown_at_most_once_in_a_while() {
        let root = tempfile::tempdir().unwrap();
        let mut lock = locked(&root.path().join("clip"));
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        let mut beats_after = |pause: Duration| {
            lock.file.set_modified(long_ago).unwrap();
            lock.last_beat = Instant::now().checked_sub(pause).unwrap();
            lock.beat();
            lock.file.metadata().unwrap().modified().unwrap() > long_ago
        };
        assert!(beats_after(HEARTBEAT));
        assert!(!beats_after(Duration::ZERO));
    }

    #[test]
    fn a_lock_file_is_the_users_alone() {
        use std::os::unix::fs::MetadataExt as _;
        let root = tempfile::tempdir().unwrap();
        let lock = locked(&root.path().join("clip"));
        assert_eq!(lock.file.metadata().unwrap().mode() & 0o7777, 0o600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_is_waited_for_while_it_shows_progress() {
        let limit = Duration::from_secs(60);
        let beat_before = |seconds| Holder {
            pid: Some(1),
            heartbeat: Some(SystemTime::now() - Duration::from_secs(seconds)),
        };
        // A stale heartbeat counts once it was seen twice.
        let mut patience = LockPatience::new(limit);
        let stale = beat_before(61);
        assert!(!patience.is_exhausted_by(stale));
        assert!(patience.is_exhausted_by(stale));
        // Another one begins anew.
        let fresh = beat_before(0);
        assert!(!patience.is_exhausted_by(fresh));
        assert!(!patience.is_exhausted_by(fresh));
        tokio::time::advance(limit + Duration::from_millis(1)).await;
        assert!(patience.is_exhausted_by(fresh));
        // A clock that is ahead of ours makes no holder immortal.
        let ahead = Holder {
            pid: Some(1),
            heartbeat: Some(SystemTime::now() + Duration::from_secs(3600)),
        };
        assert!(!patience.is_exhausted_by(ahead));
        assert!(!patience.is_exhausted_by(ahead));
        tokio::time::advance(limit + Duration::from_millis(1)).await;
        assert!(patience.is_exhausted_by(ahead));
    }

    #[test]
    fn there_is_one_holder_at_a_time_however_often_the_file_comes_and_goes() {
        let root = tempfile::tempdir().unwrap();
        let dir = opened(root.path());
        let holders = std::sync::atomic::AtomicUsize::new(0);
        let work = || {
            for _ in 0..2000 {
                if let Attempt::Held(lock) = FileLock::try_acquire(&dir, "name").unwrap() {
                    assert_eq!(holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    drop(lock);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(work);
            }
        });
    }

    #[test]
    fn a_lock_file_that_cannot_be_for_another_reason_than_a_full_disk_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let dir = opened(root.path());
        assert!(FileLock::try_acquire(&dir, "no-such-directory/name").is_err());
    }
}
