//! The merged view: whiteouts, replacement, links, and names that try to leave the image.

mod support;

use std::sync::Arc;

use cache_core::ErrorKind;
use image_tree::{EntryKind, Follow, ImageTree, TreeLimits};
use support::images::*;
use support::*;
use tar::EntryType;

fn time_of(image: &ImageTree, path: &str) -> i64 {
    image
        .resolve(path.as_bytes(), Follow::Parents)
        .unwrap()
        .expect(path)
        .entry()
        .mtime
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    let lower: &[_] = &[
        ("a", Dir),
        ("a/x", File),
        ("a/y", File),
        ("a/d", Dir),
        ("a/d/z", File),
        ("b", File),
    ];
    let cases: [(_, &[_], &[&str]); 13] = [
        ("a file", &[("a/.wh.x", File)], &["a", "a/d", "a/d/z", "a/y", "b"]),
        ("a directory", &[(".wh.a", File)], &["b"]),
        (
            "a directory in one",
            &[("a/.wh.d", File)],
            &["a", "a/x", "a/y", "b"],
        ),
        (
            "nothing",
            &[("a/.wh.nothing", File), ("c/d/.wh.e", File)],
            &["a", "a/d", "a/d/z", "a/x", "a/y", "b"],
        ),
        (
            "something of the same layer, after",
            &[("a/x", File), ("a/.wh.x", File)],
            &["a", "a/d", "a/d/z", "a/x", "a/y", "b"],
        ),
        (
            "something of the same layer, before",
            &[("a/.wh.x", File), ("a/x", File)],
            &["a", "a/d", "a/d/z", "a/x", "a/y", "b"],
        ),
        (
            "a directory made anew, after",
            &[("a", Dir), ("a/new", File), (".wh.a", File)],
            &["a", "a/new", "b"],
        ),
        (
            "a directory made anew, before",
            &[(".wh.a", File), ("a/new", File)],
            &["a", "a/new", "b"],
        ),
        (
            "all of a directory, first",
            &[("a", Dir), ("a/.wh..wh..opq", File), ("a/new", File)],
            &["a", "a/new", "b"],
        ),
        (
            "all of a directory, last",
            &[("a", Dir), ("a/new", File), ("a/.wh..wh..opq", File)],
            &["a", "a/new", "b"],
        ),
        (
            "all of a directory nobody lists",
            &[("a/.wh..wh..opq", File)],
            &["a", "b"],
        ),
        ("everything", &[(".wh..wh..opq", File), ("c", File)], &["c"]),
        (
            "files of AUFS",
            &[
                (".wh..wh.aufs", File),
                (".wh..wh.plnk", Dir),
                (".wh..wh.plnk/1.2", File),
            ],
            &["a", "a/d", "a/d/z", "a/x", "a/y", "b"],
        ),
    ];
    for (hides, upper, expected) in cases {
        assert_eq!(
            paths(&merge(&[lower, upper]).unwrap()),
            expected,
            "a whiteout of {hides}"
        );
    }
}

#[test]
fn a_whiteout_does_not_follow_symbolic_links_out_of_its_directory() {
    let lower: &[_] = &[("b", Dir), ("b/kept", File), ("a", symlink("b"))];
    // How an overlay diff shows that a symbolic link was replaced by a directory.
    let upper: &[_] = &[
        ("a", Dir),
        ("a/.wh..wh..opq", File),
        ("a/.wh.kept", File),
        ("a/new", File),
    ];
    assert_eq!(
        paths(&merge(&[lower, upper]).unwrap()),
        ["a", "a/new", "b", "b/kept"]
    );
}

