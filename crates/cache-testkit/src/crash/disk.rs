//! What is on a disk, and what of it a power loss may take.
//!
//! The rules are those of POSIX, which every file system keeps and most go beyond: a file's bytes are there once it was synced;
//! a name is there, or gone, once its directory was synced. Before, any part of what was written may be there, and any of
//! the names, in any combination; but one rename is all or nothing. After a sync that failed, what it was to keep is lost,
//! and no later sync brings it back: the kernel takes the pages for clean.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contents::Contents;
use super::state::State;
use super::trace::Call;

/// Of so many names that are not durable every combination is tried: beyond, each one alone and all but each one.
const ALL_COMBINATIONS_OF: usize = 6;

/// A directory, with all below it, as the calls of a trace have left it.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    files: Vec<Contents>,
    /// Open files by descriptor.
    open: HashMap<i32, usize>,
    names: Names,
    durable: Names,
    /// Oldest first.
    pending: Vec<Change>,
}

/// Files by their paths below the root.
type Names = BTreeMap<PathBuf, usize>;

/// A change of names, all or nothing.
#[derive(Clone, Debug)]
struct Change {
    removed: Option<PathBuf>,
    added: Option<(PathBuf, usize)>,
}

impl Disk {
    /// The directory `root` as it is, all of it durable.
    pub fn of(root: &Path) -> Self {
        let mut disk = Self {
            root: root.to_owned(),
            files: Vec::new(),
            open: HashMap::new(),
            names: Names::new(),
            durable: Names::new(),
            pending: Vec::new(),
        };
        for (name, bytes) in State::of(root).files {
            disk.names.insert(name, disk.files.len());
            disk.files.push(Contents::durable(&bytes));
        }
        disk.durable = disk.names.clone();
        disk
    }

    /// Goes on by a call, which counts only if it has succeeded, or was a sync.
    ///
    /// # Panics
    /// When the call changes what is below the root in a way that is not known here.
    pub fn apply(&mut self, call: &Call) {
        let result = match &call.result {
            Some(Ok(result)) => *result,
            Some(Err(_)) => return self.apply_failed(call),
            None => return,
        };
        match &*call.name {
            "openat" => self.open(call, result),
            "pwrite64" | "write" => self.write(call, result),
            "ftruncate" => {
                if let Some(file) = self.file(call) {
                    let len = usize::try_from(call.number(1).unwrap()).unwrap();
                    self.files[file].resize(len);
                }
            }
            "fsync" | "fdatasync" => match (self.file(call), self.below(call.descriptor(0))) {
                (Some(file), _) => self.files[file].sync(),
                (None, Some(dir)) => self.sync_names(&dir),
                (None, None) => {}
            },
            "linkat" => {
                let target = call.path(3).and_then(|path| self.relative(&path));
                if let Some(target) = target {
                    let file = self.linked(call);
                    self.change(None, Some((target, file)));
                }
            }
            "renameat" | "renameat2" => {
                let target = call.path(3).and_then(|path| self.relative(&path));
                let source = call.path(1).and_then(|path| self.relative(&path));
                if let (Some(target), Some(source)) = (target, source) {
                    let file = self.names[&source];
                    self.change(Some(source), Some((target, file)));
                }
            }
            "unlinkat" => {
                if let Some(name) = call.path(1).and_then(|path| self.relative(&path)) {
                    self.change(Some(name), None);
                }
            }
            // Nothing that a file holds, and no name of one.
            "mkdir" | "mkdirat" | "utimensat" | "flock" | "fchmod" => {}
            other => assert!(
                self.below(call.descriptor(0)).is_none(),
                "what {other} does to files is not known here"
            ),
        }
    }

    fn apply_failed(&mut self, call: &Call) {
        if let ("fsync" | "fdatasync", Some(file)) = (&*call.name, self.file(call)) {
            self.files[file].fail_to_sync();
        }
    }

