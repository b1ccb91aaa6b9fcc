//! A state of a directory: what a crash may leave.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files below a directory, by their paths in it. Directories are there if files are in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    /// What each file holds.
    pub files: BTreeMap<PathBuf, Arc<Vec<u8>>>,
}

impl State {
    /// What is below `dir` now; nothing when it is not there.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn of(dir: &Path) -> Self {
        let mut state = Self::default();
        let mut pending = vec![dir.to_owned()];
        while let Some(next) = pending.pop() {
            let Ok(entries) = fs::read_dir(&next) else {
                continue;
            };
            for path in entries.map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    pending.push(path);
                } else {
                    let name = path.strip_prefix(dir).unwrap().to_owned();
                    state.files.insert(name, Arc::new(fs::read(&path).unwrap()));
                }
            }
        }
        state
    }

    /// Makes `dir`, which is not there, a directory in this state, for its owner alone.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_to(&self, dir: &Path) {
        let private = |dir: &Path| {
            fs::create_dir_all(dir).unwrap();
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
        };
        private(dir);
        for (name, bytes) in &self.files {
            let path = dir.join(name);
            private(path.parent().unwrap());
            fs::write(&path, &**bytes).unwrap();
        }
    }

    /// The names and lengths, for messages.
    pub fn outline(&self) -> Vec<String> {
        let one = |(name, bytes): (&PathBuf, &Arc<Vec<u8>>)| {
            let zeros = bytes.iter().filter(|byte| **byte == 0).count();
            format!("{}: {} bytes, {zeros} of them zero", name.display(), bytes.len())
        };
        self.files.iter().map(one).collect()
    }
}