#[test]
fn a_directory_over_a_directory_merges_and_anything_else_replaces() {
    let lower: &[_] = &[("a", Dir), ("a/x", File)];
    let image = merge(&[lower, &[("a", Dir), ("a/y", File)]]).unwrap();
    assert_eq!(paths(&image), ["a", "a/x", "a/y"]);
    assert_eq!(
        (
            time_of(&image, "a"),
            image.resolve(b"a", Follow::All).unwrap().unwrap().layer()
        ),
        (2000, 1)
    );
    assert_eq!(paths(&merge(&[lower, &[("a", File)]]).unwrap()), ["a"]);
    assert_eq!(
        paths(&merge(&[lower, &[("a", File)], &[("a", Dir)]]).unwrap()),
        ["a"]
    );
    assert_eq!(
        paths(&merge(&[lower, &[("a", symlink("b"))], &[("a", Dir), ("a/z", File)]]).unwrap()),
        ["a", "a/z"]
    );
    assert_eq!(
        paths(&merge(&[&[("a", File)], &[("a/b/c", File)]]).unwrap()),
        ["a", "a/b", "a/b/c"]
    );
}

#[test]
fn the_last_of_several_entries_of_one_layer_counts() {
    let image = merge(&[&[
        ("a", File),
        ("a", Dir),
        ("a/x", File),
        ("a", File),
        ("b", File),
        ("b", File),
    ]])
    .unwrap();
    assert_eq!(paths(&image), ["a", "b"]);
    assert_eq!((time_of(&image, "a"), time_of(&image, "b")), (1003, 1005));
}

#[test]
fn directories_nobody_lists_are_there_all_the_same() {
    let image = merge(&[&[("a/b/c", File)]]).unwrap();
    let dir = image.resolve(b"/a/b", Follow::All).unwrap().unwrap();
    assert_eq!(
        (dir.entry().mode, dir.entry().is_dir(), dir.layer()),
        (0o755, true, 0)
    );
    assert_eq!(dir.children().map(|(name, _)| name).collect::<Vec<_>>(), [b"c"]);
    assert!(image.root().entry().is_dir());
    assert_eq!(merge::<&str>(&[]).unwrap().root().children().count(), 0);
}

#[test]
fn a_hard_link_is_what_its_target_was_when_it_was_made() {
    let image = merge(&[
        &[
            ("a", File),
            ("b", hard_link("a")),
            ("a", File),
            ("c", hard_link("/./a")),
            ("s", symlink("a")),
            ("t", hard_link("s")),
        ],
        &[("a", File), ("lower", hard_link("b"))],
    ])
    .unwrap();
    assert_eq!(
        [time_of(&image, "a"), time_of(&image, "b"), time_of(&image, "c")],
        [2000, 1000, 1002]
    );
    let lower = image.resolve(b"lower", Follow::All).unwrap().unwrap();
    assert_eq!(
        (lower.layer(), lower.entry().mtime, &*lower.entry().path),
        (0, 1000, &b"a"[..])
    );
    let t = image.resolve(b"t", Follow::Parents).unwrap().unwrap();
    assert_eq!(t.entry().kind, EntryKind::Symlink(b"a"[..].into()));
}

#[test]
fn links_count_the_names_that_are_left() {
    let lower: &[_] = &[
        ("a", File),
        ("b", hard_link("a")),
        ("d/c", hard_link("b")),
        ("s", symlink("a")),
        ("s2", hard_link("s")),
    ];
    let links = |image: &ImageTree| -> Vec<(String, u32)> {
        let name = |path| String::from_utf8(path).unwrap();
        image
            .root()
            .walk()
            .map(|(path, node)| (name(path), node.links()))
            .collect()
    };
    let cases: [(_, &[_], &[(&str, u32)]); 6] = [
        (
            "nothing",
            &[],
            &[("a", 3), ("b", 3), ("d", 2), ("d/c", 3), ("s", 2), ("s2", 2)],
        ),
        (
            "a name more, from another layer",
            &[("e/f", hard_link("d/c"))],
            &[
                ("a", 4),
                ("b", 4),
                ("d", 2),
                ("d/c", 4),
                ("e", 2),
                ("e/f", 4),
                ("s", 2),
                ("s2", 2),
            ],
        ),
        (
            "a whiteout of the first name",
            &[(".wh.a", File), (".wh.s2", File)],
            &[("b", 2), ("d", 2), ("d/c", 2), ("s", 1)],
        ),
        (
            "another file in place of a name",
            &[("b", File)],
            &[("a", 2), ("b", 1), ("d", 2), ("d/c", 2), ("s", 2), ("s2", 2)],
        ),
        (
            "an opaque directory",
            &[("d/.wh..wh..opq", File), ("d/e/f", Dir)],
            &[
                ("a", 2),
                ("b", 2),
                ("d", 3),
                ("d/e", 3),
                ("d/e/f", 2),
                ("s", 2),
                ("s2", 2),
            ],
        ),
        (
            "the same name once more",
            &[("b", hard_link("b")), ("a/x", hard_link("a"))],
            &[
                ("a", 2),
                ("a/x", 3),
                ("b", 3),
                ("d", 2),
                ("d/c", 3),
                ("s", 2),
                ("s2", 2),
            ],
        ),
    ];
    for (upper_is, upper, expected) in cases {
        let image = merge(&[lower, upper]).unwrap();
        let expected: Vec<_> = expected
            .iter()
            .map(|(path, links)| ((*path).to_owned(), *links))
            .collect();
        assert_eq!(links(&image), expected, "{upper_is}");
        let dirs = image.root().children().filter(|(_, node)| node.entry().is_dir());
        assert_eq!(image.root().links() as usize, 2 + dirs.count(), "{upper_is}");
    }
}

