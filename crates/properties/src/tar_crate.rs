//! A layer's tree against what the `tar` crate reads.

use std::io::{self, Read, Take};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use image_tree::{Entry, EntryKind, FileReader, LayerTree};

use crate::memory::{Memory, at_once};

/// Longest file that is compared: a sparse one can be of any length.
const MAX_LEN: u64 = 1 << 20;

/// Panics unless every entry of the tree is what the `tar` crate sees, in the same order, as far as the crate gets and as far
/// as both mean the same on purpose.
pub(crate) fn assert_same_entries(layer: &[u8], tree: &LayerTree) {
    let layer = Bytes::copy_from_slice(layer);
    let mut archive = tar::Archive::new(&layer[..]);
    let mut ours = tree.entries().iter();
    for theirs in archive.entries().expect("an archive from its start") {
        // What one of the two refuses, the other may accept.
        let Ok(theirs) = theirs else { return };
        let mut theirs = Theirs::read(theirs);
        if theirs.kind == tar::EntryType::XGlobalHeader {
            continue;
        }
        if theirs.differs_on_purpose() {
            return;
        }
        let path = normal(&theirs.path);
        let (parent, name) = split(&path);
        let opaque = name == b".wh..wh..opq";
        if !opaque
            && path
                .split(|byte| *byte == b'/')
                .any(|part| part.starts_with(b".wh..wh."))
        {
            continue;
        }
        let entry = ours
            .next()
            .unwrap_or_else(|| panic!("`{}` is missing", path.escape_ascii()));
        if opaque {
            assert_eq!((&entry.kind, &*entry.path), (&EntryKind::Opaque, parent));
        } else if let Some(hidden) = name.strip_prefix(b".wh.") {
            assert_eq!(entry.kind, EntryKind::Whiteout);
            assert_eq!(split(&entry.path), (parent, hidden));
        } else {
            assert_eq!(
                entry.path.escape_ascii().to_string(),
                path.escape_ascii().to_string()
            );
            theirs.assert_same_pax(entry);
            assert_same_kind(entry, &mut theirs, &layer);
        }
    }
    assert_eq!(ours.next(), None, "an entry is made up");
}

