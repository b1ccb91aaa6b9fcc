//! Archives that GNU tar and the `tar` crate write, checked against what the `tar` crate and the file system say.

mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use image_tree::{Entry, EntryKind, LayerTree, TreeLimits};
use support::*;

/// `cap_net_raw=ep` as the kernel stores it, `struct vfs_cap_data`: most of its bytes are NUL.
const CAP_NET_RAW: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// What `tar` makes of the directory `dir` with these options.
fn gnu_tar(dir: &Path, options: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .args(["--create", "--file=-", "--sort=name", "--numeric-owner"])
        .args(options)
        .arg("--directory")
        .arg(dir)
        .arg(".")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// A file of `len` bytes with data at these offsets and holes elsewhere.
fn sparse_file(path: &Path, len: u64, data: impl IntoIterator<Item = u64>) {
    let mut file = File::create(path).unwrap();
    for (n, offset) in data.into_iter().enumerate() {
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(&[n as u8 + 1; 700]).unwrap();
    }
    file.set_len(len).unwrap();
}

/// Files of every kind that needs no privilege; `names` up to what the format can hold.
fn tree_on_disk(dir: &Path, long_names: bool) {
    fs::create_dir_all(dir.join("usr/bin")).unwrap();
    fs::create_dir(dir.join("empty")).unwrap();
    fs::write(dir.join("usr/bin/tool"), vec![b'x'; 70_000]).unwrap();
    fs::set_permissions(dir.join("usr/bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(dir.join("usr/one-block"), [7; 512]).unwrap();
    fs::write(dir.join("nothing"), b"").unwrap();
    fs::hard_link(dir.join("nothing"), dir.join("also-nothing")).unwrap();
    symlink("usr/bin/tool", dir.join("link")).unwrap();
    symlink("../../outside", dir.join("usr/escape")).unwrap();
    fs::write(dir.join(OsStr::from_bytes(b"n\xe4m\xff")), b"not UTF-8").unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(dir.join("pipe"))
            .status()
            .unwrap()
            .success()
    );
    let old = File::create(dir.join("dated")).unwrap();
    old.set_modified(UNIX_EPOCH + Duration::from_secs(981_173_106))
        .unwrap();
    if long_names {
        let deep = dir.join("d".repeat(120)).join("e".repeat(200));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("f".repeat(250)), b"deep").unwrap();
        fs::hard_link(deep.join("f".repeat(250)), dir.join("z-hard")).unwrap();
        symlink("t".repeat(300), dir.join("long-link")).unwrap();
        let before = File::create(dir.join("before-1970")).unwrap();
        before
            .set_modified(UNIX_EPOCH - Duration::from_millis(5_500))
            .unwrap();
    }
}

/// The modification time in nanoseconds since the Unix epoch.
fn nanoseconds(entry: &Entry) -> i128 {
    assert!(entry.mtime_nanos < 1_000_000_000);
    i128::from(entry.mtime) * 1_000_000_000 + i128::from(entry.mtime_nanos)
}

/// The modification time in nanoseconds and the extended attributes of what the `tar` crate reads
/// as PAX records. It knows raw values only.
fn pax_facts(entry: &mut tar::Entry<'_, &[u8]>) -> (Option<i128>, BTreeMap<Vec<u8>, Vec<u8>>) {
    let (mut time, mut xattrs) = (None, BTreeMap::new());
    for record in entry.pax_extensions().unwrap().into_iter().flatten() {
        let record = record.unwrap();
        let key = record.key().unwrap();
        if key == "mtime" {
            let value = record.value().unwrap();
            let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
            let digits: i128 = format!("{whole}{fraction:0<9}").parse().unwrap();
            time = Some(digits);
        } else if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
            xattrs.insert(name.as_bytes().to_vec(), record.value_bytes().to_vec());
        }
    }
    (time, xattrs)
}

