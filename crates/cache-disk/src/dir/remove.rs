//! Removing the files of a layer.

use std::io;

use cache_core::Digest;

use crate::dir::handle::Handle;
use crate::dir::layout::{LAYER, file_name};
use crate::dir::lock::{Attempt, FileLock};
use crate::dir::scan::companions_of;

/// Removes a layer and its companions, and tells whether there was a layer. While somebody else
/// holds its lock, the layer that it is about to commit is not removed, and the companions are left
/// to it.
pub(crate) fn remove_layer(dir: &Handle, digest: &Digest) -> io::Result<bool> {
    let attempt = FileLock::try_acquire(dir, &digest.hex())?;
    match attempt {
        Attempt::Held(_) | Attempt::NoRoom => remove_all_files(dir, digest),
        Attempt::Busy(_) => dir.unlink(&file_name(digest, LAYER)),
    }
}

/// Removes a layer and all its companions. The caller has excluded others from the layer.
pub(crate) fn remove_all_files(dir: &Handle, digest: &Digest) -> io::Result<bool> {
    remove_files(dir, digest, &companions_of(dir, digest)?)
}

/// Removes a layer and these companions, and tells whether there was a layer. The caller has
/// excluded others from the layer. It goes first, so that it is not there without its index.
pub(crate) fn remove_files(dir: &Handle, digest: &Digest, companions: &[String]) -> io::Result<bool> {
    let removed = dir.unlink(&file_name(digest, LAYER))?;
    for kind in companions {
        dir.unlink(&file_name(digest, kind))?;
    }
    Ok(removed)
}

/// Makes it durable that files were removed. An evicted layer may come back in a power loss, since
/// it is right. A layer that was removed for being wrong must not, least of all next to the index
/// of the right one.
pub(crate) fn sync_removal(dir: &Handle) -> io::Result<()> {
    dir.sync()
}