/// One entry as the `tar` crate reads it.
struct Theirs {
    path: Vec<u8>,
    link: Option<Vec<u8>>,
    kind: tar::EntryType,
    header: tar::Header,
    /// `None` for a file that is too long, or that the crate cannot read to its end.
    content: Option<Vec<u8>>,
    /// Keys and values; `None` where the crate takes a record for malformed.
    pax: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl Theirs {
    fn read(mut entry: tar::Entry<'_, &[u8]>) -> Self {
        let mut content = Vec::new();
        let mut limited: Take<_> = (&mut entry).take(MAX_LEN + 1);
        let whole = limited.read_to_end(&mut content).is_ok() && content.len() as u64 <= MAX_LEN;
        let pax = entry.pax_extensions().ok().flatten();
        let pax: io::Result<Vec<_>> = pax
            .into_iter()
            .flatten()
            .map(|record| record.map(|record| (record.key_bytes().to_vec(), record.value_bytes().to_vec())))
            .collect();
        Self {
            path: entry.path_bytes().into_owned(),
            link: entry.link_name_bytes().map(|link| link.into_owned()),
            kind: entry.header().entry_type(),
            header: entry.header().clone(),
            content: whole.then_some(content),
            pax: pax.ok(),
        }
    }

    /// Where the tree is meant to follow Go's `archive/tar`, and the crate does something else.
    fn differs_on_purpose(&self) -> bool {
        // The crate ends a record at a line feed, also at one inside of a value.
        let Some(pax) = &self.pax else { return true };
        // The crate knows no sparse files of the PAX formats.
        let sparse = pax.iter().any(|(key, _)| key.starts_with(b"GNU.sparse."));
        // What is no file has no body here, whatever its size; the crate skips one.
        let is_file = self.kind.is_file() || self.kind.is_contiguous() || self.kind.is_gnu_sparse();
        // Of two records with one key the last counts; the crate takes the first.
        let mut keys: Vec<_> = pax.iter().map(|(key, _)| key).collect();
        keys.sort();
        let repeated = keys.windows(2).any(|pair| pair[0] == pair[1]);
        sparse || repeated || !is_file && self.content.as_ref().is_none_or(|content| !content.is_empty())
    }
}

impl Theirs {
    /// Panics unless time and extended attributes are those of the PAX records. Raw values are
    /// compared; that those of `LIBARCHIVE` mean the same is for other tests.
    fn assert_same_pax(&self, entry: &Entry) {
        let pax = self.pax.as_deref().unwrap_or_default();
        let value = |key: &str| {
            let record = pax.iter().find(|(other, _)| other == key.as_bytes());
            record.map(|(_, value)| &value[..])
        };
        if let Some(time) = value("mtime") {
            let text = std::str::from_utf8(time).expect("a time that was read");
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            let digits = format!("{whole}{:0<9.9}", fraction);
            let expected: i128 = digits.parse().expect("a time that was read");
            let nanos = i128::from(entry.mtime) * 1_000_000_000 + i128::from(entry.mtime_nanos);
            assert_eq!(nanos, expected, "{text}");
        }
        for (key, value) in pax {
            let Some(name) = key.strip_prefix(b"SCHILY.xattr.") else {
                continue;
            };
            let is_kept = match &entry.kind {
                EntryKind::File(_) | EntryKind::Dir => {
                    name.starts_with(b"user.") || name.starts_with(b"security.")
                }
                EntryKind::HardLink(_) => false,
                _ => name.starts_with(b"security."),
            };
            if is_kept && !name.ends_with(b".") && !name.contains(&0) {
                let ours = entry.xattrs.iter().find(|xattr| &*xattr.name == name);
                assert_eq!(ours.map(|xattr| &*xattr.value), Some(&value[..]), "{entry:?}");
            }
        }
        for xattr in &entry.xattrs {
            let name = xattr.name.escape_ascii().to_string();
            let of = |prefix: &str| pax.iter().any(|(key, _)| key.starts_with(prefix.as_bytes()));
            assert!(
                of("SCHILY.xattr.") || of("LIBARCHIVE.xattr."),
                "{name} is made up"
            );
        }
    }
}

fn assert_same_kind(entry: &Entry, theirs: &mut Theirs, layer: &Bytes) {
    let kind = theirs.kind;
    match &entry.kind {
        EntryKind::File(data) => {
            assert!(
                kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse(),
                "{kind:?}"
            );
            if let Some(content) = &theirs.content {
                assert_eq!(data.size(), content.len() as u64);
                let file = FileReader::new(Arc::new(Memory(layer.clone())), entry).expect("a file");
                let pieces: Vec<Bytes> =
                    at_once(file.stream(0, u64::MAX).try_collect()).expect("a file in memory is read");
                assert!(pieces.concat() == *content, "{entry:?} has other bytes");
            }
        }
        EntryKind::Dir => assert!(kind.is_dir() || theirs.path.ends_with(b"/")),
        EntryKind::Symlink(target) => {
            assert!(kind.is_symlink());
            assert_eq!(Some(&target[..]), theirs.link.as_deref());
        }
        EntryKind::HardLink(target) => {
            assert!(kind.is_hard_link());
            assert_eq!(Some(&target[..]), theirs.link.as_deref().map(normal).as_deref());
        }
        EntryKind::Fifo => assert!(kind.is_fifo()),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            assert!(kind.is_character_special() || kind.is_block_special());
            let numbers = (theirs.header.device_major(), theirs.header.device_minor());
            if let (Ok(Some(their_major)), Ok(Some(their_minor))) = numbers {
                assert_eq!((*major, *minor), (their_major, their_minor));
            }
        }
        other => panic!("{other:?} where the tar crate sees {kind:?}"),
    }
}

/// The path from the root, without what means nothing in it.
fn normal(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