#[test]
fn a_file_has_one_number_whatever_its_names() {
    let image = merge(&[
        &[("gone", File), ("d/a", File), ("d/b", hard_link("d/a"))],
        &[(".wh.gone", File), ("a-link", hard_link("d/b")), ("d", Dir)],
    ])
    .unwrap();
    let node = |path: &str| image.resolve(path.as_bytes(), Follow::All).unwrap().unwrap();
    assert_eq!(node("d/a"), node("a-link"));
    let ids = ["", "a-link", "d", "d/a", "d/b"].map(|path| u32::from(node(path).id()));
    assert_eq!(ids, [0, 1, 2, 1, 1], "in the order of a walk, without gaps");
    let nodes: Vec<_> = image.nodes().collect();
    assert_eq!(nodes, [image.root(), node("a-link"), node("d")]);
    for node in nodes {
        assert_eq!(image.node(node.id()), Some(node));
        for (name, child) in node.children() {
            assert_eq!(node.child(name), Some(child));
        }
    }
    assert_eq!(image.node(3.into()), None);
    assert_eq!((node("d").child(b"c"), node("d/a").child(b"")), (None, None));
    assert_eq!(
        [node("d"), node("a-link"), image.root()].map(|node| node.parent()),
        [image.root(); 3]
    );
}

