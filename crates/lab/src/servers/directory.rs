//! The directory of one run of the servers.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

/// A temporary directory that goes away with this run, or with the next one when this one is killed.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    temporary: TempDir,
    /// Locked while this run lives: a directory whose lock is free is a leftover.
    _alive: File,
}

impl RunDirectory {
    /// Creates a directory in `parent` and removes what killed runs left there.
    pub(crate) fn create(parent: &Path) -> Result<Self> {
        fs::create_dir_all(parent)?;
        // One at a time: between its creation and its lock a directory looks like a leftover.
        let creating = File::create(parent.join("lock"))?;
        creating.lock()?;
        for entry in fs::read_dir(parent)? {
            let run = entry?.path();
            // A directory without the file, or that goes away at this moment, is being removed by its owner.
            if File::open(run.join("alive")).is_ok_and(|alive| alive.try_lock().is_ok()) {
                fs::remove_dir_all(run)?;
            }
        }
        let temporary = tempfile::Builder::new().prefix("run-").tempdir_in(parent)?;
        let alive = File::create(temporary.path().join("alive"))?;
        alive.lock()?;
        Ok(Self {
            temporary,
            _alive: alive,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.temporary.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_lives_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let killed = parent.path().join("killed");
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join("alive"), "").unwrap();

        let first = RunDirectory::create(parent.path()).unwrap();
        let second = RunDirectory::create(parent.path()).unwrap();
        assert!(!killed.exists());
        assert!(first.path().exists() && second.path().exists());
    }
}
