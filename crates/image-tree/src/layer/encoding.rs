//! The encoded form of a [`LayerTree`], kept next to its layer so that the tree is built once.
//!
//! ```text
//! offset  bytes  field (integers little-endian)
//!      0      8  magic "LCTREE\0\0"
//!      8      4  version, 2
//!     12     72  digest of the layer: 1 byte algorithm (1 = sha256, 2 = sha512), 7 bytes zero, 64 bytes hash, zero-padded
//!     84      8  number of entries
//!     92      .  that many `Record`s in the postcard wire format 1.0 (https://postcard.jamesmunns.com), in the order
//!                of the archive; a path repeats the front of the path before it
//!   last     32  BLAKE3 of everything before it
//! ```

use bytes::Bytes;
use cache_core::{Algorithm, Digest, Error, Result};
use serde::{Deserialize, Serialize};

use super::{LayerTree, sparse};
use crate::path::{is_normal, split};
use crate::{Entry, EntryKind, Extent, FileData, TreeLimits, Xattr, xattr};

const MAGIC: &[u8; 8] = b"LCTREE\0\0";
const VERSION: u32 = 2;
const DIGEST_LEN: usize = 72;
const HEADER_LEN: usize = 92;
const HASH_LEN: usize = 32;

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    /// How many bytes of the path before this one begin this path.
    shared: u32,
    /// The rest of the path.
    rest: &'a [u8],
    mode: u32,
    uid: u64,
    gid: u64,
    mtime: i64,
    mtime_nanos: u32,
    /// Names and values.
    #[serde(borrow)]
    xattrs: Vec<(&'a [u8], &'a [u8])>,
    #[serde(borrow)]
    kind: RecordKind<'a>,
}

#[derive(Serialize, Deserialize)]
enum RecordKind<'a> {
    File { offset: u64, size: u64 },
    Sparse { size: u64, extents: Vec<Extent> },
    Dir,
    Symlink(&'a [u8]),
    HardLink(&'a [u8]),
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
    Whiteout,
    Opaque,
}

/// Whether these are the bytes of a tree in a version other than this code's: one that older or
/// newer code has stored.
pub(crate) fn is_another_version(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
        && bytes
            .get(8..12)
            .is_some_and(|version| *version != VERSION.to_le_bytes())
}

impl LayerTree {
    /// The format drawn at the top of the file, for the layer with the key `layer`. Costs BLAKE3 of all of it: keep large
    /// ones off the runtime's threads.
    pub fn encode(&self, layer: &Digest) -> Bytes {
        let mut out = Vec::with_capacity(HEADER_LEN + 48 * self.entries.len() + HASH_LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&encode_digest(layer));
        out.extend_from_slice(&(self.entries.len() as u64).to_le_bytes());
        let mut previous: &[u8] = b"";
        for entry in &self.entries {
            let shared = entry
                .path
                .iter()
                .zip(previous)
                .take_while(|(a, b)| a == b)
                .count();
            previous = &entry.path;
            out = postcard::to_extend(&record(entry, shared), out)
                .expect("a record has no type postcard cannot write, and a vector always has room");
        }
        let hash = blake3::hash(&out);
        out.extend_from_slice(hash.as_bytes());
        Bytes::from(out)
    }

    /// Reads the format back; `layer` is the key of the layer the tree must belong to. The caller bounds the length of
    /// `bytes`; what is allocated is bounded by it and by `limits`.
    ///
    /// # Errors
    /// [`Corrupt`](cache_core::ErrorKind::Corrupt) for anything that [`encode`](Self::encode) does not write for this layer, or
    /// that is beyond the limits.
    pub fn decode(bytes: &[u8], layer: &Digest, limits: &TreeLimits) -> Result<Self> {
        let corrupt = |what: &str| Error::corrupt(format!("the layer's tree {what}")).of_layer(layer);
        let (content, hash) = bytes
            .split_last_chunk::<HASH_LEN>()
            .filter(|(content, _)| content.len() >= HEADER_LEN)
            .ok_or_else(|| corrupt("is cut short"))?;
        let (header, mut records) = content.split_at(HEADER_LEN);
        if !header.starts_with(MAGIC) {
            return Err(corrupt("does not start with its magic"));
        }
        if header[8..12] != VERSION.to_le_bytes() {
            return Err(corrupt("has another version"));
        }
        if blake3::hash(content) != *hash {
            return Err(corrupt("does not match its own hash"));
        }
        if header[12..12 + DIGEST_LEN] != encode_digest(layer) {
            return Err(corrupt("belongs to another layer"));
        }
        let count = header.last_chunk().map_or(0, |count| u64::from_le_bytes(*count));
        // A record has nine fields of a byte or more, so a lying count is found out before memory
        // is set aside for it.
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count <= limits.max_entries && *count <= records.len() / 9)
            .ok_or_else(|| corrupt("has more entries than can be"))?;
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        let (mut memory, mut xattrs) = (0, 0);
        for _ in 0..count {
            let (record, rest) = postcard::take_from_bytes::<Record<'_>>(records)
                .map_err(|_| corrupt("has a malformed entry"))?;
            records = rest;
            let previous = entries.last().map_or(&b""[..], |entry| &entry.path);
            let entry = entry(record, previous, limits).ok_or_else(|| corrupt("has an impossible entry"))?;
            memory += entry.memory();
            xattrs += entry.xattrs.iter().map(|xattr| xattr.len() as u64).sum::<u64>();
            if memory > limits.max_memory || xattrs > limits.max_layer_xattrs {
                return Err(corrupt("takes more memory than it may"));
            }
            entries.push(entry);
        }
        if !records.is_empty() {
            return Err(corrupt("goes on after its last entry"));
        }
        Ok(Self { entries })
    }
}

