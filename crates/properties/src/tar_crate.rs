//! A layer's tree against what the `tar` crate reads.

use std::io::{Read, Take};
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
    pax_keys: Vec<Vec<u8>>,
}

impl Theirs {
    fn read(mut entry: tar::Entry<'_, &[u8]>) -> Self {
        let mut content = Vec::new();
        let mut limited: Take<_> = (&mut entry).take(MAX_LEN + 1);
        let whole = limited.read_to_end(&mut content).is_ok() && content.len() as u64 <= MAX_LEN;
        let pax = entry.pax_extensions().ok().flatten();
        let pax_keys = pax
            .into_iter()
            .flatten()
            .filter_map(|record| Some(record.ok()?.key_bytes().to_vec()))
            .collect();
        Self {
            path: entry.path_bytes().into_owned(),
            link: entry.link_name_bytes().map(|link| link.into_owned()),
            kind: entry.header().entry_type(),
            header: entry.header().clone(),
            content: whole.then_some(content),
            pax_keys,
        }
    }

    /// Where the tree is meant to follow Go's `archive/tar`, and the crate does something else.
    fn differs_on_purpose(&self) -> bool {
        // The crate knows no sparse files of the PAX formats.
        let sparse = self.pax_keys.iter().any(|key| key.starts_with(b"GNU.sparse."));
        // What is no file has no body here, whatever its size; the crate skips one.
        let is_file = self.kind.is_file() || self.kind.is_contiguous() || self.kind.is_gnu_sparse();
        // Of two records with one key the last counts; the crate takes the first.
        let mut keys = self.pax_keys.clone();
        keys.sort();
        let repeated = keys.windows(2).any(|pair| pair[0] == pair[1]);
        sparse || repeated || !is_file && self.content.as_ref().is_none_or(|content| !content.is_empty())
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
