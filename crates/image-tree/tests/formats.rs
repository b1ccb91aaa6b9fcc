//! The encoded tree is what `docs/formats.md` shows, byte for byte.

use cache_core::Digest;
use cache_testkit::documented;
use image_tree::{LayerTree, TreeLimits};

/// The layer of the page: a directory, a file in it with an extended attribute and a fraction of a
/// second, a link and a whiteout.
fn layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let header = |kind: tar::EntryType, mode: u32, size: u64| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(1000);
        header.set_gid(100);
        header.set_mtime(1_700_000_000);
        header
    };
    let mut directory = header(tar::EntryType::Directory, 0o755, 0);
    tar.append_data(&mut directory, "etc/", &b""[..]).unwrap();
    let records = [("mtime", &b"1700000000.25"[..]), ("SCHILY.xattr.user.a", b"hi")];
    tar.append_pax_extensions(records).unwrap();
    let mut file = header(tar::EntryType::Regular, 0o644, 5);
    tar.append_data(&mut file, "etc/motd", &b"hello"[..]).unwrap();
    let mut link = header(tar::EntryType::Symlink, 0o777, 0);
    tar.append_link(&mut link, "etc/motd.d", "motd").unwrap();
    let mut whiteout = header(tar::EntryType::Regular, 0, 0);
    tar.append_data(&mut whiteout, "var/.wh.log", &b""[..]).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn the_tree_on_the_page_is_the_one_that_is_written_and_read() {
    let limits = TreeLimits::default();
    let tree = LayerTree::from_bytes(&layer(), &limits).unwrap();
    let digest = Digest::sha256_of(b"a blob");
    let shown = documented("formats.md", "a tree").concat();
    let written: String = tree
        .encode(&digest)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(written, shown);
    let bytes: Vec<u8> = (0..shown.len() / 2)
        .map(|at| u8::from_str_radix(&shown[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    assert_eq!(LayerTree::decode(&bytes, &digest, &limits).unwrap(), tree);
}
