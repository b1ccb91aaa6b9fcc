//! Wrong layers that are kept for an operator to look at: out of the way of readers, and the first
//! to go when there is no room.
//!
//! ```text
//! <dir>/quarantine/layer-<64 hex>.decompressed   the wrong bytes
//! <dir>/quarantine/layer-<64 hex>.index          the index of the right bytes
//! ```
//!
//! A second quarantine of a layer replaces the first.

use std::collections::BTreeMap;
use std::io;

use cache_core::{Digest, Result};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::dir::handle::{Handle, unlink_at};
use crate::dir::layout::{INDEX, LAYER, QUARANTINE_DIR, file_name, parse_file_name};
use crate::dir::lock::{Attempt, FileLock};
use crate::dir::remove::{remove_all_files, sync_removal};
use crate::dir::scan::for_each_name;
use crate::failure::{WarnOnce, failure};

/// The layers and bytes that are in quarantine, or were taken out of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quarantined {
    pub(crate) layers: u64,
    pub(crate) bytes: u64,
}

/// Looks into the quarantine, and warns once where that cannot be done, until it can be again.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    unread: WarnOnce,
}

impl Quarantine {
    /// Tells how much is in quarantine; nothing where that cannot be told, since evicting has to be
    /// possible. Blocks.
    pub(crate) fn total(&self, dir: &Handle) -> Quarantined {
        let mut all = Quarantined::default();
        for evidence in self.evidence(dir) {
            all.add(&evidence);
        }
        all
    }

    /// Takes layers out of quarantine for good, the oldest first, until `needed` bytes are gone,
    /// and returns how much that was. Blocks.
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
        self.unread.warn_once(
            found.as_ref().err(),
            "what is in quarantine is left alone, and counts as nothing",
        );
        found.unwrap_or_default()
    }
}

/// Puts a layer into quarantine, with its index, and tells whether there was one. Blocks.
///
/// # Errors
/// When the layer may still be there, or may come back in a power loss.
pub(crate) fn quarantine(dir: &Handle, digest: &Digest) -> Result<bool> {
    try_quarantine(dir, digest).map_err(|error| failure("put the layer into quarantine", error))
}

fn try_quarantine(dir: &Handle, digest: &Digest) -> io::Result<bool> {
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
    // A holder of the lock is about to commit the right layer, and its companions.
    if found && matches!(attempt, Attempt::Held(_) | Attempt::NoRoom) {
        moved(INDEX)?;
        remove_all_files(dir, digest)?;
    }
    rustix::fs::fsync(&place)?;
    sync_removal(dir)?;
    Ok(found)
}

/// Tells whether something of a layer is in quarantine. Blocks.
pub(crate) fn is_quarantined(dir: &Handle, digest: &Digest) -> Result<bool> {
    let place = dir.existing_subdir(QUARANTINE_DIR);
    let place = place.map_err(|error| failure("look into the quarantine", error))?;
    let stat = |place| rustix::fs::statat(place, file_name(digest, LAYER), AtFlags::SYMLINK_NOFOLLOW);
    Ok(place.is_some_and(|place| stat(place).is_ok()))
}

/// The files of one layer in quarantine.
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
            // A rename changes the time of the file's last change of status.
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
