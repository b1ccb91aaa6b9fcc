//! The index of a layer's tar.

use bytes::Bytes;
use cache_core::{Digest, Result};
use image_tree::{LayerTree, LayerTreeBuilder, TreeLimits};

use crate::memory::{Memory, at_once};
use crate::message::assert_harmless;
use crate::tar_crate::assert_same_entries;

const BLOCK: usize = 512;

/// Any bytes of a layer give the same tree in one piece, in many and by its headers alone; no file
/// lies outside the layer; times and extended attributes have their form; the tree survives its
/// encoding; and what the `tar` crate accepts too, it reads the same.
///
/// The bytes are taken as they are, and then with right checksums: without, hardly any change gets past the first header.
pub fn layer_tree(bytes: &[u8]) {
    one_answer(bytes);
    if let Some(repaired) = with_checksums(bytes) {
        one_answer(&repaired);
    }
}

fn one_answer(layer: &[u8]) {
    let limits = TreeLimits::default();
    let whole = LayerTree::from_bytes(layer, &limits);
    for piece in [1, 100, 511, 1500] {
        assert_same(&whole, &in_pieces(layer, piece), layer);
    }
    let reader = Memory(Bytes::copy_from_slice(layer));
    assert_same(&whole, &at_once(LayerTree::read(&reader, &limits)), layer);
    let digest = Digest::sha256_of(layer);
    // Arbitrary bytes must not decode as a tree.
    assert!(LayerTree::decode(layer, &digest, &limits).is_err());
    match whole {
        Ok(tree) => {
            let encoded = tree.encode(&digest);
            assert!(LayerTree::decode(&encoded, &digest, &limits).expect("it survives its encoding") == tree);
            assert!(LayerTree::decode(&encoded[1..], &digest, &limits).is_err());
            assert_inside(layer, &tree);
            assert_formed(&tree, &limits);
            assert_same_entries(layer, &tree);
        }
        Err(error) => assert_harmless(&error.to_string()),
    }
}

fn in_pieces(layer: &[u8], len: usize) -> Result<LayerTree> {
    let mut builder = LayerTreeBuilder::new(TreeLimits::default());
    layer.chunks(len).try_for_each(|piece| builder.push(piece))?;
    builder.finish()
}

fn assert_same(one: &Result<LayerTree>, other: &Result<LayerTree>, layer: &[u8]) {
    match (one, other) {
        (Ok(one), Ok(other)) => assert!(one == other, "{one:?}\n{other:?}"),
        (Err(_), Err(_)) => {}
        _ => panic!("{one:?}\n{other:?}\n{}", layer.len()),
    }
}

fn assert_inside(layer: &[u8], tree: &LayerTree) {
    for entry in tree.entries() {
        let components = || entry.path.split(|byte| *byte == b'/');
        assert!(entry.path.is_empty() || components().all(|c| !matches!(c, b"" | b"." | b"..")));
        let Some(data) = entry.file() else { continue };
        let mut before = 0;
        for extent in data.extents() {
            assert!(extent.start >= before, "{entry:?}: extents overlap");
            before = extent.start + extent.len;
            assert!(before <= data.size(), "{entry:?}: an extent is outside the file");
            assert!(
                extent.offset + extent.len <= layer.len() as u64,
                "{entry:?} is outside the layer"
            );
        }
    }
}

/// Times and extended attributes are of the form that a mount can hand to the kernel.
fn assert_formed(tree: &LayerTree, limits: &TreeLimits) {
    for entry in tree.entries() {
        assert!(entry.mtime_nanos < 1_000_000_000, "{entry:?}");
        assert!(entry.xattrs.len() <= limits.max_xattrs, "{entry:?}");
        assert!(
            entry.xattrs.is_sorted_by(|one, next| one.name < next.name),
            "{entry:?}"
        );
        for xattr in &entry.xattrs {
            let name = &*xattr.name;
            let namespaces: [&[u8]; 3] = [b"user.", b"security.", b"system.posix_acl_"];
            assert!(
                namespaces.iter().any(|namespace| name.starts_with(namespace)),
                "{entry:?}"
            );
            assert!((6..=255).contains(&name.len()) && !name.contains(&0), "{entry:?}");
            assert!(xattr.value.len() <= limits.max_xattr_len as usize, "{entry:?}");
        }
    }
}

/// The same with the right checksum in every block that says it is a header; `None` if all are right.
fn with_checksums(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = bytes.to_vec();
    for block in out.chunks_exact_mut(BLOCK) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().copied().map(u32::from).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    (out != bytes).then_some(out)
}
