//! A tree is built once, kept next to its layer, and never believed when damaged.

mod support;

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{Digest, Error, ErrorKind, LayerDescriptor, LayerReader, Result};
use image_tree::{LayerTree, TreeLimits, TreeStore, build, load, load_or_build};
use proptest::prelude::*;
use support::*;
use tar::EntryType;

#[derive(Debug, Default)]
struct MemoryStore {
    // Never held across an await.
    trees: Mutex<HashMap<Digest, Bytes>>,
    down: bool,
}

impl MemoryStore {
    fn get(&self, layer: &Digest) -> Option<Bytes> {
        self.trees.lock().unwrap().get(layer).cloned()
    }

    fn check(&self) -> Result<()> {
        if self.down {
            Err(Error::unavailable("the store is down"))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl TreeStore for MemoryStore {
    async fn load(&self, layer: &Digest) -> Result<Option<Bytes>> {
        self.check()?;
        Ok(self.get(layer))
    }

    async fn store(&self, layer: &Digest, tree: Bytes) -> Result<()> {
        self.check()?;
        self.trees.lock().unwrap().insert(*layer, tree);
        Ok(())
    }
}

/// Something of every kind.
fn one_of_each() -> Vec<u8> {
    let mut layer = Vec::new();
    for (n, kind) in [
        EntryType::Directory,
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
    ]
    .into_iter()
    .enumerate()
    {
        let mut header = header(&format!("special/{n}"), kind, 0);
        header.set_link_name("target").unwrap();
        header.set_device_major(3).unwrap();
        header.set_device_minor(u32::try_from(n).unwrap()).unwrap();
        layer.extend(member(header, &[]));
    }
    layer.extend(pax(&[
        ("GNU.sparse.size", "100000"),
        ("GNU.sparse.map", "0,100,50000,200"),
        ("mtime", "-7.000000001"),
        ("SCHILY.xattr.security.capability", "\0\u{1}"),
        ("LIBARCHIVE.xattr.user.a", "aGk"),
    ]));
    layer.extend(member(header("sparse", EntryType::Regular, 300), &[9; 300]));
    layer.extend(member(header("special/.wh.gone", EntryType::Regular, 0), &[]));
    layer.extend(member(header("special/.wh..wh..opq", EntryType::Regular, 0), &[]));
    layer
}

/// The same and many files, so that the work on them leaves the runtime's thread.
fn some_layer() -> Vec<u8> {
    let mut layer = one_of_each();
    for n in 0..1500 {
        layer.extend(member(
            header(&format!("usr/share/doc/{n}/copyright"), EntryType::Regular, 20),
            &[1; 20],
        ));
    }
    layer.extend(END);
    layer
}

fn described(layer: &[u8]) -> LayerDescriptor {
    LayerDescriptor::new(Digest::sha256_of(layer))
}

const LIMITS: fn() -> TreeLimits = TreeLimits::default;

#[test]
fn a_tree_is_built_once_with_one_pass_over_the_layer() {
    let layer = some_layer();
    let descriptor = described(&layer);
    for reader in [MemoryReader::new(&layer), MemoryReader::to_be_streamed(&layer)] {
        let store = MemoryStore::default();
        let again = || {
            let reader = Arc::clone(&reader) as Arc<dyn LayerReader>;
            block_on(load_or_build(&store, &descriptor, reader, &LIMITS())).unwrap()
        };
        assert!(block_on(load(&store, &descriptor.digest, &LIMITS())).is_none());
        let built = again();
        assert_eq!(*built, tree_of(&layer).unwrap());
        let (reads, streams) = (reader.reads.load(Relaxed), reader.streams.load(Relaxed));
        assert_eq!(
            (reads > 0, streams),
            (reader.random_access(), u64::from(!reader.random_access()))
        );
        assert_eq!(again(), built);
        assert_eq!(
            (reader.reads.load(Relaxed), reader.streams.load(Relaxed)),
            (reads, streams),
            "built again"
        );
        assert_eq!(
            block_on(load(&store, &descriptor.digest, &LIMITS())).unwrap(),
            built
        );
    }
}

#[test]
fn a_stored_tree_that_is_damaged_or_another_layer_s_is_replaced() {
    let layer = some_layer();
    let descriptor = described(&layer);
    let tree = tree_of(&layer).unwrap();
    let good = tree.encode(&descriptor.digest);
    let foreign = LayerTree::default().encode(&Digest::sha256_of(b"another"));
    let mut damaged = good.to_vec();
    damaged[300] ^= 1;
    for bad in [
        Bytes::new(),
        good.slice(..good.len() - 1),
        foreign,
        Bytes::from(damaged),
    ] {
        let store = MemoryStore::default();
        store.trees.lock().unwrap().insert(descriptor.digest, bad);
        let found = block_on(load_or_build(
            &store,
            &descriptor,
            MemoryReader::new(&layer),
            &LIMITS(),
        ));
        assert_eq!(*found.unwrap(), tree);
        assert_eq!(store.get(&descriptor.digest).unwrap(), good);
    }
}

/// The tree of version 1 of a layer like the one that `docs/formats.md` shows, as the code before
/// version 2 encoded it for the digest of `a blob`: that page showed these bytes.
const VERSION_1: &str = "\
    4c4354524545000001000000\
    01000000000000005570a3cf02207f1d352d2cfea385be4bc0b2b9414f606baa6f55db60b232f221\
    00000000000000000000000000000000000000000000000000000000000000000400000000000000\
    0003657463ed03e8076480c49fd50c02\
    03052f6d6f7464a403e8076480c49fd50c00800805\
    08022e64ff03e8076480c49fd50c03046d6f7464\
    00077661722f6c6f6700e8076480c49fd50c08\
    94792d7525ed3e9d4dff72e896c4b5ceafe21a41f3f253c73ddb4b1387251b5b";

/// A tree that an older version has stored is no error, and nothing of it is believed: it lacks
/// what the version before did not know.
#[test]
fn a_stored_tree_of_version_1_is_built_anew_and_replaced() {
    let old: Bytes = (0..VERSION_1.len() / 2)
        .map(|at| u8::from_str_radix(&VERSION_1[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let layer = [
        pax(&[("mtime", "1700000000.5"), ("SCHILY.xattr.user.a", "b")]),
        member(header("etc/motd", EntryType::Regular, 5), b"hello"),
        END.to_vec(),
    ]
    .concat();
    let descriptor = LayerDescriptor::new(Digest::sha256_of(b"a blob"));
    let digest = descriptor.digest;
    let error = LayerTree::decode(&old, &digest, &LIMITS()).unwrap_err();
    assert!(error.to_string().contains("another version"), "{error}");
    let store = MemoryStore::default();
    store.trees.lock().unwrap().insert(digest, old);
    assert!(block_on(load(&store, &digest, &LIMITS())).is_none());
    let reader = MemoryReader::new(&layer);
    let built = block_on(load_or_build(&store, &descriptor, reader, &LIMITS())).unwrap();
    assert_eq!(*built, tree_of(&layer).unwrap());
    let entry = &built.entries()[0];
    assert_eq!((entry.mtime_nanos, entry.xattrs.len()), (500_000_000, 1));
    assert_eq!(store.get(&digest).unwrap(), built.encode(&digest));
    assert_eq!(block_on(load(&store, &digest, &LIMITS())).unwrap(), built);
}

#[test]
fn a_store_that_fails_costs_the_building_and_nothing_else() {
    let layer = some_layer();
    let store = MemoryStore {
        down: true,
        ..MemoryStore::default()
    };
    let found = block_on(load_or_build(
        &store,
        &described(&layer),
        MemoryReader::to_be_streamed(&layer),
        &LIMITS(),
    ));
    assert_eq!(*found.unwrap(), tree_of(&layer).unwrap());
}

#[test]
fn a_layer_that_is_no_tar_is_an_error_that_names_it_and_nothing_is_stored() {
    let layer = b"no tar at all".repeat(100);
    let descriptor = described(&layer);
    let store = MemoryStore::default();
    for reader in [MemoryReader::new(&layer), MemoryReader::to_be_streamed(&layer)] {
        let error = block_on(build(&store, &descriptor, reader, &LIMITS())).unwrap_err();
        assert_eq!(
            (error.kind(), error.layer()),
            (ErrorKind::Corrupt, Some(&descriptor.digest))
        );
    }
    assert!(store.get(&descriptor.digest).is_none());
}

#[test]
fn the_encoding_is_compact() {
    let layer = some_layer();
    let tree = tree_of(&layer).unwrap();
    let per_entry = tree.encode(&described(&layer).digest).len() / tree.entries().len();
    assert!(per_entry < 40, "{per_entry} bytes per entry");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_damage_is_corrupt(at: prop::sample::Index, bit in 0u8..8) {
        let digest = Digest::sha256_of(b"blob");
        let encoded = tree_of(&one_of_each()).unwrap().encode(&digest).to_vec();
        let at = at.index(encoded.len());
        let kind = |bytes: &[u8]| LayerTree::decode(bytes, &digest, &LIMITS()).map_err(|error| error.kind());
        prop_assert!(kind(&encoded).is_ok());
        prop_assert_eq!(kind(&encoded[..at]), Err(ErrorKind::Corrupt));
        let mut damaged = encoded;
        damaged[at] ^= 1 << bit;
        prop_assert_eq!(kind(&damaged), Err(ErrorKind::Corrupt));
    }

    /// Whoever can write to the store can make the hash fit as well: then it is another tree or corrupt, and a tree has
    /// the form that a builder gives it.
    #[test]
    fn forged_trees_are_bounded_and_well_formed(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in 0usize..20,
    ) {
        let digest = Digest::sha256_of(b"blob");
        let mut forged = tree_of(&one_of_each()).unwrap().encode(&digest).to_vec();
        forged.truncate(forged.len() - 32 - cut);
        let fields = forged.len() - 84;
        for (at, value) in changes {
            forged[84 + at.index(fields)] = value;
        }
        let hash = *blake3::hash(&forged).as_bytes();
        forged.extend(hash);
        match LayerTree::decode(&forged, &digest, &LIMITS()) {
            Ok(tree) => {
                for entry in tree.entries() {
                    prop_assert!(!entry.path.starts_with(b"/") && !entry.path.ends_with(b"/"));
                    prop_assert!(!entry.path.split(|byte| *byte == b'/').any(|part| matches!(part, b"." | b"..")));
                    prop_assert!(entry.mode <= 0o7777 && entry.mtime_nanos < 1_000_000_000);
                    prop_assert!(entry.xattrs.is_sorted_by_key(|xattr| &xattr.name));
                    for xattr in &entry.xattrs {
                        prop_assert!((6..=255).contains(&xattr.name.len()) && !xattr.name.contains(&0));
                    }
                    for extent in entry.file().iter().flat_map(|data| data.extents()) {
                        prop_assert!(extent.offset.checked_add(extent.len).is_some());
                        prop_assert!(extent.start + extent.len <= entry.size());
                    }
                }
            }
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Corrupt),
        }
    }
}

#[test]
fn decoding_keeps_to_the_limits() {
    let layer = some_layer();
    let digest = described(&layer).digest;
    let encoded = tree_of(&layer).unwrap().encode(&digest);
    let changes: [fn(&mut TreeLimits); 7] = [
        |limits| limits.max_entries = 1000,
        |limits| limits.max_path_len = 20,
        |limits| limits.max_extents = 1,
        |limits| limits.max_memory = 10_000,
        |limits| limits.max_xattrs = 1,
        |limits| limits.max_xattr_len = 1,
        |limits| limits.max_layer_xattrs = 20,
    ];
    for change in changes {
        let mut limits = LIMITS();
        change(&mut limits);
        assert_eq!(
            LayerTree::decode(&encoded, &digest, &limits).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
    }
}
