//! The cache directory: its place, who may use it, and how operations on it are run.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use cache_core::{Error, Result};
use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

use crate::config::DiskConfig;
use crate::dir::handle::{Handle, open_dir, writable_bytes};
use crate::failure::{blocking, failure};

/// Returns the default cache directory: `$XDG_CACHE_HOME/clip`, or `~/.cache/clip`, or, without a
/// home, `/tmp/clip-oci-cache-<uid>`. Relative paths in the environment do not count, as the XDG
/// base directory specification demands.
pub fn default_dir() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    default_dir_from(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"), uid)
}

impl Default for DiskConfig {
    /// Returns the defaults for the [default directory](default_dir).
    fn default() -> Self {
        Self::new(default_dir())
    }
}

fn default_dir_from(cache_home: Option<OsString>, home: Option<OsString>, uid: u32) -> PathBuf {
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(cache_home)
        .or_else(|| absolute(home).map(|home| home.join(".cache")))
        .map(|cache_home| cache_home.join("clip"))
        .unwrap_or_else(|| format!("/tmp/clip-oci-cache-{uid}").into())
}

/// A cache directory that outlives its own removal: after `rm -rf`, the next use creates it anew.
#[derive(Debug)]
pub(crate) struct Directory {
    /// The name of the tier, for errors.
    tier: Arc<str>,
    path: PathBuf,
    create: bool,
    force_staging: bool,
    current: RwLock<Option<Arc<Handle>>>,
}

impl Directory {
    pub(crate) fn open(config: &DiskConfig) -> Result<Self> {
        let directory = Self {
            tier: config.name.as_str().into(),
            // A trailing slash would make the kernel follow a symlink in spite of O_NOFOLLOW.
            path: config.dir.components().collect(),
            create: config.create,
            force_staging: config.force_staging,
            current: RwLock::default(),
        };
        directory
            .if_there()
            .map_err(|error| error.at(&directory.tier, "open the directory"))?;
        Ok(directory)
    }

    /// Returns the name of the tier that keeps its layers here.
    pub(crate) fn tier(&self) -> &Arc<str> {
        &self.tier
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory to work in. All names are resolved against its descriptor, so nobody
    /// who swaps a component of the path can redirect the tier.
    pub(crate) fn current(&self) -> Result<Arc<Handle>> {
        self.if_there()?.ok_or_else(|| self.absent())
    }

    /// Returns the directory to work in; `None` where it is not there, and not to be created.
    pub(crate) fn if_there(&self) -> Result<Option<Arc<Handle>>> {
        if let Some(current) = self.still_there() {
            return Ok(Some(current));
        }
        let opened = self.open_now()?.map(Arc::new);
        *self.current.write().unwrap_or_else(|poison| poison.into_inner()) = opened.clone();
        Ok(opened)
    }

    /// Returns the directory that was opened last, unless it was removed since. Does not block.
    pub(crate) fn still_there(&self) -> Option<Arc<Handle>> {
        let current = self.current.read().unwrap_or_else(|poison| poison.into_inner());
        current.clone().filter(|dir| dir.is_linked())
    }

    /// Runs a blocking operation in the directory, off the runtime's threads, and names the
    /// operation in its error. Fails where the directory is not there, and not to be created.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        operation: &'static str,
        work: impl FnOnce(&Arc<Handle>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.off_the_runtime(operation, |directory| work(&directory.current()?))
            .await
    }

    /// Runs an operation as [`run`](Self::run) does, and finds nothing where the directory is not
    /// there.
    pub(crate) async fn run_if_there<T: Default + Send + 'static>(
        self: &Arc<Self>,
        operation: &'static str,
        work: impl FnOnce(&Arc<Handle>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.off_the_runtime(operation, |directory| match directory.if_there()? {
            Some(dir) => work(&dir),
            None => Ok(T::default()),
        })
        .await
    }

    /// Runs a blocking operation that opens the directory itself, off the runtime's threads, and
    /// names the operation in its error.
    pub(crate) async fn off_the_runtime<T: Send + 'static>(
        self: &Arc<Self>,
        operation: &'static str,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let directory = Arc::clone(self);
        blocking(move || work(&directory))
            .await
            .flatten()
            .map_err(|error| error.at(&self.tier, operation))
    }

    /// Tells how many bytes this user may still write on the file system that the directory would
    /// be created in.
    pub(crate) fn free_bytes_of_parent(&self) -> Result<u64> {
        let stat = rustix::fs::statvfs(parent_that_is_there(&self.path));
        let stat = stat.map_err(|error| failure("examine the disk", error))?;
        Ok(writable_bytes(&stat))
    }

    /// Checks that layers can be kept in the directory, or that it can be created for them. Creates
    /// nothing.
    pub(crate) fn check(&self) -> Result<()> {
        let checked = match open_dir(CWD, &self.path) {
            Ok(fd) => check(&fd).and_then(|()| check_writable(&fd)),
            Err(Errno::NOENT) => check_parent(&self.path),
            Err(error) => return Err(not_opened(&self.path, error.into())),
        };
        checked.map_err(|why| refusal(&self.path, &why))
    }

    fn open_now(&self) -> Result<Option<Handle>> {
        let path = &*self.path;
        let fd = match open_dir(CWD, path) {
            Err(Errno::NOENT) if !self.create => return Ok(None),
            Err(Errno::NOENT) => create_dir(path).and_then(|()| Ok(open_dir(CWD, path)?)),
            opened => opened.map_err(io::Error::from),
        };
        let fd = fd.map_err(|error| not_opened(path, error))?;
        let checked = check(&fd).and_then(|()| if self.create { check_writable(&fd) } else { Ok(()) });
        checked.map_err(|why| refusal(path, &why))?;
        Ok(Some(Handle::new(fd, !self.force_staging)))
    }

    /// The error of an operation that needs the directory.
    fn absent(&self) -> Error {
        refusal(&self.path, "is not there: name the one that is meant")
    }
}

fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Checks the open directory; the error says why it must not be used, and what to do about it.
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

/// Checks that files can be created in the open directory; the error says what to do otherwise.
fn check_writable(fd: &OwnedFd) -> Result<(), String> {
    rustix::fs::accessat(fd, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty()).map_err(|error| {
        format!("is not writable ({error}): choose another directory or change its permissions")
    })
}

/// Checks that a directory that is not there can be created.
fn check_parent(path: &Path) -> Result<(), String> {
    rustix::fs::access(parent_that_is_there(path), Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| format!("cannot be created ({error}): choose another directory"))
}

/// Finds the nearest directory above `path` that is there.
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
pub(crate) mod tests {
    use super::*;

    /// Opens a directory for the tests of other files.
    pub(crate) fn opened(path: &Path) -> Arc<Handle> {
        let directory = Directory::open(&DiskConfig::new(path)).unwrap();
        directory.current().unwrap()
    }

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
}
