//! An open cache directory: every name is resolved against its descriptor.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::AtomicBool;

use cache_core::{Error, Result};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat, StatVfs};
use rustix::io::Errno;

use crate::failure::failure;

/// Makes an open fail that would need more than a look at the kernel's memory.
const IN_MEMORY: ResolveFlags = ResolveFlags::CACHED.union(ResolveFlags::NO_SYMLINKS);

/// Opens a file for reading. Without `NONBLOCK`, opening a FIFO would wait for a writer.
pub(crate) const TO_READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// Opens a file to ask for its metadata alone.
const TO_STAT: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a directory.
const TO_ENTER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// An open, checked cache directory and what was learned of its file system.
#[derive(Debug)]
pub(crate) struct Handle {
    fd: OwnedFd,
    /// Set while `O_TMPFILE` is worth trying.
    pub(crate) tmpfile: AtomicBool,
    /// Set while `preadv2(RWF_NOWAIT)` is worth trying.
    pub(crate) nowait: AtomicBool,
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Handle {
    /// Wraps the descriptor of a directory that was checked.
    pub(super) fn new(fd: OwnedFd, tmpfile: bool) -> Self {
        Self {
            fd,
            tmpfile: AtomicBool::new(tmpfile),
            nowait: AtomicBool::new(true),
        }
    }

    /// Tells whether the directory still has a name: nobody has removed it.
    pub(crate) fn is_linked(&self) -> bool {
        rustix::fs::fstat(self).is_ok_and(|stat| stat.st_nlink > 0)
    }

    /// Tells how many bytes of the file system this user may still write.
    ///
    /// # Errors
    /// When the file system does not say.
    pub(crate) fn free_bytes(&self) -> Result<u64> {
        let stat = rustix::fs::fstatvfs(self).map_err(|error| failure("examine the disk", error))?;
        Ok(writable_bytes(&stat))
    }

    /// Opens a subdirectory, which is created when it is not there.
    pub(crate) fn subdir(&self, name: &str) -> io::Result<OwnedFd> {
        if let Some(dir) = self.existing_subdir(name)? {
            return Ok(dir);
        }
        match rustix::fs::mkdirat(self, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(open_dir(self, name)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a subdirectory if it is there.
    pub(crate) fn existing_subdir(&self, name: &str) -> io::Result<Option<OwnedFd>> {
        match open_dir(self, name) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a file of the tier for reading; `None` when it is not there.
    ///
    /// # Errors
    /// `Corrupt` when it is something that the tier does not put there: not a regular file, or
    /// another user's.
    pub(crate) fn open_file(&self, name: &str) -> Result<Option<File>> {
        let file = match rustix::fs::openat(self, name, TO_READ, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NXIO) => {
                return Err(Error::corrupt(format!("{name} is not a regular file")));
            }
            Err(error) => return Err(failure(&format!("open {name}"), error)),
        };
        let metadata = file
            .metadata()
            .map_err(|error| failure(&format!("examine {name}"), error))?;
        if !metadata.is_file() {
            return Err(Error::corrupt(format!("{name} is not a regular file")));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(Error::corrupt(format!(
                "{name} belongs to user {}",
                metadata.uid()
            )));
        }
        Ok(Some(file))
    }

    /// Opens a file of the tier for reading, if the kernel has all that this takes in memory: it
    /// never waits for the disk.
    pub(crate) fn open_cached(&self, name: &str) -> Option<File> {
        let opened = rustix::fs::openat2(self, name, TO_READ, Mode::empty(), IN_MEMORY);
        opened.ok().map(File::from)
    }

    /// Returns the metadata of a file, if the kernel has it in memory.
    pub(crate) fn stat_cached(&self, name: &str) -> Option<Stat> {
        let fd = rustix::fs::openat2(self, name, TO_STAT, Mode::empty(), IN_MEMORY).ok()?;
        rustix::fs::fstat(fd).ok()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        rustix::fs::statat(self, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Removes a file, and tells whether there was one.
    pub(crate) fn unlink(&self, name: &str) -> io::Result<bool> {
        unlink_at(self, name)
    }

    /// Makes the names in the directory durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        // fsync needs a descriptor that was opened for reading, which this one was.
        Ok(rustix::fs::fsync(self)?)
    }
}

/// Opens a directory, and follows no symbolic link at its end.
pub(super) fn open_dir(at: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, path, TO_ENTER, Mode::empty())
}

/// Tells how many bytes this user may still write, by what the file system says of itself.
pub(super) fn writable_bytes(stat: &StatVfs) -> u64 {
    stat.f_bavail.saturating_mul(stat.f_frsize)
}

/// Removes a file from the directory `at`, and tells whether there was one.
pub(crate) fn unlink_at(at: impl AsFd, name: &str) -> io::Result<bool> {
    match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Tells whether `name` in the directory `at` still is the file `file`: somebody may have removed
/// or replaced it.
pub(crate) fn still_names(at: impl AsFd, name: &str, file: &File) -> bool {
    let named = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW);
    let held = rustix::fs::fstat(file);
    matches!((named, held), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_has_in_memory_is_opened_without_waiting() {
        let root = tempfile::tempdir().unwrap();
        let dir = Handle::new(File::open(root.path()).unwrap().into(), true);
        std::fs::write(root.path().join("file"), "bytes").unwrap();
        let opened = dir.open_cached("file").unwrap();
        let (known, file) = (
            dir.stat_cached("file").unwrap(),
            rustix::fs::fstat(opened).unwrap(),
        );
        assert_eq!((known.st_ino, known.st_size), (file.st_ino, 5));
        assert!(dir.open_cached("nothing").is_none() && dir.stat_cached("nothing").is_none());
    }
}
