//! A tar may say anything: what cannot be true is refused, nothing panics, and nothing is believed beyond its limit.

mod support;

use cache_core::ErrorKind;
use image_tree::{EntryKind, LayerTree, LayerTreeBuilder, TreeLimits};
use support::*;
use tar::EntryType;

fn refused(layer: &[u8], why: &str) {
    let error = tree_of(layer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

/// A file header whose size field holds these bytes.
fn sized(field: [u8; 12]) -> Vec<u8> {
    let mut header = header("f", EntryType::Regular, 0);
    header.as_old_mut().size = field;
    member(header, &[])
}

#[test]
fn empty_layers_have_no_entries() {
    for len in [0, 1, 512, 1023, 1024, 10_240] {
        assert_eq!(
            tree_of(&vec![0; len]).unwrap(),
            LayerTree::default(),
            "{len} zeros"
        );
    }
}

#[test]
fn the_end_marker_may_be_missing_and_what_follows_it_means_nothing() {
    let file = member(header("f", EntryType::Regular, 5), b"hello");
    let tree = tree_of(&file).unwrap();
    assert_eq!(tree.entries().len(), 1);
    for tail in [&END[..512], &END[..], &[&END[..], b"garbage"].concat()] {
        assert_eq!(tree_of(&[&file, tail].concat()).unwrap(), tree);
    }
    refused(&[&file, &END[..512], &file].concat(), "single block of zeros");
}

#[test]
fn a_layer_cut_anywhere_inside_an_entry_is_corrupt() {
    let layer = [
        pax(&[("path", "long")]),
        member(header("a", EntryType::Regular, 700), &[7; 700]),
    ]
    .concat();
    assert!(tree_of(&layer).is_ok());
    for len in 1..layer.len() {
        assert_eq!(
            tree_of(&layer[..len]).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "{len} bytes"
        );
        let read = block_on(LayerTree::read(
            &*MemoryReader::new(&layer[..len]),
            &TreeLimits::default(),
        ));
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt, "{len} bytes, read");
    }
}

#[test]
fn a_large_body_that_is_not_there_is_found_missing_by_reading_headers_alone() {
    let layer = member(header("f", EntryType::Regular, 1 << 40), b"short");
    let read = block_on(LayerTree::read(
        &*MemoryReader::new(&layer),
        &TreeLimits::default(),
    ));
    assert!(
        read.unwrap_err()
            .to_string()
            .contains("in the middle of an entry")
    );
}

#[test]
fn impossible_sizes_are_refused() {
    let negative = [0xff; 12];
    let near_the_end = [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0];
    refused(&sized(negative), "size");
    refused(&sized(near_the_end), "size is out of range");
    refused(&sized(*b"77777777777\0"), "in the middle of an entry");
    refused(&sized(*b"not octal!!\0"), "octal");
    refused(
        &[
            pax(&[("size", "18446744073709551615")]),
            member(header("f", EntryType::Regular, 0), &[]),
        ]
        .concat(),
        "size is out of range",
    );
    refused(
        &[
            pax(&[("size", "-1")]),
            member(header("f", EntryType::Regular, 0), &[]),
        ]
        .concat(),
        "not a number",
    );
}

#[test]
fn a_size_beyond_64_bits_is_refused_rather_than_cut() {
    let beyond = [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5];
    refused(&[&sized(beyond)[..], &[0; 512]].concat(), "size");
}

#[test]
fn a_pax_size_takes_the_place_of_the_header_s() {
    let body = member(header("f", EntryType::Regular, 0), &[1; 600]);
    let layer = [
        pax(&[("size", "600")]),
        body,
        member(header("g", EntryType::Regular, 0), &[]),
    ]
    .concat();
    let tree = tree_of(&layer).unwrap();
    assert_eq!(tree.entries().len(), 2);
    assert_eq!(content(&layer, &tree.entries()[0]), [1; 600]);
}

#[test]
fn what_is_no_file_has_no_body_whatever_its_size_says() {
    let mut layer = member(header("d", EntryType::Directory, 4096), &[]);
    layer.extend(member(header("f", EntryType::Regular, 0), &[]));
    assert_eq!(tree_of(&layer).unwrap().entries().len(), 2);
}

#[test]
fn global_headers_say_nothing_about_files() {
    let mut global = pax(&[("path", "elsewhere"), ("size", "7")]);
    let mut header_of_global = tar::Header::new_ustar();
    header_of_global.as_mut_bytes().copy_from_slice(&global[..512]);
    header_of_global.set_entry_type(EntryType::XGlobalHeader);
    header_of_global.set_cksum();
    global[..512].copy_from_slice(header_of_global.as_bytes());
    let file = member(header("f", EntryType::Regular, 5), b"hello");
    let layer = [global, file].concat();
    let tree = tree_of(&layer).unwrap();
    assert_eq!((tree.entries().len(), &*tree.entries()[0].path), (1, &b"f"[..]));
    assert_eq!(content(&layer, &tree.entries()[0]), b"hello");
}

#[test]
fn a_header_longer_than_what_is_read_at_once_is_put_together() {
    let comment = pax(&[("comment", &"x".repeat(700_000)), ("path", "renamed")]);
    let layer = [
        comment,
        member(header("f", EntryType::Regular, 3), b"abc"),
        END.to_vec(),
    ]
    .concat();
    let tree = tree_of(&layer).unwrap();
    assert_eq!(&*tree.entries()[0].path, b"renamed");
    let read = block_on(LayerTree::read(
        &*MemoryReader::new(&layer),
        &TreeLimits::default(),
    ));
    assert_eq!(read.unwrap(), tree);
    assert_eq!(tree_of_pieces(&layer, &[5000, 1]).unwrap(), tree);
}

#[test]
fn a_slash_at_the_end_makes_a_directory_as_old_archives_have_it() {
    let mut header = tar::Header::new_old();
    header.set_path("old/").unwrap();
    header.set_size(0);
    let tree = tree_of(&member(header, &[])).unwrap();
    assert_eq!(
        (&*tree.entries()[0].path, &tree.entries()[0].kind),
        (&b"old"[..], &EntryKind::Dir)
    );
}

#[test]
fn times_before_1970_are_kept() {
    let file = member(header("f", EntryType::Regular, 0), &[]);
    let tree = tree_of(&[pax(&[("mtime", "-1.5")]), file].concat()).unwrap();
    let entry = &tree.entries()[0];
    assert_eq!((entry.mtime, entry.mtime_nanos), (-2, 500_000_000));
    let mut old = header("f", EntryType::Regular, 0);
    old.as_old_mut().mtime = [0xff; 12];
    assert_eq!(tree_of(&member(old, &[])).unwrap().entries()[0].mtime, -1);
}

#[test]
fn names_and_links_that_no_file_system_could_hold_are_refused() {
    let file = || member(header("f", EntryType::Regular, 0), &[]);
    refused(&[pax(&[("path", "a\0b")]), file()].concat(), "NUL");
    refused(
        &[pax(&[("path", "..")]), file()].concat(),
        "root must be a directory",
    );
    refused(&[pax(&[("path", "a/.wh.")]), file()].concat(), "whiteout");
    refused(&member(header("l", EntryType::Symlink, 0), &[]), "no target");
    refused(&member(header("l", EntryType::Link, 0), &[]), "no target");
    refused(
        &member(header("f", EntryType::new(b'D'), 0), &[]),
        "type is unknown",
    );
    let tree = tree_of(&[pax(&[("path", "../../../etc/passwd")]), file()].concat()).unwrap();
    assert_eq!(&*tree.entries()[0].path, b"etc/passwd");
}

#[test]
fn sparse_claims_without_a_fitting_map_are_refused() {
    let file = || member(header("f", EntryType::Regular, 512), &[1; 512]);
    let claim = |records: &[(&str, &str)]| [pax(records), file()].concat();
    refused(&claim(&[("GNU.sparse.realsize", "4096")]), "has no map");
    refused(
        &claim(&[("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0")]),
        "has no map",
    );
    refused(
        &claim(&[("GNU.sparse.size", "4096"), ("GNU.sparse.map", "0,100")]),
        "does not match its size",
    );
    refused(
        &claim(&[("GNU.sparse.size", "100"), ("GNU.sparse.map", "0,512")]),
        "beyond its size",
    );
    refused(
        &claim(&[("GNU.sparse.size", "9999"), ("GNU.sparse.map", "600,12,0,500")]),
        "out of order",
    );
    let huge = "18446744073709551615";
    refused(
        &claim(&[("GNU.sparse.size", huge), ("GNU.sparse.map", "0,512")]),
        "out of range",
    );
}

#[test]
fn a_sparse_map_without_an_end_takes_bounded_memory() {
    let map = [b"1".repeat(1 << 23), vec![b'\n']].concat();
    let records = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", "1"),
        ("size", "16777216"),
    ];
    let layer = [
        pax(&records),
        member(header("f", EntryType::Regular, map.len() as u64), &map),
    ]
    .concat();
    let mut builder = LayerTreeBuilder::new(TreeLimits::default());
    let error = layer
        .chunks(4096)
        .find_map(|piece| builder.push(piece).err())
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
}

