//! Files that are written in full before they get their name.
//!
//! A file system with `O_TMPFILE` gives a new file no name at all until it is linked, so that a
//! crash leaves nothing behind. Elsewhere, and to replace an existing file, the file has a name in
//! `staging/` and is locked while it is written: recovery removes files that nobody has locked.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::dir::handle::{Handle, still_names, unlink_at};
use crate::dir::layout::STAGING_DIR;

/// How many staging names are tried.
const NAME_TRIES: usize = 16;

/// A file of mode 0444 being written. Dropping it removes it, unless it was given its name.
#[derive(Debug)]
pub(crate) struct NewFile {
    dir: Arc<Handle>,
    /// In front of `file`: its name goes before its lock.
    staged: Option<StagingName>,
    file: Arc<File>,
}

/// Makes a file that is gone unless it gets a name.
const WITHOUT_A_NAME: OFlags = OFlags::TMPFILE.union(OFlags::RDWR).union(OFlags::CLOEXEC);
/// Makes a file with a name, where there are none without.
const WITH_A_NAME: OFlags = OFlags::CREATE
    .union(OFlags::EXCL)
    .union(OFlags::RDWR)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// The mode of every file of the tier: users who may enter its directory may read it.
const READ_ONLY: Mode = Mode::RUSR.union(Mode::RGRP).union(Mode::ROTH);

impl NewFile {
    pub(crate) fn create(dir: &Arc<Handle>) -> io::Result<Self> {
        if dir.tmpfile.load(Relaxed) {
            match rustix::fs::openat(dir, ".", WITHOUT_A_NAME, READ_ONLY) {
                Ok(fd) => {
                    return Ok(Self {
                        dir: Arc::clone(dir),
                        staged: None,
                        file: Arc::new(fd.into()),
                    });
                }
                // Kernels and file systems without it answer so.
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => dir.tmpfile.store(false, Relaxed),
                Err(error) => return Err(error.into()),
            }
        }
        let (staged, file) = StagingName::create(dir)?;
        Ok(Self {
            dir: Arc::clone(dir),
            staged: Some(staged),
            file: Arc::new(file),
        })
    }

    /// Makes a new file that holds `bytes`.
    pub(crate) fn holding(dir: &Arc<Handle>, bytes: &[u8]) -> io::Result<Self> {
        let new = Self::create(dir)?;
        new.file.write_all_at(bytes, 0)?;
        Ok(new)
    }

    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Makes the content durable ahead of time: giving the file its name does it as well.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Gives the file its name in place of any file that has it, durably: first the content, then
    /// the name.
    pub(crate) fn publish(&mut self, name: &str) -> io::Result<()> {
        self.replace(name)?;
        let durable = self.dir.sync().map_err(not_to_be_repeated);
        if durable.is_err() {
            // A name that may vanish in a power loss was not published.
            self.dir.unlink(name)?;
        }
        durable
    }

    /// Gives the file its name in place of any file that has it. The content is durable, the name
    /// only once the directory is synced: for files that can be rebuilt.
    pub(crate) fn replace(&mut self, name: &str) -> io::Result<()> {
        let dir = Arc::clone(&self.dir);
        self.replace_in(&*dir, name)
    }

    /// Gives the file its name as [`replace`](Self::replace) does, in a subdirectory.
    pub(crate) fn replace_in(&mut self, at: impl AsFd, name: &str) -> io::Result<()> {
        self.sync().map_err(not_to_be_repeated)?;
        if self.staged.is_none() {
            match self.link_anonymous(&at, name) {
                // Linking replaces nothing, renaming does.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.stage()?,
                linked => return linked,
            }
        }
        if let Some(staged) = &self.staged {
            rustix::fs::renameat(&staged.dir, &staged.name, &at, name)?;
        }
        self.staged = None;
        self.file.unlock()
    }

    /// Gives a file without a name one in `staging/`.
    fn stage(&mut self) -> io::Result<()> {
        self.file.try_lock()?;
        let dir = self.dir.subdir(STAGING_DIR)?;
        let name = unused_name(|name| self.link_anonymous(&dir, name))?;
        self.staged = Some(StagingName { dir, name });
        Ok(())
    }

    fn link_anonymous(&self, dir: impl AsFd, name: &str) -> io::Result<()> {
        let file = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let linked = match rustix::fs::linkat(CWD, file, &dir, name, AtFlags::SYMLINK_FOLLOW) {
            // Without /proc there is another way, which needs a privilege or a new kernel.
            Err(Errno::NOENT) => rustix::fs::linkat(&self.file, "", &dir, name, AtFlags::EMPTY_PATH),
            linked => linked,
        };
        if !matches!(linked, Ok(()) | Err(Errno::EXIST | Errno::NOSPC | Errno::DQUOT)) {
            // A file that cannot get a name is lost: the next ones have one from the start.
            self.dir.tmpfile.store(false, Relaxed);
        }
        Ok(linked?)
    }
}

/// A name in `staging/`, removed when dropped.
#[derive(Debug)]
struct StagingName {
    dir: OwnedFd,
    name: String,
}

impl StagingName {
    fn create(dir: &Handle) -> io::Result<(Self, File)> {
        let dir = dir.subdir(STAGING_DIR)?;
        let mut created = None;
        let name = unused_name(|name| {
            let file = File::from(rustix::fs::openat(&dir, name, WITH_A_NAME, READ_ONLY)?);
            // Until it is locked, recovery takes the file for a leftover.
            if file.try_lock().is_err() || !still_names(&dir, name, &file) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            created = Some(file);
            Ok(())
        })?;
        let staged = Self { dir, name };
        created
            .map(|file| (staged, file))
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for StagingName {
    fn drop(&mut self) {
        let _ = unlink_at(&self.dir, &self.name);
    }
}

/// Turns the failure of a sync into an error that is not tried again. The data that it failed to
/// keep is lost, and the next sync succeeds without it: even on a full disk, for which callers
/// evict and try again, the file is to be given up.
fn not_to_be_repeated(error: io::Error) -> io::Error {
    io::Error::other(error)
}

/// Finds a name that `make` does not know yet, and returns it. The clock makes it differ from names
/// of other tasks, and of processes with the same pid in other containers.
fn unused_name(mut make: impl FnMut(&str) -> io::Result<()>) -> io::Result<String> {
    let mut tries = 0;
    loop {
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let name = format!("{}-{}", std::process::id(), since_epoch.as_nanos());
        tries += 1;
        match make(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < NAME_TRIES => {}
            made => return made.map(|()| name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_is_followed_by_another_and_every_other_failure_by_none() {
        let taken = || io::Error::from(io::ErrorKind::AlreadyExists);
        let mut tried = Vec::new();
        let name = unused_name(|name| {
            tried.push(name.to_owned());
            if tried.len() < 3 { Err(taken()) } else { Ok(()) }
        });
        assert_eq!((name.ok().as_ref(), tried.len()), (tried.last(), 3));

        for (kind, tries) in [
            (io::ErrorKind::AlreadyExists, NAME_TRIES),
            (io::ErrorKind::StorageFull, 1),
        ] {
            let mut tried = 0;
            let error = unused_name(|_| {
                tried += 1;
                Err(kind.into())
            });
            assert_eq!((error.unwrap_err().kind(), tried), (kind, tries));
        }
    }
}
