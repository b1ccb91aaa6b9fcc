//! The merged view against a model that unpacks one layer after the other.

mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use image_tree::{EntryKind, Follow, NodeId};
use proptest::prelude::*;
use support::images::*;

/// An image laid out in a map from path to what is there: slow, and too simple to be wrong.
#[derive(Default)]
struct Model {
    files: BTreeMap<String, Placed>,
    /// How many files have been made.
    made: usize,
}

#[derive(Clone, Debug, PartialEq)]
struct Placed {
    layer: usize,
    time: i64,
    is: Plain,
    /// Which file it is: hard links are names of one. A directory is known by its path.
    file: usize,
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
                        file: 0,
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
                file: self.made,
            };
            self.made += 1;
            match is {
                File => {}
                Dir => (placed.is, placed.file) = (Plain::Dir, 0),
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

impl Model {
    /// The names of each file, sorted.
    fn names(&self) -> BTreeSet<Vec<String>> {
        let mut names: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for (path, placed) in &self.files {
            let directory = (placed.is == Plain::Dir).then_some(path);
            names
                .entry((placed.file, directory))
                .or_default()
                .push(path.clone());
        }
        names.into_values().collect()
    }

    /// How many names a file has, those of a directory in it (`..`) and its own `.` counted.
    fn links(&self, path: &str) -> usize {
        match self.files.get(path) {
            Some(placed) if placed.is != Plain::Dir => self
                .files
                .values()
                .filter(|other| other.is != Plain::Dir && other.file == placed.file)
                .count(),
            _ => {
                let is_inside = |(other, placed): &(&String, &Placed)| {
                    placed.is == Plain::Dir && other.rsplit_once('/').map_or("", |(dir, _)| dir) == path
                };
                2 + self.files.iter().filter(is_inside).count()
            }
        }
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
        2 => (some_path(), some_path()).prop_map(|(path, target)| (path, Is::HardLink(target))),
        1 => some_path().prop_map(whiteout),
        1 => some_path().prop_map(|path| (format!("{path}/.wh..wh..opq"), File)),
    ];
    prop::collection::vec(member, 0..10)
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
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
                (String::from_utf8(path).unwrap(), Placed { layer: node.layer(), time: entry.mtime, is, file: 0 })
            })
            .collect();
        let files = |file: &Placed| Placed { file: 0, ..file.clone() };
        let expected: BTreeMap<_, _> = model.files.iter().map(|(path, file)| (path.clone(), files(file))).collect();
        prop_assert_eq!(&seen, &expected);

        let mut names: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
        for (path, node) in image.root().walk() {
            let path = String::from_utf8(path).unwrap();
            prop_assert_eq!(node.links() as usize, model.links(&path), "{}", path);
            names.entry(node.id()).or_default().push(path);
        }
        prop_assert_eq!(image.root().links() as usize, model.links(""));
        // All but the root have a name, and the numbers have no gaps.
        prop_assert_eq!(names.keys().map(|id| id.index()).collect::<Vec<_>>(), (1..image.nodes().len()).collect::<Vec<_>>());
        prop_assert!(names.values().is_sorted_by_key(|names| names[0].split('/').map(str::to_owned).collect::<Vec<_>>()));
        prop_assert_eq!(names.into_values().map(sorted).collect::<BTreeSet<_>>(), model.names());
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