#[test]
fn each_limit_stops_what_goes_beyond_it() {
    let layer: Vec<u8> = (0..10)
        .flat_map(|n| {
            let mut link = header(&format!("link-{n}"), EntryType::Symlink, 0);
            link.set_link_name("t".repeat(90)).unwrap();
            member(link, &[])
        })
        .collect();
    let with = |change: fn(&mut TreeLimits)| {
        let mut limits = TreeLimits::default();
        change(&mut limits);
        LayerTree::from_bytes(&layer, &limits).map_err(|error| error.kind())
    };
    assert!(with(|limits| limits.max_entries = 10).is_ok());
    assert_eq!(with(|limits| limits.max_entries = 9), Err(ErrorKind::Permanent));
    assert_eq!(with(|limits| limits.max_memory = 1500), Err(ErrorKind::Permanent));

    let long = |len: usize| {
        [
            pax(&[("path", &"x".repeat(len))]),
            member(header("f", EntryType::Regular, 0), &[]),
        ]
    };
    assert!(tree_of(&long(4096).concat()).is_ok());
    assert_eq!(
        tree_of(&long(4097).concat()).unwrap_err().kind(),
        ErrorKind::Permanent
    );
    let xattr = [
        pax(&[("SCHILY.xattr.user.x", &"x".repeat(1 << 20))]),
        long(1).concat(),
    ]
    .concat();
    assert_eq!(tree_of(&xattr).unwrap_err().kind(), ErrorKind::Permanent);

    let labelled: Vec<u8> = (0..10)
        .flat_map(|n| {
            let label = pax(&[("SCHILY.xattr.user.a", "12345"), ("SCHILY.xattr.user.b", "")]);
            [label, member(header(&format!("{n}"), EntryType::Regular, 0), &[])].concat()
        })
        .collect();
    let with = |change: fn(&mut TreeLimits)| {
        let mut limits = TreeLimits::default();
        change(&mut limits);
        LayerTree::from_bytes(&labelled, &limits).map_err(|error| (error.kind(), error.to_string()))
    };
    let all_at_the_limit = with(|limits| {
        (limits.max_xattrs, limits.max_xattr_len, limits.max_layer_xattrs) = (2, 5, 170);
    });
    assert_eq!(all_at_the_limit.unwrap().entries().len(), 10);
    type Change = (fn(&mut TreeLimits), &'static str);
    let changes: [Change; 3] = [
        (
            |limits| limits.max_xattrs = 1,
            "`0`: it has too many extended attributes",
        ),
        (
            |limits| limits.max_xattr_len = 4,
            "`0`: an extended attribute is too long",
        ),
        (
            |limits| limits.max_layer_xattrs = 169,
            "its extended attributes have more than 169 bytes",
        ),
    ];
    for (change, why) in changes {
        let (kind, text) = with(change).unwrap_err();
        assert_eq!(kind, ErrorKind::Permanent);
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn an_error_shows_hostile_bytes_in_printable_form_and_bounded_length() {
    let name = format!("\x1b[2J{}", "x".repeat(4000));
    let layer = [
        pax(&[("path", &name)]),
        member(header("f", EntryType::new(b'?'), 0), &[]),
    ]
    .concat();
    let text = tree_of(&layer).unwrap_err().to_string();
    assert!(text.len() < 500 && !text.contains('\x1b'), "{text}");
}
