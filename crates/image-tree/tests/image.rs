//! The merged view: whiteouts, replacement, links, and names that try to leave the image.

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cache_core::{ErrorKind, Result};
use image_tree::{EntryKind, Follow, ImageTree, LayerTree, TreeLimits};
use proptest::prelude::*;
use support::*;
use tar::EntryType;

/// What a layer of these tests consists of: a path, and what is there.
#[derive(Clone, Debug)]
enum Is {
    File,
    Dir,
    Symlink(String),
    HardLink(String),
}
use Is::{Dir, File};

fn symlink(target: &str) -> Is {
    Is::Symlink(target.into())
}

fn hard_link(target: &str) -> Is {
    Is::HardLink(target.into())
}

/// A layer whose n-th member has the time `number * 1000 + n`, so that it can be told from all others.
fn layer<S: AsRef<str>>(number: usize, members: &[(S, Is)]) -> Arc<LayerTree> {
    let mut tar = Vec::new();
    for (n, (path, is)) in members.iter().enumerate() {
        let kind = match is {
            File => EntryType::Regular,
            Dir => EntryType::Directory,
            Is::Symlink(_) => EntryType::Symlink,
            Is::HardLink(_) => EntryType::Link,
        };
        let mut header = header(path.as_ref(), kind, 0);
        if let Is::Symlink(target) | Is::HardLink(target) = is {
            header.set_link_name_literal(target).unwrap();
        }
        header.set_mtime((number * 1000 + n) as u64);
        tar.extend(member(header, &[]));
    }
    Arc::new(tree_of(&tar).unwrap())
}

fn merge<S: AsRef<str>>(layers: &[&[(S, Is)]]) -> Result<ImageTree> {
    let layers = layers
        .iter()
        .enumerate()
        .map(|(number, members)| layer(number + 1, members))
        .collect();
    ImageTree::new(layers, &TreeLimits::default())
}

/// Every path of the image, in order.
fn paths(image: &ImageTree) -> Vec<String> {
    image
        .root()
        .walk()
        .map(|(path, _)| String::from_utf8(path).unwrap())
        .collect()
}

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
    let with = |max_nodes| {
        let mut limits = TreeLimits::default();
        limits.max_nodes = max_nodes;
        ImageTree::new(vec![layer(1, &deep)], &limits).map_err(|error| error.kind())
    };
    assert!(with(41).is_ok());
    assert_eq!(with(40).unwrap_err(), ErrorKind::Permanent);

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

/// An image laid out in a map from path to what is there: slow, and too simple to be wrong.
#[derive(Default)]
struct Model {
    files: BTreeMap<String, Placed>,
}

#[derive(Clone, Debug, PartialEq)]
struct Placed {
    layer: usize,
    time: i64,
    is: Plain,
}

#[derive(Clone, Debug, PartialEq)]
enum Plain {
    File,
    Dir,
    Symlink(String),
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = String> + '_ {
    path.split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .map(str::to_owned)
}

impl Model {
    fn remove(&mut self, path: &str, with_itself: bool) {
        let below = format!("{path}/");
        self.files
            .retain(|key, _| !(path.is_empty() || key.starts_with(&below) || with_itself && key == path));
    }

    /// Where `path` leads, the last part followed or not. `make` makes missing directories, for all but the last part.
    fn find(&mut self, path: &str, follow_last: bool, make: Option<usize>) -> Result<Option<String>, ()> {
        let mut done: Vec<String> = Vec::new();
        let mut todo: VecDeque<String> = parts(path).collect();
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            let here = done.join("/");
            let is_dir = here.is_empty() || self.files.get(&here).is_some_and(|file| file.is == Plain::Dir);
            if !is_dir {
                let Some(layer) = make else { return Ok(None) };
                self.remove(&here, true);
                self.files.insert(
                    here,
                    Placed {
                        layer,
                        time: 0,
                        is: Plain::Dir,
                    },
                );
            }
            if part == ".." {
                done.pop();
                continue;
            }
            done.push(part);
            if let Some(Placed {
                is: Plain::Symlink(target),
                ..
            }) = self.files.get(&done.join("/"))
                && (follow_last || !todo.is_empty())
            {
                links += 1;
                if links > 40 {
                    return Err(());
                }
                done.pop();
                if target.starts_with('/') {
                    done.clear();
                }
                parts(target).rev().for_each(|part| todo.push_front(part));
            }
        }
        Ok(Some(done.join("/")))
    }

    fn apply(&mut self, layer: usize, members: &[(String, Is)]) -> Result<(), ()> {
        for (path, _) in members {
            let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
            let hidden = if name == ".wh..wh..opq" {
                self.remove(dir, false);
                continue;
            } else if let Some(name) = name.strip_prefix(".wh.") {
                parts(&format!("{dir}/{name}")).collect::<Vec<_>>().join("/")
            } else {
                continue;
            };
            self.remove(&hidden, true);
        }
        for (n, (path, is)) in members.iter().enumerate() {
            let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
            if name.starts_with(".wh.") {
                continue;
            }
            let mut placed = Placed {
                layer,
                time: ((layer + 1) * 1000 + n) as i64,
                is: Plain::File,
            };
            match is {
                File => {}
                Dir => placed.is = Plain::Dir,
                Is::Symlink(target) => placed.is = Plain::Symlink(target.clone()),
                Is::HardLink(target) => {
                    let target = self.find(target, false, None)?.ok_or(())?;
                    placed = self
                        .files
                        .get(&target)
                        .filter(|file| file.is != Plain::Dir)
                        .cloned()
                        .ok_or(())?;
                }
            }
            // A last part of `.` makes the directories before it and names the last of them.
            let dir = self
                .find(&format!("{dir}/x"), false, Some(layer))?
                .expect("it was made");
            let place = parts(&format!("{}/{name}", dir.strip_suffix('x').unwrap()))
                .collect::<Vec<_>>()
                .join("/");
            let merges =
                placed.is == Plain::Dir && self.files.get(&place).is_some_and(|file| file.is == Plain::Dir);
            if !merges {
                self.remove(&place, true);
            }
            self.files.insert(place, placed);
        }
        Ok(())
    }
}

