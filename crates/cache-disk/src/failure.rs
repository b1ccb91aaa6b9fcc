//! What a failed system call means for the caller of the tier, and how blocking work is run.

use std::io::{self, ErrorKind};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use cache_core::{Error, Result};
use tokio_util::task::AbortOnDropHandle;

/// Whether the file system has no room for what was asked, which is a normal state of a cache.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// The error of a system call on the cache directory; `what` completes the sentence "could not ...".
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

/// Warns of what is done without, where it cannot be read: once, until it can be again, since it is tried often.
#[derive(Debug, Default)]
pub(crate) struct WarnOnce(AtomicBool);

impl WarnOnce {
    /// Notes that it could not be read, which means `so`; or, without an error, that it could.
    pub(crate) fn warn_once(&self, error: Option<&Error>, so: &str) {
        let known = self.0.swap(error.is_some(), Relaxed);
        if let Some(error) = error.filter(|_| !known) {
            tracing::warn!(%error, "{so}");
        }
    }
}

/// Runs `work` off the runtime's threads. When the future is dropped, work that has begun runs to its end and work that
/// has not never begins: `work` owns whatever has to be cleaned up in either case.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    AbortOnDropHandle::new(tokio::task::spawn_blocking(work))
        .await
        .map_err(|error| {
            Error::unavailable("the runtime is shutting down, or the work on the directory panicked")
                .caused_by(error)
        })
}
