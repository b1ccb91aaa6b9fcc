//! Builds a [`LayerTree`] out of a layer's bytes, wherever they come from.

use cache_core::{Error, Result};
use tar_core::parse::{Limits, ParseError, ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, HEADER_SIZE, SparseEntry};

use super::{LayerTree, pax, sparse};
use crate::path::{Role, Shown, normalise, role};
use crate::{Entry, EntryKind, FileData, TreeLimits};

/// Builds a [`LayerTree`] from the layer as it streams past. Pure computation: it reads and waits for nothing.
///
/// What it accepts is what containerd's unpacking (Go's `archive/tar`) accepts, within the limits: v7, ustar, PAX and GNU
/// headers with long names, sparse files and extended attributes ([`Xattr`](crate::Xattr)). Global
/// PAX headers, AUFS's own files and everything after the end
/// marker are ignored; an archive may also end without the marker. What the parser cannot place is refused: a sparse file
/// of PAX format 1.0 with more than 8 GiB of data.
///
/// # Errors
/// Every method that fails says why: [`Corrupt`](cache_core::ErrorKind::Corrupt) for what is no complete tar of a layer,
/// [`Permanent`](cache_core::ErrorKind::Permanent) for what goes beyond a limit. After an error the builder is of no use.
#[derive(Debug)]
pub struct LayerTreeBuilder {
    parser: Parser,
    limits: TreeLimits,
    tree: LayerTree,
    /// Estimate of the tree's memory in bytes.
    memory: u64,
    /// Bytes of the extended attributes so far, names and values.
    xattrs: u64,
    /// The beginning of a header whose end has not come yet.
    pending: Vec<u8>,
    /// How long `pending` must grow before it is worth parsing.
    wanted: usize,
    /// Offset in the layer of the first byte that is not consumed: that of `pending`, if there is any.
    position: u64,
    /// Bytes of the current body, padding included, that are still to come.
    body: u64,
    /// The end marker was seen.
    ended: bool,
}

impl LayerTreeBuilder {
    /// A builder that has seen nothing yet.
    pub fn new(limits: TreeLimits) -> Self {
        let mut parser = Parser::new(Limits {
            max_metadata_size: limits.max_header_len,
            max_path_len: Some(limits.max_path_len),
            max_sparse_entries: limits.max_extents,
            ..Limits::default()
        });
        // Otherwise a negative mtime, which is legal, refuses the archive; see the `pax` module.
        parser.set_ignore_pax_errors(true);
        Self {
            parser,
            limits,
            tree: LayerTree::default(),
            memory: 0,
            xattrs: 0,
            pending: Vec::new(),
            wanted: 0,
            position: 0,
            body: 0,
            ended: false,
        }
    }