#[test]
fn hard_links_to_nothing_are_refused_with_layer_and_name() {
    for (target, why) in [
        ("gone", "does not exist"),
        ("d", "is a directory"),
        ("../..", "does not exist"),
        ("a/x", "does not exist"),
    ] {
        let error = merge(&[&[("a", File), ("d", Dir)], &[("link", hard_link(target))]]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        assert!(
            text.contains("layer 1") && text.contains("`link`") && text.contains(why),
            "{text}"
        );
    }
}

#[test]
fn names_below_symbolic_links_land_where_the_links_lead() {
    let image = merge(&[
        &[
            ("usr/lib", Dir),
            ("lib", symlink("usr/lib")),
            ("etc", Dir),
            ("up", symlink("../../../etc")),
        ],
        &[
            ("lib/libc.so", File),
            ("up/passwd", File),
            ("copy", hard_link("lib/libc.so")),
        ],
    ])
    .unwrap();
    assert_eq!(
        paths(&image),
        [
            "copy",
            "etc",
            "etc/passwd",
            "lib",
            "up",
            "usr",
            "usr/lib",
            "usr/lib/libc.so"
        ]
    );
    let error = merge(&[&[("loop", symlink("loop")), ("loop/x", File)]]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn paths_resolve_inside_the_image_only() {
    let image = merge(&[&[
        ("etc/passwd", File),
        ("abs", symlink("/etc/passwd")),
        ("escape", symlink("../../../../etc/passwd")),
        ("etc/up", symlink("../..")),
        ("dir", symlink("etc")),
        ("dangling", symlink("nowhere")),
        ("loop", symlink("pool")),
        ("pool", symlink("loop")),
        ("chain-0", symlink("etc/passwd")),
    ]])
    .unwrap();
    let passwd = image.resolve(b"etc/passwd", Follow::All).unwrap();
    assert!(passwd.is_some());
    for path in [
        "/etc/passwd",
        "etc//./passwd",
        "../../etc/passwd",
        "abs",
        "escape",
        "dir/passwd",
        "etc/up/etc/passwd",
        "dir/../abs",
        "dir/up/dir/passwd",
    ] {
        assert_eq!(
            image.resolve(path.as_bytes(), Follow::All).unwrap(),
            passwd,
            "{path}"
        );
    }
    for path in [
        "nothing",
        "dangling",
        "etc/passwd/",
        "etc/passwd/.",
        "etc/passwd/..",
        "abs/x",
        "dangling/x",
    ] {
        assert_eq!(
            image.resolve(path.as_bytes(), Follow::All).unwrap(),
            None,
            "{path}"
        );
    }
    for path in ["", "/", ".", "..", "etc/..", "etc/up"] {
        assert_eq!(
            image.resolve(path.as_bytes(), Follow::All).unwrap(),
            Some(image.root()),
            "{path}"
        );
    }
    let kind = |path: &[u8]| {
        image
            .resolve(path, Follow::Parents)
            .unwrap()
            .unwrap()
            .entry()
            .kind_char()
    };
    assert_eq!(
        [
            kind(b"abs"),
            kind(b"dangling"),
            kind(b"loop"),
            kind(b"dir"),
            kind(b"dir/")
        ],
        ['l', 'l', 'l', 'l', 'd']
    );
    for path in ["loop", "pool/x"] {
        assert_eq!(
            image.resolve(path.as_bytes(), Follow::All).unwrap_err().kind(),
            ErrorKind::Invalid,
            "{path}"
        );
    }
}

#[test]
fn forty_symbolic_links_are_followed_and_no_more() {
    let mut members = vec![("link-0".to_owned(), File)];
    members.extend((1..=41).map(|n| (format!("link-{n}"), symlink(&format!("link-{}", n - 1)))));
    let image = merge(&[&members]).unwrap();
    assert!(image.resolve(b"link-40", Follow::All).unwrap().is_some());
    assert!(image.resolve(b"link-41", Follow::All).is_err());
}

#[test]
fn images_beyond_a_limit_are_refused() {
    let deep: Vec<_> = (0..4).map(|n| (format!("{n}/{}", "d/".repeat(9)), Dir)).collect();
    // A name costs memory even where it makes no file.
    let link = |n| if n == 0 { File } else { hard_link("0") };
    let links: Vec<_> = (0..40).map(|n| (n.to_string(), link(n))).collect();
    for members in [deep, links] {
        let with = |max_nodes| {
            let mut limits = TreeLimits::default();
            limits.max_nodes = max_nodes;
            ImageTree::new(vec![layer(1, &members)], &limits).map_err(|error| error.kind())
        };
        assert!(with(41).is_ok());
        assert_eq!(with(40).unwrap_err(), ErrorKind::Permanent);
    }

    // Each link leads below what the one before it leads to, so that short names make deep directories.
    let down = "d/".repeat(2000);
    let mut tar = Vec::new();
    for n in 0..5 {
        let target = if n == 0 {
            down.clone()
        } else {
            format!("s{}/{down}", n - 1)
        };
        tar.extend(pax(&[("linkpath", &target)]));
        tar.extend(member(header(&format!("s{n}"), EntryType::Symlink, 0), &[]));
    }
    tar.extend(member(header("s4/x", EntryType::Regular, 0), &[]));
    let error = ImageTree::new(vec![Arc::new(tree_of(&tar).unwrap())], &TreeLimits::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
}

#[test]
fn a_tree_as_deep_as_it_may_be_is_walked_and_dropped_without_recursion() {
    let path = "d/".repeat(2000);
    let tar = [
        pax(&[("path", &path)]),
        member(header("d", EntryType::Directory, 0), &[]),
    ]
    .concat();
    let image = ImageTree::new(vec![Arc::new(tree_of(&tar).unwrap())], &TreeLimits::default()).unwrap();
    assert_eq!(image.root().walk().count(), 2000);
    assert_eq!(image.root().walk().last().unwrap().0.len(), path.len() - 1);
}
