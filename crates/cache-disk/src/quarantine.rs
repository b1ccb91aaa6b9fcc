//! Layers that were found to be wrong, kept for somebody to look at: out of the way of readers, and first to go when there is no room.
//!
//! ```text
//! <dir>/quarantine/layer-<64 hex>.decompressed   the wrong bytes
//! <dir>/quarantine/layer-<64 hex>.index          what they should have been
//! ```
//!
//! What is wrong of the same layer again takes the place of what was.

use std::io;

use cache_core::{Digest, Result};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::directory::{Handle, unlink_at};
use crate::evict::{remove_files, sync_removal};
use crate::failure::failure;
use crate::layout::{INDEX, LAYER, QUARANTINE_DIR, file_name, parse_file_name};
use crate::lock::{Attempt, FileLock};
use crate::scan::{companions_of, for_each_name};
use crate::tier::DiskTier;

/// How much is in quarantine, or was taken out of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quarantined {
    pub(crate) layers: u64,
    pub(crate) bytes: u64,
}

impl DiskTier {
    /// Puts a layer that is wrong into quarantine, with its index: for readers it is gone, as after [`remove`](cache_core::Tier::remove).
    /// Whether there was one. A dropped future may or may not have done it.
    ///
    /// # Errors
    /// When the layer may still be there, or may come back in a power loss.
    pub async fn quarantine(&self, digest: &Digest) -> Result<bool> {
        let of = *digest;
        let done = self.off_the_runtime("quarantine", move |_, dir| {
            quarantine(dir, &of).map_err(|error| failure("put the layer into quarantine", error))
        });
        done.await.map_err(|error| error.of_layer(digest))
    }
}

fn quarantine(dir: &Handle, digest: &Digest) -> io::Result<bool> {
    let place = dir.subdir(QUARANTINE_DIR)?;
    let attempt = FileLock::try_acquire(dir, &digest.hex())?;
    let moved =
        |kind| match rustix::fs::renameat(dir, file_name(digest, kind), &place, file_name(digest, kind)) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(io::Error::from(error)),
        };
    // The layer first, so that it is not there without its index.
    let found = moved(LAYER)?;
    // Whoever holds the lock is about to commit the right one, and its companions.
    if found && matches!(attempt, Attempt::Held(_) | Attempt::NoRoom) {
        moved(INDEX)?;
        remove_files(dir, digest, &companions_of(dir, digest)?)?;
    }
    rustix::fs::fsync(&place)?;
    sync_removal(dir)?;
    Ok(found)
}

/// How much is in quarantine. Blocks.
pub(crate) fn quarantined(dir: &Handle) -> Result<Quarantined> {
    visit(dir, |_, _| Ok(())).map_err(|error| failure("look into the quarantine", error))
}

/// Takes everything out of quarantine, for good; what that was. Blocks.
pub(crate) fn release(dir: &Handle) -> Result<Quarantined> {
    let released = visit(dir, |place, name| unlink_at(place, name).map(drop));
    released.map_err(|error| failure("empty the quarantine", error))
}

fn visit(
    dir: &Handle,
    mut each: impl FnMut(&std::os::fd::OwnedFd, &str) -> io::Result<()>,
) -> io::Result<Quarantined> {
    let mut found = Quarantined::default();
    let Some(place) = dir.existing_subdir(QUARANTINE_DIR)? else {
        return Ok(found);
    };
    for_each_name(&place, |name| {
        let Some((_, kind)) = parse_file_name(name) else {
            return Ok(());
        };
        let stat = match rustix::fs::statat(&place, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            stat => stat?,
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            each(&place, name)?;
            found.layers += u64::from(kind == LAYER);
            found.bytes += u64::try_from(stat.st_size).unwrap_or(0);
        }
        Ok(())
    })?;
    Ok(found)
}
