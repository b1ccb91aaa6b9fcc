//! What a failed system call means for the caller of the tier, and how blocking work is run.

use std::io::{self, ErrorKind};

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

/// Runs `work` off the runtime's threads. When the future is dropped, work that has begun runs to its end and work that
/// has not never begins: `work` owns whatever has to be cleaned up in either case.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    AbortOnDropHandle::new(tokio::task::spawn_blocking(work))
        .await
        .map_err(|error| Error::unavailable("the work was not finished").caused_by(error))
}
