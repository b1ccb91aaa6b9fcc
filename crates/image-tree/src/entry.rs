//! One entry of a layer.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Xattr;
use crate::path::Shown;

/// One entry of a layer's tar, with its extension headers applied.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The path in normal form: no leading or trailing slash, no `.` or `..`, the root is empty. Bytes, not
    /// necessarily UTF-8. For a whiteout, what it hides.
    pub path: Box<[u8]>,
    /// Permission bits with set-uid, set-gid and sticky: `0o7777` at most.
    pub mode: u32,
    /// Numeric owner. A tar may state one that Linux, with its 32 bits, does not have.
    pub uid: u64,
    /// Numeric group, of any size as well.
    pub gid: u64,
    /// Modification time in whole seconds since the Unix epoch, rounded down.
    pub mtime: i64,
    /// Nanoseconds from `mtime` to the modification time: below 1,000,000,000.
    pub mtime_nanos: u32,
    /// Extended attributes, sorted by name, each name once. [`Xattr`] is what an entry keeps of
    /// what its tar states.
    pub xattrs: Box<[Xattr]>,
    /// What it is.
    pub kind: EntryKind,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file.
    File(FileData),
    /// A directory.
    Dir,
    /// A symbolic link, with its target as it stands in the tar.
    Symlink(Box<[u8]>),
    /// Another name of a file of this image, with the path of that file in normal form. A node of an
    /// [`ImageTree`](crate::ImageTree) never has this kind: it shows the file itself.
    HardLink(Box<[u8]>),
    /// A character device. Linux has 12 bits for the major and 20 for the minor number; a tar may
    /// state more.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device, with numbers as of a character device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// Hides the path and everything below it in lower layers.
    Whiteout,
    /// Hides everything below the path in lower layers.
    Opaque,
}

/// Where the bytes of a regular file are in its layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileData {
    size: u64,
    extents: Extents,
}

/// A box costs 24 bytes and an allocation per file, which all but sparse files can be spared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Extents {
    One(Extent),
    Many(Box<[Extent]>),
}

/// A run of a file's bytes that is stored in the layer. What no extent covers is zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Offset in the file, in bytes.
    pub start: u64,
    /// Offset in the layer, in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

impl FileData {
    /// A file whose `size` bytes stand at `offset` of the layer.
    pub(crate) fn contiguous(offset: u64, size: u64) -> Self {
        Self {
            size,
            extents: Extents::One(Extent {
                start: 0,
                offset,
                len: size,
            }),
        }
    }

    /// A file of `size` bytes with holes; the extents are in order, apart and inside the size.
    pub(crate) fn sparse(size: u64, extents: Vec<Extent>) -> Self {
        Self {
            size,
            extents: Extents::Many(extents.into()),
        }
    }

    /// Length of the file in bytes, holes included.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where in the layer a file without holes begins; `None` for one that is stored as sparse.
    pub(crate) fn contiguous_offset(&self) -> Option<u64> {
        match self.extents {
            Extents::One(extent) => Some(extent.offset),
            Extents::Many(_) => None,
        }
    }

    /// The stored runs, ordered by offset in the file and in the layer, never overlapping.
    pub fn extents(&self) -> &[Extent] {
        match &self.extents {
            Extents::One(extent) => std::slice::from_ref(extent),
            Extents::Many(extents) => extents,
        }
    }
}

impl fmt::Debug for Entry {
    /// The path readable and short, whatever its bytes are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("path", &format_args!("{}", Shown(&self.path)))
            .field("mode", &format_args!("{:#o}", self.mode))
            .field("uid", &self.uid)
            .field("gid", &self.gid)
            .field("mtime", &format_args!("{}+{}ns", self.mtime, self.mtime_nanos))
            .field("xattrs", &self.xattrs)
            .field("kind", &self.kind)
            .finish()
    }
}

impl Extent {
    /// The part of the file it covers, as a tar's sparse map writes it.
    pub(crate) fn region(&self) -> tar_core::SparseEntry {
        tar_core::SparseEntry {
            offset: self.start,
            length: self.len,
        }
    }
}

impl Entry {
    /// Length in bytes as `ls -l` shows it: of a file its size, of a symbolic link that of its target, else 0.
    pub fn size(&self) -> u64 {
        match &self.kind {
            EntryKind::File(data) => data.size,
            EntryKind::Symlink(target) => target.len() as u64,
            _ => 0,
        }
    }

    /// The letter `ls -l` shows: `-`, `d`, `l`, `c`, `b`, `p`, `h` for a hard link, `w` for whiteouts.
    pub fn kind_char(&self) -> char {
        match self.kind {
            EntryKind::File(_) => '-',
            EntryKind::Dir => 'd',
            EntryKind::Symlink(_) => 'l',
            EntryKind::HardLink(_) => 'h',
            EntryKind::CharDevice { .. } => 'c',
            EntryKind::BlockDevice { .. } => 'b',
            EntryKind::Fifo => 'p',
            EntryKind::Whiteout | EntryKind::Opaque => 'w',
        }
    }

    /// The target of a symbolic or hard link.
    pub fn link_target(&self) -> Option<&[u8]> {
        match &self.kind {
            EntryKind::Symlink(target) | EntryKind::HardLink(target) => Some(target),
            _ => None,
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == EntryKind::Dir
    }

    /// The data of a regular file.
    pub fn file(&self) -> Option<&FileData> {
        match &self.kind {
            EntryKind::File(data) => Some(data),
            _ => None,
        }
    }

    /// Estimates the memory it takes, in bytes, with the overhead of its allocations.
    pub(crate) fn memory(&self) -> u64 {
        let extents = match &self.kind {
            EntryKind::File(FileData {
                extents: Extents::Many(extents),
                ..
            }) => size_of_val(&**extents),
            _ => 0,
        };
        let xattrs: usize = self
            .xattrs
            .iter()
            .map(|xattr| size_of::<Xattr>() + 32 + xattr.len())
            .sum();
        let target = self.link_target().map_or(0, <[u8]>::len);
        (size_of::<Self>() + 32 + self.path.len() + target + extents + xattrs) as u64
    }
}
