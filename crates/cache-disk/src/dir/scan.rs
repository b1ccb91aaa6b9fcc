//! The files of a cache directory. The file system is asked every time, because other processes and
//! operators change it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use cache_core::{Digest, Result};
use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;

use crate::dir::handle::Handle;
use crate::dir::layout::{INDEX, LAYER, parse_file_name};
use crate::failure::failure;

/// The files of all layers that have any.
pub(crate) type Layers = BTreeMap<Digest, Files>;

/// The files of one layer.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Length and time of last use of the layer itself; `None` when only companions are there.
    pub(crate) layer: Option<(u64, SystemTime)>,
    /// Time of the fill, which is that of the index; `None` when the index is lost.
    pub(crate) filled: Option<SystemTime>,
    /// The kinds of the other files.
    pub(crate) companions: Vec<String>,
    /// Length of all files in bytes.
    pub(crate) bytes: u64,
}

/// Lists all files of the tier, by layer. Blocks, and takes a few hundred bytes of memory for each
/// layer.
pub(crate) fn scan(dir: &Handle) -> Result<Layers> {
    try_scan(dir).map_err(|error| failure("list the cache directory", error))
}

/// Lists all files as [`scan`] does, and leaves the error to the caller.
pub(crate) fn try_scan(dir: &Handle) -> io::Result<Layers> {
    let mut layers = Layers::new();
    for_each_name(dir, |name| {
        let Some((digest, kind)) = parse_file_name(name) else {
            return Ok(());
        };
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            stat => stat?,
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let len = u64::try_from(stat.st_size).unwrap_or(0);
        let files = layers.entry(digest).or_default();
        files.bytes += len;
        if kind == LAYER {
            files.layer = Some((len, modified(&stat)));
        } else {
            if kind == INDEX {
                files.filled = Some(modified(&stat));
            }
            files.companions.push(kind.to_owned());
        }
        Ok(())
    })?;
    Ok(layers)
}

/// Returns the time of a file's last change; a time before 1970 counts as 1970.
pub(crate) fn modified(stat: &Stat) -> SystemTime {
    let seconds = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
    let nanos = Duration::from_nanos(u32::try_from(stat.st_mtime_nsec).unwrap_or(0).into());
    SystemTime::UNIX_EPOCH + seconds + nanos
}

/// Lists the kinds of the files next to the layer `digest`.
pub(crate) fn companions_of(dir: &Handle, digest: &Digest) -> io::Result<Vec<String>> {
    let mut kinds = Vec::new();
    for_each_name(dir, |name| {
        match parse_file_name(name) {
            Some((of, kind)) if of == *digest && kind != LAYER => kinds.push(kind.to_owned()),
            _ => {}
        }
        Ok(())
    })?;
    Ok(kinds)
}

/// Calls `visit` with every name in a directory that is UTF-8, as all names of the tier are.
pub(crate) fn for_each_name(dir: impl AsFd, mut visit: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    for entry in Dir::read_from(dir)? {
        if let Ok(name) = entry?.file_name().to_str() {
            visit(name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::directory::tests::opened;
    use crate::dir::layout::file_name;

    #[test]
    fn companions_are_those_of_the_layer_and_not_the_layer() {
        let root = tempfile::tempdir().unwrap();
        let dir = opened(root.path());
        let (one, other) = (Digest::sha256_of(b"one"), Digest::sha256_of(b"other"));
        for (digest, kind) in [(&one, LAYER), (&one, INDEX), (&other, LAYER), (&other, "toc")] {
            std::fs::write(root.path().join(file_name(digest, kind)), "").unwrap();
        }
        assert_eq!(companions_of(&dir, &one).unwrap(), [INDEX]);
        assert_eq!(companions_of(&dir, &other).unwrap(), ["toc"]);
    }
}
