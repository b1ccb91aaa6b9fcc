//! Layers that were found to be wrong, kept for somebody to look at: out of the way of readers, and first to go when there is no room.
//!
//! ```text
//! <dir>/quarantine/layer-<64 hex>.decompressed   the wrong bytes
//! <dir>/quarantine/layer-<64 hex>.index          what they should have been
//! ```
//!
//! What is wrong of the same layer again takes the place of what was.

use std::collections::BTreeMap;
use std::io;

use cache_core::{Digest, Result};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::dir::directory::{Handle, unlink_at};
use crate::dir::layout::{INDEX, LAYER, QUARANTINE_DIR, file_name, parse_file_name};
use crate::dir::lock::{Attempt, FileLock};
use crate::dir::scan::{companions_of, for_each_name};
use crate::failure::failure;
use crate::space::evict::{remove_files, sync_removal};
use crate::tier::{DiskTier, Store};

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
        let done = self.off_the_runtime_if_there("quarantine", move |_, dir| {
            quarantine(dir, &of).map_err(|error| failure("put the layer into quarantine", error))
        });
        done.await.map_err(|error| error.of_layer(digest))
    }

    /// Whether something of a layer is in quarantine. It may have had to make room since it was put there.
    ///
    /// # Errors
    /// When the quarantine cannot be looked into.
    pub async fn is_quarantined(&self, digest: &Digest) -> Result<bool> {
        let of = *digest;
        let looked = self.off_the_runtime_if_there("look into the quarantine of", move |_, dir| {
            let place = dir.existing_subdir(QUARANTINE_DIR);
            let place = place.map_err(|error| failure("look into the quarantine", error))?;
            let stat = |place| rustix::fs::statat(place, file_name(&of, LAYER), AtFlags::SYMLINK_NOFOLLOW);
            Ok(place.is_some_and(|place| stat(place).is_ok()))
        });
        looked.await.map_err(|error| error.of_layer(digest))
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

/// What is in quarantine of one layer.
#[derive(Debug)]
struct Evidence {
    names: Vec<String>,
    has_layer: bool,
    bytes: u64,
    /// When it was put there, as the file system tells: seconds and nanoseconds.
    since: (i64, i64),
}

impl Quarantined {
    fn add(&mut self, evidence: &Evidence) {
        self.layers += u64::from(evidence.has_layer);
        self.bytes += evidence.bytes;
    }
}

impl Store {
    /// How much is in quarantine; nothing where that cannot be told, since evicting has to be possible. Blocks.
    pub(crate) fn quarantined(&self, dir: &Handle) -> Quarantined {
        let mut all = Quarantined::default();
        for evidence in self.evidence(dir) {
            all.add(&evidence);
        }
        all
    }

    /// Takes layers out of quarantine for good, those that were put there first, until `needed` bytes are gone; what that was. Blocks.
    pub(crate) fn release(&self, dir: &Handle, needed: u64) -> Quarantined {
        let mut released = Quarantined::default();
        let mut evidence = self.evidence(dir);
        evidence.sort_by(|one, other| (one.since, &one.names).cmp(&(other.since, &other.names)));
        for evidence in evidence {
            if released.bytes >= needed {
                break;
            }
            let gone = dir.existing_subdir(QUARANTINE_DIR).and_then(|place| match place {
                Some(place) => evidence
                    .names
                    .iter()
                    .try_for_each(|name| unlink_at(&place, name).map(drop)),
                None => Ok(()),
            });
            match gone {
                Ok(()) => released.add(&evidence),
                Err(error) => {
                    let error = failure("take a layer out of quarantine", error);
                    tracing::warn!(%error, name = evidence.names[0], "what is in quarantine stays there");
                }
            }
        }
        released
    }

    fn evidence(&self, dir: &Handle) -> Vec<Evidence> {
        let found = evidence(dir).map_err(|error| failure("look into the quarantine", error));
        self.quarantine_unread.warn_once(
            found.as_ref().err(),
            "what is in quarantine is left alone, and counts as nothing",
        );
        found.unwrap_or_default()
    }
}

fn evidence(dir: &Handle) -> io::Result<Vec<Evidence>> {
    let mut found = BTreeMap::<Digest, Evidence>::new();
    let Some(place) = dir.existing_subdir(QUARANTINE_DIR)? else {
        return Ok(Vec::new());
    };
    for_each_name(&place, |name| {
        let Some((digest, kind)) = parse_file_name(name) else {
            return Ok(());
        };
        let stat = match rustix::fs::statat(&place, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            stat => stat?,
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            // The time of a rename is that of the last change of what the file system knows of the file.
            let since = (stat.st_ctime, stat.st_ctime_nsec.cast_signed());
            let of_layer = found.entry(digest).or_insert(Evidence {
                names: Vec::new(),
                has_layer: false,
                bytes: 0,
                since,
            });
            of_layer.names.push(name.to_owned());
            of_layer.has_layer |= kind == LAYER;
            of_layer.bytes += u64::try_from(stat.st_size).unwrap_or(0);
            of_layer.since = of_layer.since.max(since);
        }
        Ok(())
    })?;
    Ok(found.into_values().collect())
}
