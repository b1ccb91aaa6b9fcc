//! The members of a tar file, found by one pass over its headers.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use cache_core::{Error, Result};
use tar_core::HEADER_SIZE;
use tar_core::parse::{Limits, ParseEvent, ParsedEntry, Parser};

use super::content::Content;
use super::directory::{failed, open};
use super::slice::FileSlice;
use crate::OriginStats;

const MAX_MEMBERS: usize = 65_536;
const MAX_NAME_LEN: u32 = 4096;
/// Longest header of one member in bytes, extensions included.
const MAX_HEADER_LEN: usize = 1 << 20;
/// How many links may lead from one member to another.
const MAX_LINKS: usize = 8;

/// An uncompressed tar file and where in it its members are.
#[derive(Debug)]
pub(super) struct Archive {
    file: Arc<File>,
    members: HashMap<String, Member>,
    stats: OriginStats,
}

#[derive(Debug)]
enum Member {
    File { offset: u64, len: u64 },
    Link { target: String },
}

impl Archive {
    /// Opens and scans `path`. Reads the headers and seeks over the rest. Blocks.
    pub(super) fn open(path: &Path, stats: OriginStats) -> Result<Self> {
        let file = open(path)?;
        let metadata = file.metadata().map_err(|error| failed(path, error))?;
        if !metadata.is_file() {
            return Err(Error::permanent(format!(
                "{} is not a regular file",
                path.display()
            )));
        }
        let members = scan(&file, metadata.len(), path)?;
        Ok(Self {
            file: Arc::new(file),
            members,
            stats,
        })
    }
}

impl Content for Archive {
    fn file(&self, name: &str) -> Result<Option<FileSlice>> {
        let mut name = name;
        for _ in 0..=MAX_LINKS {
            match self.members.get(name) {
                None => return Ok(None),
                Some(Member::File { offset, len }) => {
                    return Ok(Some(FileSlice::new(
                        Arc::clone(&self.file),
                        *offset,
                        *len,
                        self.stats.clone(),
                    )));
                }
                Some(Member::Link { target }) => name = target,
            }
        }
        Err(Error::corrupt("the archive's links go round in circles"))
    }
}

/// `path` is for messages alone.
fn scan(file: &File, file_len: u64, path: &Path) -> Result<HashMap<String, Member>> {
    let path = path.display();
    let malformed = |why: &str| Error::corrupt(format!("{path} is not an intact tar file: {why}"));
    let mut parser = Parser::new(Limits {
        max_path_len: Some(MAX_NAME_LEN),
        ..Limits::default()
    });
    let mut members = HashMap::new();
    let mut at = 0;
    let mut wanted = HEADER_SIZE;
    loop {
        if at >= file_len {
            // Without the two zero blocks at its end, as some writers leave it.
            return Ok(members);
        }
        if wanted > MAX_HEADER_LEN {
            return Err(malformed("a header is too long"));
        }
        let available = (file_len - at).min(wanted as u64) as usize;
        let mut block = vec![0; available];
        file.read_exact_at(&mut block, at)
            .map_err(|error| Error::unavailable(format!("{path} cannot be read")).caused_by(error))?;
        if at == 0 && is_compressed(&block) {
            return Err(Error::permanent(format!(
                "{path} is compressed: decompress it first, it is read at offsets"
            )));
        }
        let event = parser.parse(&block).map_err(|error| match at {
            0 => malformed("it does not begin with a header"),
            _ => malformed("a header is malformed").caused_by(error),
        })?;
        let (consumed, entry) = match event {
            ParseEvent::NeedData { min_bytes } => {
                if available < wanted && block.iter().all(|&byte| byte == 0) {
                    return Ok(members);
                }
                if available < wanted || min_bytes <= wanted {
                    return Err(malformed("it ends within a header"));
                }
                wanted = min_bytes;
                continue;
            }
            ParseEvent::End { .. } => return Ok(members),
            ParseEvent::GlobalExtensions { consumed, .. } => (consumed, None),
            ParseEvent::Entry { consumed, entry } => (consumed, Some((entry, false))),
            ParseEvent::SparseEntry { consumed, entry, .. } => (consumed, Some((entry, true))),
        };
        at += consumed as u64;
        wanted = HEADER_SIZE;
        let Some((entry, is_sparse)) = entry else { continue };
        let end = at.checked_add(entry.size).filter(|end| *end <= file_len);
        let end = end.ok_or_else(|| malformed("a member reaches beyond its end"))?;
        if let Some((name, member)) = member(&entry, at).filter(|_| !is_sparse) {
            members.insert(name, member);
            if members.len() > MAX_MEMBERS {
                return Err(Error::permanent(format!(
                    "{path} has more than {MAX_MEMBERS} members"
                )));
            }
        }
        at = end.next_multiple_of(HEADER_SIZE as u64);
    }
}

/// The member's name, and what it is; `None` for what holds no bytes and for names that cannot be asked for.
fn member(entry: &ParsedEntry<'_>, offset: u64) -> Option<(String, Member)> {
    let name = clean(std::str::from_utf8(&entry.path).ok()?)?;
    let target = || std::str::from_utf8(entry.link_target.as_deref()?).ok();
    let member = if entry.is_file() {
        Member::File {
            offset,
            len: entry.size,
        }
    } else if entry.is_hard_link() {
        Member::Link {
            target: clean(target()?)?,
        }
    } else if entry.is_symlink() {
        let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
        Member::Link {
            target: clean(&format!("{parent}/{}", target()?))?,
        }
    } else {
        return None;
    };
    Some((name, member))
}

/// A relative name without `.` and `..`; `None` where it leads out of the archive.
fn clean(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Whether these are the first bytes of gzip or zstd data.
pub(super) fn is_compressed(head: &[u8]) -> bool {
    head.starts_with(&[0x1f, 0x8b]) || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}
