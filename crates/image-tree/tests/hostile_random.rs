//! Whatever a tar is made of, every way of reading it gives the same answer, and nothing panics.

mod support;

use image_tree::{LayerTree, TreeLimits};
use proptest::prelude::*;
use support::*;

#[derive(Clone, Debug)]
struct RandomMember {
    kind: u8,
    magic: usize,
    name: String,
    size: [u8; 12],
    sparse: [u8; 24],
    body: Vec<u8>,
}

impl RandomMember {
    fn bytes(&self) -> Vec<u8> {
        let mut header = [
            tar::Header::new_gnu(),
            tar::Header::new_ustar(),
            tar::Header::new_old(),
        ][self.magic]
            .clone();
        let name = self.name.as_bytes();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkflag = [self.kind];
        header.as_old_mut().size = self.size;
        if self.magic == 0 {
            header.as_mut_bytes()[386..410].copy_from_slice(&self.sparse);
            header.as_mut_bytes()[482] = self.sparse[23] & 1;
        }
        member(header, &self.body)
    }
}

fn random_member() -> impl Strategy<Value = RandomMember> {
    let size = prop_oneof![
        (0u64..2000).prop_map(|size| format!("{size:011o}\0").into_bytes().try_into().unwrap()),
        any::<u64>().prop_map(|size| {
            let mut field = [0; 12];
            field[0] = 0x80;
            field[4..].copy_from_slice(&size.to_be_bytes());
            field
        }),
        any::<[u8; 12]>(),
    ];
    let record = prop_oneof![
        Just("path"),
        Just("size"),
        Just("mtime"),
        Just("linkpath"),
        Just("GNU.sparse.major"),
        Just("GNU.sparse.minor"),
        Just("GNU.sparse.realsize"),
        Just("GNU.sparse.map"),
        Just("GNU.sparse.offset"),
        Just("GNU.sparse.numbytes"),
        Just("GNU.sparse.name"),
        Just("SCHILY.xattr.user.a"),
        Just("LIBARCHIVE.xattr.security.capability"),
    ];
    let records = prop::collection::vec(
        (record, "[0-9]{1,4}|[0-9,]{0,9}|-?[0-9]{18,22}|[a-c/.]{1,9}"),
        0..5,
    );
    let body = prop_oneof![
        records.prop_map(|records| {
            let records: Vec<_> = records
                .iter()
                .map(|(key, value)| (*key, value.as_str()))
                .collect();
            pax(&records)[512..].to_vec()
        }),
        "([0-9]{1,3}\n){0,8}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..1200),
    ];
    let kind = prop::sample::select(b"00001234567xxxxLKSg\0DV".to_vec());
    (
        kind,
        0usize..3,
        "[a-c./]{0,9}|[.]wh[.][a-c.]{0,3}",
        size,
        any::<[u8; 24]>(),
        body,
        0u8..4,
    )
        .prop_map(|(kind, magic, name, size, sparse, body, honest)| {
            // Mostly the size is that of the body, or nothing after the first member would be looked at.
            let size = match honest {
                0 => size,
                _ => format!("{:011o}\0", body.len()).into_bytes().try_into().unwrap(),
            };
            RandomMember {
                kind,
                magic,
                name,
                size,
                sparse,
                body,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Whatever a layer says, it is read the same in one piece, in many pieces and by its headers alone; a tree that
    /// is accepted survives its encoding; and no file lies outside what it says of itself.
    #[test]
    fn any_members_give_one_answer(
        members in prop::collection::vec(random_member(), 0..5), end: bool, lens in prop::collection::vec(1usize..1500, 1..5),
    ) {
        let mut layer: Vec<u8> = members.iter().flat_map(RandomMember::bytes).collect();
        if end {
            layer.extend(END);
        }
        let whole = tree_of(&layer);
        let pieces = tree_of_pieces(&layer, &lens);
        let read = block_on(LayerTree::read(&*MemoryReader::new(&layer), &TreeLimits::default()));
        match whole {
            Ok(tree) => {
                prop_assert_eq!(&pieces.unwrap(), &tree);
                prop_assert_eq!(&read.unwrap(), &tree);
                let digest = cache_core::Digest::sha256_of(&layer);
                let encoded = tree.encode(&digest);
                prop_assert_eq!(&LayerTree::decode(&encoded, &digest, &TreeLimits::default()).unwrap(), &tree);
                for data in tree.entries().iter().filter_map(|entry| entry.file()) {
                    for extent in data.extents() {
                        prop_assert!(extent.offset + extent.len <= layer.len() as u64);
                        prop_assert!(extent.start + extent.len <= data.size());
                    }
                }
            }
            Err(_) => prop_assert!(pieces.is_err() && read.is_err()),
        }
    }

    #[test]
    fn any_bytes_are_no_tar_and_nothing_worse(bytes in prop::collection::vec(any::<u8>(), 1..3000)) {
        let all_zero = bytes.iter().all(|byte| *byte == 0);
        prop_assert_eq!(tree_of(&bytes).is_ok(), all_zero);
    }
}
