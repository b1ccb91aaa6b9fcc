//! Tars of layers.

use proptest::prelude::*;
use tar::{EntryType, Header};

use crate::mutation::{changed, seeds_changed};

#[derive(Clone, Debug)]
struct Member {
    kind: EntryType,
    gnu: bool,
    name: String,
    link: String,
    content: Vec<u8>,
    pax: Vec<(String, Vec<u8>)>,
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "([a-c.]{1,2}/){0,3}[a-c]{1,3}/?",
        1 => "([a-c]{1,2}/){0,2}\\.wh\\.[a-c.]{1,3}",
        1 => "([a-c]/)?\\.wh\\.\\.wh\\.(\\.opq|plnk)",
        1 => "[a-c]{60}/[a-c]{60,180}",
    ]
}

fn member() -> impl Strategy<Value = Member> {
    use EntryType as Kind;
    let file = prop::collection::vec(any::<u8>(), 0..1600);
    let kinds = vec![
        Kind::Directory,
        Kind::Symlink,
        Kind::Link,
        Kind::Fifo,
        Kind::Char,
        Kind::Block,
    ];
    let kind = prop_oneof![
        Just(Kind::Regular),
        Just(Kind::Continuous),
        prop::sample::select(kinds)
    ];
    let keys = prop::sample::select(vec![
        "path",
        "linkpath",
        "size",
        "uid",
        "mtime",
        "SCHILY.xattr.user.a",
        "LIBARCHIVE.xattr.user.%61",
        "SCHILY.xattr.security.capability",
        "LIBARCHIVE.xattr.trusted.a",
    ]);
    let text = prop_oneof!["[0-9]{1,4}", "-?[0-9]{1,9}(\\.[0-9]{1,12})?", "[a-c./]{1,130}"];
    let values =
        prop_oneof![3 => text.prop_map(String::into_bytes), 1 => prop::collection::vec(any::<u8>(), 0..40)];
    let record = (keys, values).prop_map(|(key, value)| (key.to_owned(), value));
    let pax = prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(record, 1..3)];
    (kind, any::<bool>(), name(), name(), file, pax).prop_map(|(kind, gnu, name, link, file, pax)| Member {
        content: if kind.is_file() || kind.is_contiguous() {
            file
        } else {
            Vec::new()
        },
        kind,
        gnu,
        name,
        link,
        pax,
    })
}

fn archive(members: &[Member], end: bool) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for member in members {
        let mut header = if member.gnu {
            Header::new_gnu()
        } else {
            Header::new_ustar()
        };
        header.set_entry_type(member.kind);
        header.set_size(member.content.len() as u64);
        header.set_mode(0o755);
        if member.kind.is_character_special() || member.kind.is_block_special() {
            header.set_device_major(8).unwrap();
            header.set_device_minor(1).unwrap();
        }
        if !member.pax.is_empty() {
            let records = member.pax.iter().map(|(key, value)| (key.as_str(), &value[..]));
            builder.append_pax_extensions(records).unwrap();
        }
        // The builder takes no path that a tar may not have, so that names are set past it.
        let old = header.as_old_mut();
        let len = member.name.len().min(old.name.len());
        old.name[..len].copy_from_slice(&member.name.as_bytes()[..len]);
        if member.kind.is_symlink() || member.kind.is_hard_link() {
            let len = member.link.len().min(old.linkname.len());
            old.linkname[..len].copy_from_slice(&member.link.as_bytes()[..len]);
        }
        header.set_cksum();
        builder.append(&header, &member.content[..]).unwrap();
    }
    let mut layer = builder.into_inner().unwrap();
    if !end {
        layer.truncate(layer.len() - 1024);
    }
    layer
}

fn layer() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(member(), 0..5), any::<bool>()).prop_map(|(members, end)| archive(&members, end))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn layers(bytes in layer()) {
        properties::layer_tree(&bytes);
    }

    #[test]
    fn layers_changed(bytes in changed(layer())) {
        properties::layer_tree(&bytes);
    }

    #[test]
    fn seeds(bytes in seeds_changed("layer_tree")) {
        properties::layer_tree(&bytes);
    }
}
