//! The cache directory: where it is, who may use it, and the handle that everything goes through.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use cache_core::{Error, Result, planted};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::DiskConfig;
use crate::failure::failure;
use crate::space::quota::writable_bytes;

/// Where the cache is unless told otherwise: `$XDG_CACHE_HOME/clip`, or `~/.cache/clip`, or, without a home,
/// `/tmp/clip-oci-cache-<uid>`. Relative paths in the environment do not count, as the XDG base directory
/// specification demands.
pub fn default_dir() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    default_dir_from(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"), uid)
}

fn default_dir_from(cache_home: Option<OsString>, home: Option<OsString>, uid: u32) -> PathBuf {
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(cache_home)
        .or_else(|| absolute(home).map(|home| home.join(".cache")))
        .map(|cache_home| cache_home.join("clip"))
        .unwrap_or_else(|| format!("/tmp/clip-oci-cache-{uid}").into())
}

/// A cache directory that outlives its own removal: `rm -rf` of it makes the next use create it anew.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    create: bool,
    force_staging: bool,
    current: RwLock<Option<Arc<Handle>>>,
}

impl Directory {
    pub(crate) fn open(config: &DiskConfig) -> Result<Self> {
        let directory = Self {
            // A trailing slash would make the kernel follow a symlink in spite of O_NOFOLLOW.
            path: config.dir.components().collect(),
            create: config.create,
            force_staging: config.force_staging,
            current: RwLock::default(),
        };
        directory.if_there()?;
        Ok(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory to work in. All names are resolved against its descriptor, so that nobody who swaps a component of
    /// the path can redirect the tier.
    pub(crate) fn current(&self) -> Result<Arc<Handle>> {
        self.if_there()?.ok_or_else(|| self.absent())
    }

    /// The error of what needs it to be there.
    pub(crate) fn absent(&self) -> Error {
        let why = "is not there: name the one that is meant";
        refusal(&self.path, why)
    }

    /// The same; `None` where it is not there, and not to be created.
    pub(crate) fn if_there(&self) -> Result<Option<Arc<Handle>>> {
        if let Some(current) = self.still_there() {
            return Ok(Some(current));
        }
        let opened = Handle::open(&self.path, self.create, self.force_staging)?.map(Arc::new);
        *self.current.write().unwrap_or_else(|poison| poison.into_inner()) = opened.clone();
        Ok(opened)
    }

    /// The directory that was opened last, unless it was removed since. Does not block.
    pub(crate) fn still_there(&self) -> Option<Arc<Handle>> {
        let current = self.current.read().unwrap_or_else(|poison| poison.into_inner());
        let current = current.clone()?;
        let linked = rustix::fs::fstat(&current.fd).is_ok_and(|stat| stat.st_nlink > 0);
        linked.then_some(current)
    }

    /// How many bytes of the file system this user may still write that it would be created in.
    pub(crate) fn free_bytes_of_parent(&self) -> io::Result<u64> {
        Ok(writable_bytes(&rustix::fs::statvfs(parent_that_is_there(
            &self.path,
        ))?))
    }

    /// Whether layers can be kept in it, or it can be created for them. It is not.
    pub(crate) fn check(&self) -> Result<()> {
        let checked = match open_dir(CWD, &self.path) {
            Ok(fd) => check(&fd).and_then(|()| check_writable(&fd)),
            Err(Errno::NOENT) => check_parent(&self.path),
            Err(error) => return Err(not_opened(&self.path, error.into())),
        };
        checked.map_err(|why| refusal(&self.path, &why))
    }
}

/// What takes more than a look at the kernel's memory fails.
const IN_MEMORY: ResolveFlags = ResolveFlags::CACHED.union(ResolveFlags::NO_SYMLINKS);

/// How a file is opened for reading. Without `NONBLOCK`, opening a FIFO would wait for a writer.
pub(crate) const TO_READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// How what is known of a file is asked for.
const TO_STAT: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How a directory is opened.
const TO_ENTER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// An open, checked cache directory and what was learned of its file system.
#[derive(Debug)]
pub(crate) struct Handle {
    fd: OwnedFd,
    /// Whether `O_TMPFILE` is worth trying.
    pub(crate) tmpfile: AtomicBool,
    /// Whether `preadv2(RWF_NOWAIT)` is worth trying.
    pub(crate) nowait: AtomicBool,
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Handle {
    /// `None` where it is not there, and not to be created.
    fn open(path: &Path, create: bool, force_staging: bool) -> Result<Option<Self>> {
        let fd = match open_dir(CWD, path) {
            Err(Errno::NOENT) if !create => return Ok(None),
            Err(Errno::NOENT) => create_dir(path).and_then(|()| Ok(open_dir(CWD, path)?)),
            opened => opened.map_err(io::Error::from),
        };
        let fd = fd.map_err(|error| not_opened(path, error))?;
        let checked = check(&fd).and_then(|()| if create { check_writable(&fd) } else { Ok(()) });
        checked.map_err(|why| refusal(path, &why))?;
        Ok(Some(Self {
            fd,
            tmpfile: AtomicBool::new(!force_staging),
            nowait: AtomicBool::new(true),
        }))
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
    /// `Corrupt` when it is something the tier does not put there: not a regular file, or somebody else's.
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

    /// Opens a file of the tier for reading, if that takes no more than what the kernel has in memory: without waiting for the disk.
    pub(crate) fn open_cached(&self, name: &str) -> Option<File> {
        let opened = rustix::fs::openat2(self, name, TO_READ, Mode::empty(), IN_MEMORY);
        opened.ok().map(File::from)
    }

    /// What is known of the file of this name, as far as the kernel has it in memory.
    pub(crate) fn stat_cached(&self, name: &str) -> Option<Stat> {
        let fd = rustix::fs::openat2(self, name, TO_STAT, Mode::empty(), IN_MEMORY).ok()?;
        rustix::fs::fstat(fd).ok()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        rustix::fs::statat(self, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Removes a file; whether there was one.
    pub(crate) fn unlink(&self, name: &str) -> io::Result<bool> {
        unlink_at(self, name)
    }

    /// Makes the names in the directory durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if planted::is("directory-not-synced") {
            return Ok(());
        }
        // fsync needs a descriptor that was opened for reading, which this one was.
        Ok(rustix::fs::fsync(self)?)
    }
}

fn open_dir(at: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, path, TO_ENTER, Mode::empty())
}

fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a file from the directory `at`; whether there was one.
pub(crate) fn unlink_at(at: impl AsFd, name: &str) -> io::Result<bool> {
    match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether `name` in the directory `at` still is the file `file`, which somebody may have removed or replaced.
pub(crate) fn still_names(at: impl AsFd, name: &str, file: &File) -> bool {
    let named = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW);
    let held = rustix::fs::fstat(file);
    matches!((named, held), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

/// Why the open directory must not be used, and what to do about it.
fn check(fd: &OwnedFd) -> Result<(), String> {
    let stat = rustix::fs::fstat(fd).map_err(|error| format!("cannot be examined: {error}"))?;
    let uid = rustix::process::geteuid().as_raw();
    if stat.st_uid != uid {
        return Err(format!(
            "belongs to user {owner}, not to user {uid} who runs this: run this as user {owner}, or choose another directory",
            owner = stat.st_uid
        ));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(format!(
            "is writable by others (mode {:04o}): run `chmod go-w` on it, after a look at what is in it",
            stat.st_mode & 0o7777
        ));
    }
    Ok(())
}

/// Why no file can be created in the open directory, and what to do about it.
fn check_writable(fd: &OwnedFd) -> Result<(), String> {
    rustix::fs::accessat(fd, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty()).map_err(|error| {
        format!("is not writable ({error}): choose another directory or change its permissions")
    })
}

/// Why a directory that is not there cannot be created where it is to be.
fn check_parent(path: &Path) -> Result<(), String> {
    rustix::fs::access(parent_that_is_there(path), Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| format!("cannot be created ({error}): choose another directory"))
}

/// The nearest directory above `path` that is there.
fn parent_that_is_there(path: &Path) -> &Path {
    let parents = path.ancestors().skip(1).map(|parent| match parent.as_os_str() {
        here if here.is_empty() => Path::new("."),
        _ => parent,
    });
    let is_there = |parent: &&Path| rustix::fs::stat(*parent).is_ok();
    parents.into_iter().find(is_there).unwrap_or(Path::new("/"))
}

fn not_opened(path: &Path, error: io::Error) -> Error {
    refusal(path, why_not_opened(path)).caused_by(error)
}

fn why_not_opened(path: &Path) -> &'static str {
    let kind = rustix::fs::lstat(path).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::Symlink) => "is a symbolic link: name the directory that it points to",
        Ok(FileType::Directory) => "cannot be opened: change its permissions",
        Ok(_) => "is not a directory: choose another path or remove the file",
        Err(_) => "cannot be reached or created: choose another directory",
    }
}

fn refusal(path: &Path, why: &str) -> Error {
    Error::permanent(format!("the cache directory {} {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_in_the_users_cache_or_in_tmp() {
        let dir = |cache_home: Option<&str>, home: Option<&str>| {
            default_dir_from(cache_home.map(Into::into), home.map(Into::into), 1000)
        };
        assert_eq!(dir(Some("/c"), Some("/h")), Path::new("/c/clip"));
        assert_eq!(dir(None, Some("/h")), Path::new("/h/.cache/clip"));
        for (cache_home, home) in [(None, None), (Some(""), Some("")), (Some("c"), Some("h"))] {
            assert_eq!(dir(cache_home, home), Path::new("/tmp/clip-oci-cache-1000"));
        }
    }

    #[test]
    fn the_default_of_this_user_is_absolute() {
        assert!(default_dir().is_absolute());
    }

    #[test]
    fn what_is_to_be_created_is_judged_by_the_nearest_parent_that_is_there() {
        let root = tempfile::tempdir().unwrap();
        let there = root.path().join("there");
        std::fs::create_dir(&there).unwrap();
        assert_eq!(parent_that_is_there(&there.join("a/b")), there);
        assert_eq!(parent_that_is_there(&there), root.path());
        assert_eq!(
            parent_that_is_there(Path::new("no-such-dir/clip")),
            Path::new(".")
        );
        assert_eq!(parent_that_is_there(Path::new("/")), Path::new("/"));
        let config = DiskConfig::new(there.join("a/b")).with_create(false);
        let free = Directory::open(&config).unwrap().free_bytes_of_parent().unwrap();
        let stat = rustix::fs::statvfs(&there).unwrap();
        // Others write there as well.
        let (known, slack) = (stat.f_bavail * stat.f_frsize, 1 << 30);
        assert!(free.abs_diff(known) < slack, "{free} and {known}");
    }

    #[test]
    fn what_the_kernel_has_in_memory_is_opened_without_waiting() {
        let root = tempfile::tempdir().unwrap();
        let dir = Directory::open(&DiskConfig::new(root.path()))
            .unwrap()
            .current()
            .unwrap();
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
