//! Failed system calls as errors of the tier, and blocking work off the runtime.

use std::io::{self, ErrorKind};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use cache_core::{Error, Result};
use tokio_util::task::AbortOnDropHandle;

/// Tells whether the file system has no room: a normal state of a cache.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Makes the error of a system call on the cache directory; `what` completes the sentence
/// "could not ...".
pub(crate) fn failure(what: &str, error: impl Into<io::Error>) -> Error {
    let error = error.into();
    let message = format!("could not {what}: {error}");
    match error.kind() {
        _ if is_full(&error) => Error::unavailable(format!("the disk is full: {message}")),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Error::permanent(message),
        _ => Error::unavailable(message),
    }
    .caused_by(error)
}

/// Warns of something unreadable that the tier goes on without. It is tried often, so the warning
/// comes once, until it can be read again.
#[derive(Debug, Default)]
pub(crate) struct WarnOnce(AtomicBool);

impl WarnOnce {
    /// Notes that it could not be read, with the consequence `so`; or, without an error, that it
    /// could.
    pub(crate) fn warn_once(&self, error: Option<&Error>, so: &str) {
        let known = self.0.swap(error.is_some(), Relaxed);
        if let Some(error) = error.filter(|_| !known) {
            tracing::warn!(%error, "{so}");
        }
    }
}

/// Runs `work` off the runtime's threads. When the future is dropped, work that has begun runs to
/// its end and work that has not never begins: `work` owns everything that has to be cleaned up in
/// either case.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    AbortOnDropHandle::new(tokio::task::spawn_blocking(work))
        .await
        .map_err(|error| {
            Error::unavailable("the runtime is shutting down, or the work on the directory panicked")
                .caused_by(error)
        })
}