fn some_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|parts| parts.join("/"))
}

fn some_target() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "..", "."]), 1..4).prop_flat_map(|parts| {
        let path = parts.join("/");
        prop::sample::select(vec![path.clone(), format!("/{path}")])
    })
}

fn some_layer() -> impl Strategy<Value = Vec<(String, Is)>> {
    let whiteout = |path: String| match path.rsplit_once('/') {
        Some((dir, name)) => (format!("{dir}/.wh.{name}"), File),
        None => (format!(".wh.{path}"), File),
    };
    let member = prop_oneof![
        4 => some_path().prop_map(|path| (path, File)),
        4 => some_path().prop_map(|path| (path, Dir)),
        2 => (some_path(), some_target()).prop_map(|(path, target)| (path, Is::Symlink(target))),
        1 => (some_path(), some_path()).prop_map(|(path, target)| (path, Is::HardLink(target))),
        1 => some_path().prop_map(whiteout),
        1 => some_path().prop_map(|path| (format!("{path}/.wh..wh..opq"), File)),
    ];
    prop::collection::vec(member, 0..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn the_merged_view_is_what_unpacking_makes(
        layers in prop::collection::vec(some_layer(), 1..4), questions in prop::collection::vec(some_target(), 8),
    ) {
        let mut model = Model::default();
        let expected = layers.iter().enumerate().try_for_each(|(number, layer)| model.apply(number, layer));
        let members: Vec<&[_]> = layers.iter().map(Vec::as_slice).collect();
        let image = merge(&members);
        prop_assert_eq!(image.is_ok(), expected.is_ok(), "{:?}", image);
        let Ok(image) = image else { return Ok(()) };

        let seen: BTreeMap<_, _> = image
            .root()
            .walk()
            .map(|(path, node)| {
                let entry = node.entry();
                let is = match &entry.kind {
                    EntryKind::Dir => Plain::Dir,
                    EntryKind::Symlink(target) => Plain::Symlink(String::from_utf8(target.to_vec()).unwrap()),
                    _ => Plain::File,
                };
                (String::from_utf8(path).unwrap(), Placed { layer: node.layer(), time: entry.mtime, is })
            })
            .collect();
        prop_assert_eq!(&seen, &model.files);
        let in_order = paths(&image);
        prop_assert!(in_order.is_sorted_by_key(|path| path.split('/').map(str::to_owned).collect::<Vec<_>>()));

        for (question, follow) in questions.iter().flat_map(|q| [(q, Follow::All), (q, Follow::Parents)]) {
            let follow_last = follow == Follow::All || question.ends_with("/.");
            let expected = model.find(question, follow_last, None);
            let found = image.resolve(question.as_bytes(), follow);
            match expected {
                Err(()) => prop_assert!(found.is_err(), "{}", question),
                Ok(place) => {
                    // The model tells where a path leads, whether there is something or not.
                    let is_dir = |place: &str| place.is_empty() || model.files.get(place).is_some_and(|file| file.is == Plain::Dir);
                    let there = place
                        .filter(|place| place.is_empty() || model.files.contains_key(place))
                        .filter(|place| !question.ends_with("/.") || is_dir(place));
                    let expected = there.as_ref().map(|place| model.files.get(place).map_or(0, |file| file.time));
                    let found = found.unwrap().map(|node| node.entry().mtime);
                    prop_assert_eq!(found, expected, "{} {:?}", question, follow);
                }
            }
        }
    }
}
