//! Paths inside an image, as a process would see them that has the image for its root directory.

use cache_core::{Error, Result};

use super::{ImageTree, Node, NodeId};
use crate::EntryKind;
use crate::path::components;

/// How many symbolic links one path may go through, as in Linux (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;

/// What to do about a symbolic link at the very end of a path; those before the end are always followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Follow it, as `stat` and `cat` do.
    All,
    /// Stay at the link, as `lstat` and `ls -l` do. A slash at the end of the path follows it all the same.
    Parents,
}

impl ImageTree {
    /// The node at `path`, which is taken from the root with or without a slash in front; `None` when there is none, or
    /// when something on the way is no directory.
    ///
    /// Symbolic links lead to places inside the image only: an absolute target starts at the image's root, and `..` stays
    /// there.
    ///
    /// # Errors
    /// [`Invalid`](cache_core::ErrorKind::Invalid) when there are more than 40 symbolic links on the way.
    pub fn resolve(&self, path: &[u8], follow: Follow) -> Result<Option<Node<'_>>> {
        let must_be_dir = path.ends_with(b"/") || path.ends_with(b"/.");
        let mut way = Way::new(path);
        let mut at = NodeId::ROOT;
        while let Some(name) = way.next() {
            if !self.entry(at).is_dir() {
                return Ok(None);
            }
            if name == b".." {
                at = self.data(at).parent;
                continue;
            }
            let Some(child) = self.child(at, name) else {
                return Ok(None);
            };
            let stay = way.is_empty() && follow == Follow::Parents && !must_be_dir;
            match &self.entry(child).kind {
                EntryKind::Symlink(target) if !stay => {
                    if way.enter(target)? {
                        at = NodeId::ROOT;
                    }
                }
                _ => at = child,
            }
        }
        Ok((!must_be_dir || self.entry(at).is_dir()).then(|| self.at(at)))
    }
}

/// The components of a path that are still to be gone, those of symbolic links put in where they were met. Its length is
/// bounded by that of a path times [`MAX_LINKS`].
pub(super) struct Way<'a> {
    /// The next one is the last.
    ahead: Vec<&'a [u8]>,
    links: u32,
}

impl<'a> Way<'a> {
    pub(super) fn new(path: &'a [u8]) -> Self {
        Self {
            ahead: components(path).rev().collect(),
            links: 0,
        }
    }

    pub(super) fn next(&mut self) -> Option<&'a [u8]> {
        self.ahead.pop()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ahead.is_empty()
    }

    /// Puts the target of a symbolic link in front of what is ahead. Returns whether it starts at
    /// the root.
    pub(super) fn enter(&mut self, target: &'a [u8]) -> Result<bool> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Error::invalid("too many levels of symbolic links"));
        }
        self.ahead.extend(components(target).rev());
        Ok(target.starts_with(b"/"))
    }
}