fn record(entry: &Entry, shared: usize) -> Record<'_> {
    let kind = match &entry.kind {
        EntryKind::File(data) => match data.contiguous_offset() {
            Some(offset) => RecordKind::File {
                offset,
                size: data.size(),
            },
            None => RecordKind::Sparse {
                size: data.size(),
                extents: data.extents().to_vec(),
            },
        },
        EntryKind::Dir => RecordKind::Dir,
        EntryKind::Symlink(target) => RecordKind::Symlink(target),
        EntryKind::HardLink(target) => RecordKind::HardLink(target),
        &EntryKind::CharDevice { major, minor } => RecordKind::CharDevice { major, minor },
        &EntryKind::BlockDevice { major, minor } => RecordKind::BlockDevice { major, minor },
        EntryKind::Fifo => RecordKind::Fifo,
        EntryKind::Whiteout => RecordKind::Whiteout,
        EntryKind::Opaque => RecordKind::Opaque,
    };
    Record {
        shared: shared as u32,
        rest: &entry.path[shared..],
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        mtime_nanos: entry.mtime_nanos,
        xattrs: entry
            .xattrs
            .iter()
            .map(|xattr| (&*xattr.name, &*xattr.value))
            .collect(),
        kind,
    }
}

/// The entry of `record`; `None` for one that no builder makes.
fn entry(record: Record<'_>, previous: &[u8], limits: &TreeLimits) -> Option<Entry> {
    let max_len = limits.max_path_len as usize;
    let shared = previous.get(..record.shared as usize)?;
    if shared.len() + record.rest.len() > max_len {
        return None;
    }
    let path = [shared, record.rest].concat().into_boxed_slice();
    let kind = match record.kind {
        RecordKind::File { offset, size } => {
            offset.checked_add(size)?;
            EntryKind::File(FileData::contiguous(offset, size))
        }
        RecordKind::Sparse { size, extents } => EntryKind::File(sparse_file(size, extents, limits)?),
        RecordKind::Dir => EntryKind::Dir,
        RecordKind::Symlink(target) => {
            EntryKind::Symlink((1..=max_len).contains(&target.len()).then(|| target.into())?)
        }
        RecordKind::HardLink(target) => {
            EntryKind::HardLink((target.len() <= max_len && is_normal(target)).then(|| target.into())?)
        }
        RecordKind::CharDevice { major, minor } => EntryKind::CharDevice { major, minor },
        RecordKind::BlockDevice { major, minor } => EntryKind::BlockDevice { major, minor },
        RecordKind::Fifo => EntryKind::Fifo,
        RecordKind::Whiteout => EntryKind::Whiteout,
        RecordKind::Opaque => EntryKind::Opaque,
    };
    let xattrs: Box<[_]> = record
        .xattrs
        .iter()
        .map(|&(name, value)| Xattr {
            name: name.into(),
            value: value.into(),
        })
        .collect();
    let root_is_dir = split(&path).is_some() || matches!(kind, EntryKind::Dir | EntryKind::Opaque);
    let Record {
        mode,
        uid,
        gid,
        mtime,
        mtime_nanos,
        ..
    } = record;
    let is_possible = is_normal(&path)
        && root_is_dir
        && mode <= 0o7777
        && mtime_nanos < 1_000_000_000
        && xattr::are_kept(&xattrs, &kind, limits);
    is_possible.then_some(Entry {
        path,
        mode,
        uid,
        gid,
        mtime,
        mtime_nanos,
        xattrs,
        kind,
    })
}

fn sparse_file(size: u64, extents: Vec<Extent>, limits: &TreeLimits) -> Option<FileData> {
    let offset = extents.first().map_or(0, |extent| extent.offset);
    let regions: Vec<_> = extents.iter().map(Extent::region).collect();
    let data = sparse::place(offset, size, &regions).ok()?;
    (extents.len() <= limits.max_extents && data.extents() == extents).then_some(data)
}

fn encode_digest(digest: &Digest) -> [u8; DIGEST_LEN] {
    let mut out = [0; DIGEST_LEN];
    out[0] = match digest.algorithm() {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
    };
    out[8..8 + digest.hash().len()].copy_from_slice(digest.hash());
    out
}
