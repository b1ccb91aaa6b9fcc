//! A directory whose files are opened without ever leaving it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache_core::{Error, Result};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::content::Content;
use super::slice::FileSlice;
use crate::OriginStats;

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    dir: File,
    stats: OriginStats,
}

impl Directory {
    /// Opens `path`, which the user named and which may lead through symbolic links. Blocks.
    pub(super) fn open(path: &Path, stats: OriginStats) -> Result<Self> {
        let dir = open(path)?;
        let metadata = dir.metadata().map_err(|error| failed(path, error))?;
        if !metadata.is_dir() {
            return Err(Error::permanent(format!(
                "{} is not a directory: an archive is named by `oci-archive:` or `docker-archive:`",
                path.display()
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            dir,
            stats,
        })
    }
}

impl Content for Directory {
    /// Follows no symbolic link, since what is in the directory may come from anywhere, and opens regular files only.
    fn file(&self, name: &str) -> Result<Option<FileSlice>> {
        let path = || self.path.join(name);
        let step = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut parent: Option<File> = None;
        let (dirs, leaf) = name
            .rsplit_once('/')
            .map_or((None, name), |(dirs, leaf)| (Some(dirs), leaf));
        let steps = dirs
            .into_iter()
            .flat_map(|dirs| dirs.split('/'))
            .map(|dir| (dir, step | OFlags::DIRECTORY));
        // NONBLOCK, so that a named pipe is not waited for before it is refused.
        for (part, flags) in steps.chain([(leaf, step | OFlags::NONBLOCK)]) {
            match openat(parent.as_ref().unwrap_or(&self.dir), part, flags, Mode::empty()) {
                Ok(opened) => parent = Some(File::from(opened)),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    let message = format!(
                        "{}: symbolic links in a layout are not followed",
                        path().display()
                    );
                    return Err(Error::permanent(message));
                }
                Err(error) => return Err(failed(&path(), error.into())),
            }
        }
        let Some(file) = parent else { return Ok(None) };
        let metadata = file.metadata().map_err(|error| failed(&path(), error))?;
        if !metadata.is_file() {
            return Err(Error::permanent(format!(
                "{} is not a regular file",
                path().display()
            )));
        }
        Ok(Some(FileSlice::new(
            Arc::new(file),
            0,
            metadata.len(),
            self.stats.clone(),
        )))
    }
}

/// Opens a path that the user named. NONBLOCK, so that a named pipe is not waited for.
pub(super) fn open(path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    opened.map(File::from).map_err(|error| failed(path, error.into()))
}

/// Why a path cannot be opened.
pub(super) fn failed(path: &Path, error: io::Error) -> Error {
    let message = format!("{} cannot be opened", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory => Error::permanent(message),
        // A missing directory may be one that is not mounted yet.
        _ => Error::unavailable(message),
    }
    .caused_by(error)
}