    fn open(&mut self, call: &Call, descriptor: i64) {
        let descriptor = i32::try_from(descriptor).unwrap();
        self.open.remove(&descriptor);
        let Some(path) = call.path(1).and_then(|path| self.relative(&path)) else {
            return;
        };
        let flags = &call.arguments[2];
        if flags.contains("O_TMPFILE") {
            self.open.insert(descriptor, self.files.len());
            self.files.push(Contents::default());
        } else if !flags.contains("O_DIRECTORY") {
            if !self.names.contains_key(&path) {
                self.change(None, Some((path.clone(), self.files.len())));
                self.files.push(Contents::default());
            }
            assert!(
                !flags.contains("O_TRUNC"),
                "truncating while opening is not known here"
            );
            self.open.insert(descriptor, self.names[&path]);
        }
    }

    fn write(&mut self, call: &Call, written: i64) {
        let Some(file) = self.file(call) else { return };
        let written = usize::try_from(written).unwrap();
        let bytes = call.bytes(1).unwrap();
        assert!(bytes.len() >= written, "the trace is one without data");
        // What is written without an offset is appended.
        let offset = call.number(3).map(|offset| usize::try_from(offset).unwrap());
        self.files[file].write(offset, &bytes[..written]);
    }

    /// The file that a call links: by its descriptor, or by what `/proc` calls that.
    fn linked(&self, call: &Call) -> usize {
        let path = String::from_utf8(call.bytes(1).unwrap()).unwrap();
        let descriptor = match path.strip_prefix("/proc/self/fd/") {
            Some(number) => number.parse().unwrap(),
            None => call.descriptor(0).unwrap().0,
        };
        self.open[&descriptor]
    }

    /// The file below the root that is argument 0 of a call.
    fn file(&self, call: &Call) -> Option<usize> {
        let (descriptor, path) = call.descriptor(0)?;
        self.relative(path)?;
        self.open.get(&descriptor).copied()
    }

    fn below(&self, descriptor: Option<(i32, &Path)>) -> Option<PathBuf> {
        self.relative(descriptor?.1)
    }

    fn relative(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.root).map(Path::to_owned).ok()
    }

    fn change(&mut self, removed: Option<PathBuf>, added: Option<(PathBuf, usize)>) {
        let change = Change { removed, added };
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    fn sync_names(&mut self, dir: &Path) {
        let pending = std::mem::take(&mut self.pending);
        let (now, later) = pending.into_iter().partition(|change| change.is_in(dir));
        self.pending = later;
        now.iter()
            .for_each(|change: &Change| change.apply(&mut self.durable));
    }

    /// What is there while the power stays.
    pub fn now(&self) -> State {
        self.state(&self.names, Contents::now)
    }

    /// What may be there after a power loss.
    pub fn states(&self) -> BTreeSet<State> {
        let mut states = BTreeSet::new();
        // Names elsewhere are of no consequence for those in the root: all of them, or none.
        let (here, elsewhere): (Vec<&Change>, Vec<_>) = self
            .pending
            .iter()
            .partition(|change| change.is_in(Path::new("")));
        for elsewhere in [&elsewhere[..], &[]] {
            for kept in combinations(here.len()) {
                let mut names = self.durable.clone();
                elsewhere.iter().for_each(|change| change.apply(&mut names));
                let changes = here.iter().zip(&kept).filter(|(_, kept)| **kept);
                changes.for_each(|(change, _)| change.apply(&mut names));
                states.insert(self.state(&names, Contents::now));
                states.insert(self.state(&names, Contents::synced));
                let zeroed: Vec<_> = self.files.iter().map(Contents::zeroed).collect();
                states.insert(self.state_of(&names, |file| zeroed[file].clone()));
                // One file alone has lost what was not synced.
                for unsynced in names.values().filter(|file| !self.files[**file].is_durable()) {
                    states.insert(self.state_of(&names, |file| {
                        if file == *unsynced {
                            zeroed[file].clone()
                        } else {
                            self.files[file].now().clone()
                        }
                    }));
                }
            }
        }
        states
    }

    fn state<'a>(&'a self, names: &Names, bytes: impl Fn(&'a Contents) -> &'a Vec<u8>) -> State {
        self.state_of(names, |file| bytes(&self.files[file]).clone())
    }

    fn state_of(&self, names: &Names, bytes: impl Fn(usize) -> Vec<u8>) -> State {
        let files = names
            .iter()
            .map(|(name, file)| (name.clone(), Arc::new(bytes(*file))));
        State {
            files: files.collect(),
        }
    }
}

