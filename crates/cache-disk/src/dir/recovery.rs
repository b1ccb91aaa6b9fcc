//! Leftovers of processes that died. Nobody holds the locks on them, so they are found and removed
//! safely while others work.

use std::fmt::Display;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;

use cache_core::Digest;
use rustix::fs::Mode;
use rustix::io::Errno;

use crate::dir::handle::{Handle, TO_READ, still_names, unlink_at};
use crate::dir::layout::{LAYER, LOCK_DIR, QUOTA_LOCK, STAGING_DIR, file_name};
use crate::dir::lock::{Attempt, FileLock};
use crate::dir::remove::remove_files;
use crate::dir::scan::{for_each_name, try_scan};

/// Removes staging files, lock files and companions without a layer that belong to no living
/// process, and returns how many files it removed. Blocks.
pub(crate) fn remove_leftovers(dir: &Handle) -> io::Result<u64> {
    Ok(remove_abandoned(dir)? + remove_orphans(dir)?)
}

/// Removes staging files and lock files alone: the time that takes grows with the fills under way,
/// and not with the layers.
pub(crate) fn remove_abandoned(dir: &Handle) -> io::Result<u64> {
    Ok(remove_staged(dir)? + remove_locks(dir)?)
}

/// Logs how many leftovers were removed. Space that is not reclaimed is no reason to fail.
pub(crate) fn report<E: Display>(removed: Result<u64, E>) {
    match removed {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "removed what processes that died had left"),
        Err(error) => tracing::warn!(%error, "could not remove what processes that died have left"),
    }
}

fn remove_staged(dir: &Handle) -> io::Result<u64> {
    let Some(staging) = dir.existing_subdir(STAGING_DIR)? else {
        return Ok(0);
    };
    let mut removed = 0;
    for name in names(&staging)? {
        let file = match rustix::fs::openat(&staging, &*name, TO_READ, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => continue,
            Err(error) => return Err(error.into()),
        };
        match file.try_lock() {
            // The lock is kept until the name is gone: a new writer that has not locked its file
            // yet notices.
            Ok(()) if still_names(&staging, &name, &file) => {
                removed += u64::from(unlink_at(&staging, &name)?);
            }
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(removed)
}

fn remove_locks(dir: &Handle) -> io::Result<u64> {
    let Some(locks) = dir.existing_subdir(LOCK_DIR)? else {
        return Ok(0);
    };
    let mut removed = 0;
    for name in names(&locks)? {
        if name == QUOTA_LOCK || Digest::from_hex(&name).is_ok() {
            // To lock it and let it go is what its holder would have done.
            removed += u64::from(matches!(FileLock::try_acquire(dir, &name)?, Attempt::Held(_)));
        }
    }
    Ok(removed)
}

fn remove_orphans(dir: &Handle) -> io::Result<u64> {
    let mut removed = 0;
    for (digest, files) in try_scan(dir)? {
        if files.layer.is_some() {
            continue;
        }
        let Attempt::Held(_lock) = FileLock::try_acquire(dir, &digest.hex())? else {
            continue;
        };
        // Since the scan somebody may have committed the layer, and left the lock to us.
        if !dir.contains(&file_name(&digest, LAYER)) {
            remove_files(dir, &digest, &files.companions)?;
            removed += files.companions.len() as u64;
        }
    }
    Ok(removed)
}

fn names(dir: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for_each_name(dir, |name| {
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
        Ok(())
    })?;
    Ok(names)
}
