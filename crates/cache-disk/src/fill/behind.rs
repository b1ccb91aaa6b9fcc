//! Syncing a file while it grows, so that the sync at its end has little left to wait for.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// How many bytes a sync is behind what is written.
const STEP: u64 = 8 << 20;

/// The syncs of one file: one at a time, each on a thread that ends with it.
#[derive(Debug)]
pub(crate) struct SyncBehind {
    file: Arc<File>,
    /// Length of the file when the last sync began.
    begun_at: u64,
    running: Option<JoinHandle<io::Result<()>>>,
    /// First error of a sync. Later syncs do not report it again.
    failed: Option<io::Error>,
}

impl SyncBehind {
    pub(crate) fn new(file: &Arc<File>) -> Self {
        Self {
            file: Arc::clone(file),
            begun_at: 0,
            running: None,
            failed: None,
        }
    }

    /// Notes the length of the file, and starts a sync if it is due. Does not wait.
    pub(crate) fn grown_to(&mut self, len: u64) {
        if len - self.begun_at < STEP || self.running.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        self.join();
        self.begun_at = len;
        let file = Arc::clone(&self.file);
        // No thread, no sync: the one at the end has more to do.
        self.running = std::thread::Builder::new()
            .name("sync".to_owned())
            .spawn(move || file.sync_data())
            .ok();
    }

    /// Waits for the sync that runs.
    ///
    /// # Errors
    /// The error of any sync so far: the file is not to be trusted, even if the next sync succeeds.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.join();
        self.failed.map_or(Ok(()), Err)
    }

    fn join(&mut self) {
        if let Some(thread) = self.running.take() {
            let panicked = || io::Error::other("a sync panicked");
            let synced = thread.join().unwrap_or_else(|_| Err(panicked()));
            self.failed = self.failed.take().or(synced.err());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_failed_is_not_forgotten_when_a_later_one_succeeds() {
        // It cannot be synced.
        let null = Arc::new(File::open("/dev/null").unwrap());
        let mut behind = SyncBehind::new(&null);
        behind.grown_to(STEP);
        behind.join();
        assert!(behind.failed.is_some());
        behind.file = Arc::new(tempfile::tempfile().unwrap());
        behind.grown_to(2 * STEP);
        assert!(behind.finish().is_err());
    }

    #[test]
    fn the_next_sync_begins_a_step_after_the_last_and_never_beside_it() {
        let mut behind = SyncBehind::new(&Arc::new(tempfile::tempfile().unwrap()));
        behind.grown_to(STEP);
        behind.join();
        behind.grown_to(2 * STEP - 1);
        assert!(behind.running.is_none());

        let (end, ended) = std::sync::mpsc::channel::<()>();
        behind.running = Some(std::thread::spawn(move || {
            let _ = ended.recv();
            Ok(())
        }));
        behind.grown_to(3 * STEP);
        assert_eq!(behind.begun_at, STEP);
        drop(end);
        while !behind.running.as_ref().unwrap().is_finished() {
            std::thread::yield_now();
        }
        behind.grown_to(4 * STEP);
        assert_eq!(behind.begun_at, 4 * STEP);
        assert!(behind.finish().is_ok());
    }

    #[test]
    fn nothing_is_synced_before_there_is_enough() {
        let null = Arc::new(File::open("/dev/null").unwrap());
        let mut behind = SyncBehind::new(&null);
        behind.grown_to(STEP - 1);
        assert!(behind.running.is_none());
        assert!(behind.finish().is_ok());
    }
}