impl Change {
    fn apply(&self, names: &mut Names) {
        if let Some(removed) = &self.removed {
            names.remove(removed);
        }
        if let Some((added, file)) = &self.added {
            names.insert(added.clone(), *file);
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        let added = self.added.as_ref().map(|(path, _)| path);
        let mut paths = self.removed.iter().chain(added);
        paths.any(|path| path.parent() == Some(dir))
    }
}

/// Which of `count` things happen: all combinations, or, of many, the ones that matter most.
fn combinations(count: usize) -> Vec<Vec<bool>> {
    if count <= ALL_COMBINATIONS_OF {
        let bits = |number: usize| (0..count).map(|bit| number >> bit & 1 == 1).collect();
        return (0..1 << count).map(bits).collect();
    }
    let ones = (0..count).map(|one| (0..count).map(|n| n == one).collect());
    let all_but = (0..count).map(|one| (0..count).map(|n| n != one).collect());
    let first = (0..=count).map(|len| (0..count).map(|n| n < len).collect());
    ones.chain(all_but).chain(first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The states after these calls, as the bytes of each file.
    fn states(log: &str) -> BTreeSet<Vec<(String, Vec<u8>)>> {
        let root = tempfile::tempdir().unwrap();
        let log = log.replace("ROOT", root.path().to_str().unwrap());
        let mut disk = Disk::of(root.path());
        Call::parse_all(&log).iter().for_each(|call| disk.apply(call));
        let outline = |state: State| {
            let files = state.files.into_iter();
            files
                .map(|(name, bytes)| (name.display().to_string(), bytes.to_vec()))
                .collect()
        };
        disk.states().into_iter().map(outline).collect()
    }

    const WRITTEN: &str = "1 openat(3<ROOT>, \".\", O_RDWR|O_TMPFILE, 0444) = 4<ROOT/#1>(deleted)\n\
                           1 pwrite64(4<ROOT/#1>(deleted), \"ab\", 2, 0) = 2\n";
    const SYNCED: &str = "1 fdatasync(4<ROOT/#1>(deleted)) = 0\n";
    const FAILED: &str = "1 fdatasync(4<ROOT/#1>(deleted)) = -1 EIO (Input/output error)\n";
    const NAMED: &str = "1 linkat(AT_FDCWD</>, \"/proc/self/fd/4\", 3<ROOT>, \"a\", AT_SYMLINK_FOLLOW) = 0\n";
    const DURABLE: &str = "1 fsync(3<ROOT>) = 0\n";
    const REMOVED: &str = "1 unlinkat(3<ROOT>, \"a\", 0) = 0\n";

    fn one(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        vec![("a".to_owned(), bytes.to_vec())]
    }

    #[test]
    fn what_is_synced_in_order_is_all_or_nothing() {
        let without_name = states(&[WRITTEN, SYNCED].concat());
        assert_eq!(without_name, BTreeSet::from([vec![]]));
        let named = states(&[WRITTEN, SYNCED, NAMED].concat());
        assert_eq!(named, BTreeSet::from([vec![], one(b"ab")]));
        let durable = states(&[WRITTEN, SYNCED, NAMED, DURABLE].concat());
        assert_eq!(durable, BTreeSet::from([one(b"ab")]));
        let removed = states(&[WRITTEN, SYNCED, NAMED, DURABLE, REMOVED].concat());
        assert_eq!(removed, BTreeSet::from([vec![], one(b"ab")]));
    }

    #[test]
    fn what_is_not_synced_is_lost_in_every_way() {
        let all = BTreeSet::from([one(b"ab"), one(b""), one(b"\0\0")]);
        assert_eq!(states(&[WRITTEN, NAMED, DURABLE].concat()), all);
        // A sync that failed is made good by none behind it.
        assert_eq!(states(&[WRITTEN, FAILED, SYNCED, NAMED, DURABLE].concat()), all);
    }
}