    /// Adds the next bytes of the layer, in pieces of any size.
    ///
    /// # Errors
    /// See the type.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<()> {
        while !piece.is_empty() && !self.ended {
            if self.pending.is_empty() {
                let used = self.consume(piece)?;
                self.pending.extend_from_slice(&piece[used..]);
                return Ok(());
            }
            let missing = self.wanted.saturating_sub(self.pending.len()).min(piece.len());
            let (head, rest) = piece.split_at(missing);
            self.pending.extend_from_slice(head);
            piece = rest;
            if self.pending.len() >= self.wanted {
                self.retry()?;
            }
        }
        Ok(())
    }

    /// The tree, once all bytes have been pushed.
    ///
    /// # Errors
    /// See the type; the layer ending in the middle of an entry is [`Corrupt`](cache_core::ErrorKind::Corrupt).
    pub fn finish(mut self) -> Result<LayerTree> {
        self.retry()?;
        if self.ended || (self.body == 0 && self.pending.iter().all(|&byte| byte == 0)) {
            self.tree.entries.shrink_to_fit();
            return Ok(self.tree);
        }
        Err(self.corrupt("the layer ends in the middle of an entry"))
    }

    /// Skips the rest of the current body and returns the offset the next byte is wanted from; `None` when no more is
    /// wanted. The last byte of the body is not skipped: only reading it tells that the layer has it.
    pub(super) fn skip_body(&mut self) -> Option<u64> {
        let skipped = self.body.saturating_sub(1);
        self.position += skipped;
        self.body -= skipped;
        (!self.ended).then_some(self.position + self.pending.len() as u64)
    }

    /// Parses the pending bytes again.
    fn retry(&mut self) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        let used = self.consume(&pending)?;
        pending.drain(..used);
        self.pending = pending;
        Ok(())
    }

    /// Consumes bodies and complete headers from the front of `input`, and returns how many bytes that were. The rest is
    /// the beginning of a header.
    fn consume(&mut self, input: &[u8]) -> Result<usize> {
        let mut used = 0;
        while !self.ended {
            let body =
                usize::try_from(self.body).map_or(input.len() - used, |body| body.min(input.len() - used));
            self.body -= body as u64;
            self.position += body as u64;
            used += body;
            let rest = &input[used..];
            if self.body > 0 || rest.is_empty() {
                break;
            }
            let Some(header) = self.header(rest)? else { break };
            used += header;
        }
        Ok(used)
    }

    /// Parses one header with its extensions from the front of `input`, and returns its length; `None` when it is not
    /// complete.
    fn header(&mut self, input: &[u8]) -> Result<Option<usize>> {
        // The parser would skip a single block of zeros. Go's archive/tar refuses it: what comes after is seen by some
        // implementations and not by others.
        if let Some((first, second)) = input
            .get(..2 * HEADER_SIZE)
            .map(|blocks| blocks.split_at(HEADER_SIZE))
            && first.iter().all(|&byte| byte == 0)
            && second.iter().any(|&byte| byte != 0)
        {
            return Err(self.corrupt("a single block of zeros is followed by more"));
        }
        let event = self.parser.parse(input).map_err(|error| self.refuse(&error))?;
        let consumed = match event {
            ParseEvent::NeedData { min_bytes } => {
                let most = self.max_header();
                if input.len() >= most {
                    return Err(self.beyond("the headers of one entry are too long"));
                }
                // Growing in proportion keeps the cost of parsing anew linear in the length of the header.
                self.wanted = min_bytes.max((2 * input.len()).min(most));
                return Ok(None);
            }
            ParseEvent::Entry { consumed, entry } => {
                self.advance(consumed)?;
                self.entry(&entry, None)?;
                consumed
            }
            ParseEvent::SparseEntry {
                consumed,
                entry,
                sparse_map,
                real_size,
            } => {
                self.advance(consumed)?;
                self.entry(&entry, Some((&sparse_map, real_size)))?;
                consumed
            }
            // Go's archive/tar hands these out as entries of their own, and containerd ignores them.
            ParseEvent::GlobalExtensions { consumed, .. } => {
                self.advance(consumed)?;
                consumed
            }
            ParseEvent::End { consumed } => {
                self.advance(consumed)?;
                self.ended = true;
                consumed
            }
        };
        Ok(Some(consumed))
    }

    /// More than the headers of one entry can take: extension data and sparse map (of two numbers of up to 20 digits each
    /// per region), with room for the blocks around them.
    fn max_header(&self) -> usize {
        self.limits.max_header_len as usize + 48 * self.limits.max_extents + 64 * 1024
    }

    fn advance(&mut self, by: usize) -> Result<()> {
        self.position = self
            .position
            .checked_add(by as u64)
            .ok_or_else(|| self.corrupt("the layer is longer than it can be"))?;
        Ok(())
    }

    /// Takes in an entry whose body starts at `position`.
    fn entry(&mut self, parsed: &ParsedEntry<'_>, map: Option<(&[SparseEntry], u64)>) -> Result<()> {
        let wrong = |what: &str| self.corrupt(&format!("{}: {what}", Shown(&parsed.path)));
        let facts = parsed
            .pax
            .map_or_else(|| Ok(Default::default()), pax::read)
            .map_err(wrong)?;
        // The parser keeps the low 64 bits of a binary size (marked by the highest bit) and drops what is above them.
        let size = &parsed.header.as_ustar().size;
        if size[0] >= 0x80 && size[..4] != [0x80, 0, 0, 0] {
            return Err(wrong("its size is out of range"));
        }
        let name = normalise(&parsed.path).ok_or_else(|| wrong("the name contains a NUL byte"))?;
        let is_file = matches!(
            parsed.entry_type,
            EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse
        );
        if !is_file && map.is_some() || map.is_none() && facts.sparse {
            return Err(wrong("it claims to be sparse and is not, or has no map"));
        }
        let (kind, stored) = if is_file {
            // Old archives have no type for directories: a slash at the end makes one.
            if parsed.path.ends_with(b"/") && parsed.size == 0 && map.is_none() {
                (EntryKind::Dir, 0)
            } else {
                let (data, stored) = self.file(parsed, map).map_err(wrong)?;
                (EntryKind::File(data), stored)
            }
        } else {
            // Whatever size such an entry states, it has no body: as in Go's archive/tar.
            (special(parsed).map_err(wrong)?, 0)
        };
        let body = stored
            .checked_next_multiple_of(HEADER_SIZE as u64)
            .filter(|body| self.position.checked_add(*body).is_some())
            .ok_or_else(|| wrong("its size is out of range"))?;
        let (path, kind) = match role(&name) {
            Role::Member => (name, kind),
            Role::Whiteout(hidden) => (hidden, EntryKind::Whiteout),
            Role::Opaque(dir) => (dir, EntryKind::Opaque),
            Role::Ignored => {
                self.body = body;
                return Ok(());
            }
            Role::Invalid => return Err(wrong("a whiteout must name a file")),
        };
        if path.is_empty() && !matches!(kind, EntryKind::Dir | EntryKind::Opaque) {
            return Err(wrong("the root must be a directory"));
        }
        // A header's negative time is a two's complement number that the parser reads as an
        // unsigned one.
        let (mtime, mtime_nanos) = facts.mtime.unwrap_or((parsed.mtime as i64, 0));
        let xattrs = facts
            .xattrs
            .kept_by(&kind, &self.limits)
            .map_err(|limit| self.beyond(&format!("{}: {limit}", Shown(&path))))?;
        let entry = Entry {
            path,
            mode: parsed.mode & 0o7777,
            uid: parsed.uid,
            gid: parsed.gid,
            mtime,
            mtime_nanos,
            xattrs,
            kind,
        };
        self.body = body;
        self.add(entry)
    }

    /// Where the data of a regular file is, and how much of the layer it takes.
    fn file(
        &self,
        parsed: &ParsedEntry<'_>,
        map: Option<(&[SparseEntry], u64)>,
    ) -> Result<(FileData, u64), &'static str> {
        let Some((regions, size)) = map else {
            return Ok((FileData::contiguous(self.position, parsed.size), parsed.size));
        };
        let stored = sparse::stored_len(regions).ok_or("its size is out of range")?;
        if parsed.size != stored {
            return Err("its sparse map does not match its size");
        }
        Ok((sparse::place(self.position, size, regions)?, stored))
    }

    fn add(&mut self, entry: Entry) -> Result<()> {
        if self.tree.entries.len() >= self.limits.max_entries {
            return Err(self.beyond(&format!("it has more than {} entries", self.limits.max_entries)));
        }
        self.xattrs += entry.xattrs.iter().map(|xattr| xattr.len() as u64).sum::<u64>();
        if self.xattrs > self.limits.max_layer_xattrs {
            return Err(self.beyond(&format!(
                "its extended attributes have more than {} bytes",
                self.limits.max_layer_xattrs
            )));
        }
        self.memory += entry.memory();
        if self.memory > self.limits.max_memory {
            return Err(self.beyond(&format!(
                "its tree takes more than {} bytes",
                self.limits.max_memory
            )));
        }
        self.tree.entries.push(entry);
        Ok(())
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::corrupt(format!(
            "no valid tar of a layer, at byte {}: {what}",
            self.position
        ))
    }

    fn beyond(&self, what: &str) -> Error {
        Error::permanent(format!(
            "the layer's tar is beyond a limit, at byte {}: {what}",
            self.position
        ))
    }

    fn refuse(&self, error: &ParseError) -> Error {
        // The parser repeats values of the archive, whatever their length.
        let what: String = error.to_string().chars().take(200).collect();
        match error {
            ParseError::PathTooLong { .. }
            | ParseError::MetadataTooLarge { .. }
            | ParseError::TooManyPendingEntries { .. }
            | ParseError::TooManySparseEntries { .. } => self.beyond(&what),
            _ => self.corrupt(&what),
        }
    }
}

/// The kind of an entry that is no regular file.
fn special(parsed: &ParsedEntry<'_>) -> Result<EntryKind, &'static str> {
    let target = || {
        let target = parsed.link_target.as_deref().ok_or("the link has no target")?;
        if target.contains(&0) {
            Err("the link's target contains a NUL byte")
        } else {
            Ok(target)
        }
    };
    let (major, minor) = (parsed.dev_major.unwrap_or(0), parsed.dev_minor.unwrap_or(0));
    Ok(match parsed.entry_type {
        EntryType::Directory => EntryKind::Dir,
        EntryType::Symlink => EntryKind::Symlink(target()?.into()),
        EntryType::Link => EntryKind::HardLink(normalise(target()?).ok_or("the link has no target")?),
        EntryType::Char => EntryKind::CharDevice { major, minor },
        EntryType::Block => EntryKind::BlockDevice { major, minor },
        EntryType::Fifo => EntryKind::Fifo,
        // Refused by containerd as well. To leave it out would be to show another tree than the image's.
        _ => return Err("its type is unknown"),
    })
}
