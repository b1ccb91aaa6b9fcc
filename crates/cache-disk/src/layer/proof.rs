//! Layers whose index was read by this process: opening one again takes a few system calls that wait for nothing.
//!
//! What an index proves of a file stays true of it: its bytes never change. So what is remembered is which files they were; where
//! either of them is another one now, or was cut, all is looked at from the start.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use cache_core::{Digest, LayerDescriptor};
use rustix::fs::Stat;

use crate::dir::directory::Handle;
use crate::dir::layout::{INDEX, LAYER, file_name};
use crate::layer::reader::DiskReader;
use crate::tier::Store;

/// How many layers are remembered: more than a worker has in use, in about 200 KiB.
const MOST: usize = 1024;

/// The files whose indexes were read.
#[derive(Debug, Default)]
pub(crate) struct Proven(Mutex<HashMap<Digest, Proof>>);

#[derive(Clone, Copy, Debug)]
struct Proof {
    layer: Identity,
    index: Identity,
    diff_id: Digest,
}

/// Tells a file from any other that had or gets its name, and from itself after it was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    len: i64,
    /// Seconds and nanoseconds. A layer's changes with its use.
    modified: Option<(i64, i64)>,
}

impl Identity {
    fn of_layer(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            len: stat.st_size,
            modified: None,
        }
    }

    fn of_index(stat: &Stat) -> Self {
        Self {
            modified: Some((stat.st_mtime, stat.st_mtime_nsec.cast_signed())),
            ..Self::of_layer(stat)
        }
    }
}

impl Proven {
    /// Notes that `layer` is what its `index` says: the layer `digest` with this diff ID.
    pub(crate) fn note(&self, digest: Digest, diff_id: Digest, layer: &File, index: &Stat) {
        let Ok(layer) = rustix::fs::fstat(layer) else {
            return;
        };
        let proof = Proof {
            layer: Identity::of_layer(&layer),
            index: Identity::of_index(index),
            diff_id,
        };
        let mut proofs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if proofs.len() >= MOST && !proofs.contains_key(&digest) {
            // Whoever uses as many reads an index again now and then.
            proofs.clear();
        }
        proofs.insert(digest, proof);
    }

    fn of(&self, digest: &Digest) -> Option<Proof> {
        let proofs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.get(digest).copied()
    }
}

impl Store {
    /// Opens a layer that was opened before, if nothing of it has changed and nothing has to be waited for. `None` says nothing about
    /// whether the layer is there.
    pub(crate) fn open_again(&self, layer: &LayerDescriptor) -> Option<Arc<DiskReader>> {
        let proof = self.proven.of(&layer.digest)?;
        if layer.diff_id.is_some_and(|claim| claim != proof.diff_id) {
            return None;
        }
        let dir: Arc<Handle> = self.directory.still_there()?;
        let index = dir.stat_cached(&file_name(&layer.digest, INDEX))?;
        let file = dir.open_cached(&file_name(&layer.digest, LAYER))?;
        let stat = rustix::fs::fstat(&file).ok()?;
        if (Identity::of_layer(&stat), Identity::of_index(&index)) != (proof.layer, proof.index) {
            return None;
        }
        // A layer that was not used for a while has its time of last use written, which may wait.
        let modified = Duration::from_secs(u64::try_from(stat.st_mtime).ok()?);
        if !is_fresh(SystemTime::UNIX_EPOCH + modified) {
            return None;
        }
        let len = u64::try_from(stat.st_size).ok()?;
        let reader = DiskReader::complete(&self.name, layer.digest, dir, Arc::new(file), len);
        Some(Arc::new(reader))
    }
}

/// How exact the time of last use is.
const TOUCH_INTERVAL: Duration = Duration::from_secs(60);

/// Whether a layer that was last used then need not be touched. A time in the future would keep it from ever being evicted.
pub(crate) fn is_fresh(used: SystemTime) -> bool {
    used.elapsed().is_ok_and(|age| age < TOUCH_INTERVAL)
}

#[cfg(test)]
mod tests {
    use cache_core::Algorithm;
    use cache_core::index::IndexBuilder;

    use super::*;
    use crate::DiskTier;

    #[tokio::test]
    async fn a_layer_whose_index_was_read_is_opened_again_until_its_files_are_others() {
        let root = tempfile::tempdir().unwrap();
        let tier = DiskTier::builder(root.path().join("clip")).open().unwrap();
        let mut index = IndexBuilder::new(Algorithm::Sha256);
        index.update(b"the layer");
        let index = index.finish(Digest::sha256_of(b"blob"));
        let path = |companion| tier.dir().join(file_name(index.digest(), companion));
        std::fs::write(path(LAYER), b"the layer").unwrap();
        std::fs::write(path(INDEX), index.encode()).unwrap();
        let layer = LayerDescriptor::new(*index.digest());

        assert!(tier.store.open_again(&layer).is_none());
        assert!(tier.store.find(&layer).await.unwrap().is_some());
        assert!(tier.store.open_again(&layer).is_some());

        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        File::open(path(INDEX)).unwrap().set_modified(long_ago).unwrap();
        assert!(tier.store.open_again(&layer).is_none());
        assert!(tier.store.find(&layer).await.unwrap().is_some());
        assert!(tier.store.open_again(&layer).is_some());

        let other = layer.clone().with_diff_id(Digest::sha256_of(b"another layer"));
        assert!(tier.store.open_again(&other).is_none());
        std::fs::write(root.path().join("same"), b"the layer").unwrap();
        std::fs::rename(root.path().join("same"), path(LAYER)).unwrap();
        assert!(tier.store.open_again(&layer).is_none());
        assert!(tier.store.find(&layer).await.unwrap().is_some());
        assert!(tier.store.open_again(&layer).is_some());
    }

    #[test]
    fn the_layers_that_are_remembered_are_bounded() {
        let file = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        let digest = |number: usize| Digest::sha256_of(&number.to_le_bytes());
        let proven = Proven::default();
        for number in 0..MOST {
            proven.note(digest(number), digest(number), &file, &stat);
        }
        // Again is not more.
        proven.note(digest(0), digest(0), &file, &stat);
        assert!((0..MOST).all(|number| proven.of(&digest(number)).is_some()));
        proven.note(digest(MOST), digest(MOST), &file, &stat);
        assert!(proven.of(&digest(MOST)).is_some());
        assert!(proven.0.lock().unwrap().len() <= MOST);
    }
}