/// Every entry of the tree is what the `tar` crate sees, in the same order.
fn same_as_tar_crate(layer: &[u8]) -> LayerTree {
    let tree = tree_of(layer).unwrap();
    let read = block_on(LayerTree::read(
        &*MemoryReader::new(layer),
        &TreeLimits::default(),
    ))
    .unwrap();
    assert_eq!(read, tree);
    assert_eq!(tree_of_pieces(layer, &[1, 511, 7, 1024, 4096]).unwrap(), tree);
    let mut archive = tar::Archive::new(layer);
    let mut ours = tree.entries().iter();
    for theirs in archive.entries().unwrap() {
        let mut theirs = theirs.unwrap();
        let entry = ours.next().expect("no entry is missing");
        let normal = |path: &[u8]| {
            let path = path.strip_prefix(b"./").unwrap_or(path);
            path.strip_suffix(b"/").unwrap_or(path).to_vec()
        };
        let path = normal(&theirs.path_bytes());
        assert_eq!(
            entry.path.escape_ascii().to_string(),
            path.escape_ascii().to_string()
        );
        let header = theirs.header().clone();
        let (time, xattrs) = pax_facts(&mut theirs);
        let time = time.unwrap_or(i128::from(entry.mtime) * 1_000_000_000);
        assert_eq!(nanoseconds(entry), time);
        let ours: BTreeMap<_, _> = entry
            .xattrs
            .iter()
            .map(|xattr| (xattr.name.to_vec(), xattr.value.to_vec()))
            .collect();
        assert_eq!(ours, xattrs);
        assert_eq!(entry.mode, header.mode().unwrap() & 0o7777);
        assert_eq!(
            (entry.uid, entry.gid),
            (header.uid().unwrap(), header.gid().unwrap())
        );
        let link = theirs.link_name_bytes().map(|link| link.into_owned());
        let kind = header.entry_type();
        match &entry.kind {
            EntryKind::File(data) => {
                assert!(kind.is_file() || kind.is_gnu_sparse(), "{kind:?}");
                let mut bytes = Vec::new();
                theirs.read_to_end(&mut bytes).unwrap();
                assert_eq!(data.size(), bytes.len() as u64);
                assert!(content(layer, entry) == bytes, "{}", entry.path.escape_ascii());
            }
            EntryKind::Dir => {
                assert!(kind.is_dir() || path.is_empty() || theirs.path_bytes().ends_with(b"/"))
            }
            EntryKind::Symlink(target) => {
                assert_eq!(Some(target.to_vec()), kind.is_symlink().then_some(link).flatten())
            }
            EntryKind::HardLink(target) => {
                assert!(kind.is_hard_link());
                assert_eq!(target.to_vec(), normal(&link.unwrap()));
            }
            EntryKind::Fifo => assert!(kind.is_fifo()),
            EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                assert!(kind.is_character_special() || kind.is_block_special());
                assert_eq!(Some(*major), header.device_major().unwrap());
                assert_eq!(Some(*minor), header.device_minor().unwrap());
            }
            other => panic!("{other:?} where the tar crate sees {kind:?}"),
        }
    }
    assert_eq!(ours.next(), None, "no entry is made up");
    tree
}

/// Every file of the tree has the content, size and time it has on disk; PAX alone has fractions of
/// seconds.
fn same_as_disk(layer: &[u8], tree: &LayerTree, dir: &Path, format: &str) {
    let mut seen = 0;
    for entry in tree.entries() {
        let path = dir.join(OsStr::from_bytes(&entry.path));
        let meta = fs::symlink_metadata(&path).unwrap();
        let nanos = if format.contains("pax") {
            meta.mtime_nsec()
        } else {
            0
        };
        let time = (entry.mtime, i64::from(entry.mtime_nanos));
        assert_eq!(time, (meta.mtime(), nanos), "{}", path.display());
        assert_eq!(entry.mode, meta.mode() & 0o7777, "{}", path.display());
        if let EntryKind::File(data) = &entry.kind {
            assert_eq!(data.size(), meta.len());
            assert!(
                content(layer, entry) == fs::read(&path).unwrap(),
                "{}",
                path.display()
            );
            seen += 1;
        }
    }
    assert!(seen >= 4, "the test looks at files");
}

#[test]
fn every_format_of_gnu_tar_reads_as_the_tar_crate_and_the_disk_say() {
    for (format, long_names) in [
        ("v7", false),
        ("ustar", false),
        ("oldgnu", true),
        ("gnu", true),
        ("pax", true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        tree_on_disk(dir.path(), long_names);
        if format == "v7" {
            fs::remove_file(dir.path().join("pipe")).unwrap();
        }
        let layer = gnu_tar(dir.path(), &[&format!("--format={format}")]);
        let tree = same_as_tar_crate(&layer);
        same_as_disk(&layer, &tree, dir.path(), format);
    }
}

#[test]
fn sparse_files_of_every_format_read_as_on_disk() {
    let formats = [
        (&["--format=gnu"][..], true),
        (&["--format=oldgnu"], true),
        (&["--format=pax", "--sparse-version=0.0"], false),
        (&["--format=pax", "--sparse-version=0.1"], false),
        (&["--format=pax", "--sparse-version=1.0"], false),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    sparse_file(&path("all-hole"), 3_000_000, []);
    sparse_file(&path("hole-first"), 100_700, [100_000]);
    sparse_file(&path("hole-last"), 1_000_001, [0]);
    sparse_file(&path("three"), 500_000, [0, 90_112, 300_000]);
    sparse_file(&path("a-hundred"), 5_000_000, (0..100).map(|n| n * 49_152 + 4096));
    sparse_file(&path(&"long-sparse-name-".repeat(12)), 200_000, [65_536]);
    fs::write(path("z-after"), b"the next header was found").unwrap();
    for (options, known_to_the_tar_crate) in formats {
        let layer = gnu_tar(
            dir.path(),
            &[options, &["--sparse", "--hole-detection=raw"]].concat(),
        );
        assert!(layer.len() < 1_000_000, "the archive has holes");
        let tree = if known_to_the_tar_crate {
            same_as_tar_crate(&layer)
        } else {
            tree_of(&layer).unwrap()
        };
        assert_eq!(tree_of_pieces(&layer, &[13, 600]).unwrap(), tree);
        same_as_disk(&layer, &tree, dir.path(), options[0]);
        let extents = |name: &[u8]| {
            let entry = tree.entries().iter().find(|entry| &*entry.path == name).unwrap();
            entry.file().unwrap().extents().len()
        };
        assert_eq!(
            (extents(b"all-hole"), extents(b"a-hundred")),
            (0, 100),
            "{options:?}"
        );
    }
}

#[test]
fn what_the_tar_crate_builds_reads_back() {
    let mut builder = tar::Builder::new(Vec::new());
    for (n, kind) in [tar::EntryType::Char, tar::EntryType::Block]
        .into_iter()
        .enumerate()
    {
        let mut header = header(&format!("dev/{n}"), kind, 0);
        header.set_device_major(8).unwrap();
        header.set_device_minor(n as u32).unwrap();
        header.set_cksum();
        builder.append(&header, &[][..]).unwrap();
    }
    let long = format!("{}file", "long/".repeat(60));
    for (name, size) in [("small", 3), (long.as_str(), 1000), ("exact", 1024)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o600);
        header.set_uid(5_000_000_000);
        header.set_gid(12);
        header.set_mtime(8_589_934_592);
        builder
            .append_pax_extensions([
                ("SCHILY.xattr.user.a", &b"\xff\0"[..]),
                ("mtime", b"8589934592.123456789"),
                ("SCHILY.xattr.security.capability", CAP_NET_RAW),
            ])
            .unwrap();
        builder
            .append_data(&mut header, name, std::io::repeat(b'y').take(size))
            .unwrap();
    }
    let layer = builder.into_inner().unwrap();
    let tree = same_as_tar_crate(&layer);
    let last = tree.entries().last().unwrap();
    assert_eq!((last.uid, last.mtime), (5_000_000_000, 8_589_934_592));
    assert_eq!(last.mtime_nanos, 123_456_789);
    let xattrs: Vec<_> = last
        .xattrs
        .iter()
        .map(|xattr| (&*xattr.name, &*xattr.value))
        .collect();
    let expected: [(&[u8], &[u8]); 2] = [(b"security.capability", CAP_NET_RAW), (b"user.a", b"\xff\0")];
    assert_eq!(xattrs, expected);
}

#[test]
fn headers_alone_are_read_of_a_layer_with_large_files() {
    let mut layer = Vec::new();
    for n in 0..8 {
        let size = 3 << 20;
        layer.extend(member(
            header(&format!("large-{n}"), tar::EntryType::Regular, size),
            &vec![n; size as usize],
        ));
    }
    layer.extend(END);
    let reader = MemoryReader::new(&layer);
    let tree = block_on(LayerTree::read(&*reader, &TreeLimits::default())).unwrap();
    assert_eq!(tree, tree_of(&layer).unwrap());
    let read = reader.read_bytes.load(std::sync::atomic::Ordering::Relaxed);
    assert!(read < 2 << 20, "{read} of {} bytes were read", layer.len());
}

/// The same path more than once: the tree keeps both, in order, for the merge to replay.
#[test]
fn entries_keep_the_order_of_the_archive() {
    let layer: Vec<u8> = [("a", 1), ("b", 2), ("a", 3)]
        .iter()
        .flat_map(|(name, size)| {
            member(
                header(name, tar::EntryType::Regular, *size),
                &vec![0; *size as usize],
            )
        })
        .collect();
    let tree = tree_of(&layer).unwrap();
    let seen: Vec<_> = tree
        .entries()
        .iter()
        .map(|entry| (&*entry.path, entry.size()))
        .collect();
    assert_eq!(seen, [(&b"a"[..], 1), (b"b", 2), (b"a", 3)]);
    let last: BTreeMap<_, _> = seen.into_iter().collect();
    assert_eq!(last[&b"a"[..]], 3);
}
