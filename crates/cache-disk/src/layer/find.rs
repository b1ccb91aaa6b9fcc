//! Looking a layer up: opened, or shown to be there, and proven to be the layer that was asked for.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_core::{Error, LayerDescriptor, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::dir::directory::Directory;
use crate::dir::layout::{LAYER, file_name};
use crate::failure::{blocking, failure};
use crate::layer::index::{hash, read_index, rebuild_index};
use crate::layer::proof::{Proofs, Proven};
use crate::layer::reader::DiskReader;

/// How exact the time of last use is.
const TOUCH_INTERVAL: Duration = Duration::from_secs(60);

/// The purpose of a look at a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    /// To tell whether it is there: changes nothing.
    Probe,
    /// To use it, which is noted.
    Use,
    /// To use it, also if that takes hashing it.
    Hash,
}

/// The outcome of a look at the directory.
pub(crate) enum Look {
    Absent,
    Found(Arc<DiskReader>),
    /// A file is there, but only hashing all of it shows whether it is the right one.
    NeedsHashing,
}

/// Finds the layers of a directory, and remembers which files it has proven.
#[derive(Debug)]
pub(crate) struct Finder {
    directory: Arc<Directory>,
    proofs: Proofs,
    /// One layer is hashed at a time: it keeps a processor and a disk busy.
    hashing: Arc<Semaphore>,
}

impl Finder {
    pub(crate) fn new(directory: &Arc<Directory>) -> Self {
        Self {
            directory: Arc::clone(directory),
            proofs: Proofs::default(),
            hashing: Arc::new(Semaphore::new(1)),
        }
    }

    /// Opens a committed layer; `None` when it is not there. Costs the same for any number of
    /// layers in the directory.
    ///
    /// # Errors
    /// `Corrupt` when the file is not the layer, or cannot be shown to be; `Invalid` when it is the
    /// layer, but not the one that the image claims.
    pub(crate) async fn find(self: &Arc<Self>, layer: &LayerDescriptor) -> Result<Option<Arc<DiskReader>>> {
        if let Some(reader) = self.open_again(layer) {
            return Ok(Some(reader));
        }
        match self.look(layer, Intent::Use, None).await? {
            Look::Absent => Ok(None),
            Look::Found(reader) => Ok(Some(reader)),
            Look::NeedsHashing => {
                // One at a time, and each looks again after its wait: the index may be there by
                // then.
                let permit = Arc::clone(&self.hashing).acquire_owned().await;
                let intent = if permit.is_ok() { Intent::Hash } else { Intent::Use };
                match self.look(layer, intent, permit.ok()).await? {
                    Look::Absent => Ok(None),
                    Look::Found(reader) => Ok(Some(reader)),
                    Look::NeedsHashing => Err(Error::unavailable("the layer could not be hashed")),
                }
            }
        }
    }

    /// Looks what opening the layer would find, and changes nothing.
    ///
    /// # Errors
    /// The errors of [`find`](Self::find).
    pub(crate) async fn probe(self: &Arc<Self>, layer: &LayerDescriptor) -> Result<Look> {
        self.look(layer, Intent::Probe, None).await
    }

    /// Opens a layer that was opened before, if nothing of it has changed and nothing has to be
    /// waited for. `None` does not say whether the layer is there.
    fn open_again(&self, layer: &LayerDescriptor) -> Option<Arc<DiskReader>> {
        let Proven { dir, file, stat } = self.proofs.open(&self.directory, layer)?;
        // A layer that was not used for a while has its time of last use written, which may wait.
        let modified = Duration::from_secs(u64::try_from(stat.st_mtime).ok()?);
        if !is_fresh(SystemTime::UNIX_EPOCH + modified) {
            return None;
        }
        let len = u64::try_from(stat.st_size).ok()?;
        let reader = DiskReader::committed(self.directory.tier(), layer.digest, dir, Arc::new(file), len);
        reader.keep();
        Some(Arc::new(reader))
    }

    /// Looks the layer up; `permit` is given back when that is done.
    async fn look(
        self: &Arc<Self>,
        layer: &LayerDescriptor,
        intent: Intent,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Look> {
        let (finder, layer) = (Arc::clone(self), layer.clone());
        blocking(move || {
            let look = finder.look_blocking(&layer, intent);
            drop(permit);
            look
        })
        .await?
    }

    fn look_blocking(&self, layer: &LayerDescriptor, intent: Intent) -> Result<Look> {
        let may_hash = intent == Intent::Hash;
        let Some(dir) = self.directory.if_there()? else {
            return Ok(Look::Absent);
        };
        let Some(file) = dir.open_file(&file_name(&layer.digest, LAYER))? else {
            return Ok(Look::Absent);
        };
        let metadata = file
            .metadata()
            .map_err(|error| failure("examine the layer", error))?;
        let (index, index_file) = match (read_index(&dir, &layer.digest)?, &layer.diff_id) {
            (Some((index, file)), _) => (index, Some(file)),
            (None, None) => {
                return Err(Error::corrupt(
                    "the layer has lost its index, and without a diff ID it cannot be verified",
                ));
            }
            (None, Some(_)) if !may_hash => return Ok(Look::NeedsHashing),
            (None, Some(diff_id)) => {
                let index = rebuild_index(&dir, &layer.digest, diff_id, &file, metadata.len())?;
                (index, None)
            }
        };
        if *index.digest() != layer.digest {
            return Err(Error::corrupt(
                "the index next to the layer is that of another layer",
            ));
        }
        if index.len() != metadata.len() {
            return Err(Error::corrupt(format!(
                "the layer's file has {} bytes instead of {}",
                metadata.len(),
                index.len()
            )));
        }
        if let Some(claim) = layer.diff_id.filter(|claim| claim != index.diff_id()) {
            // Digests of different algorithms can be compared only by hashing.
            if claim.algorithm() != index.diff_id().algorithm() && !may_hash {
                return Ok(Look::NeedsHashing);
            }
            if claim.algorithm() == index.diff_id().algorithm()
                || *hash(&file, index.len(), claim.algorithm(), &mut |_| true)?
                    .finish(layer.digest)
                    .diff_id()
                    != claim
            {
                return Err(Error::invalid(format!(
                    "the image claims the diff ID {claim}, but the layer was verified and has {}: \
                     the image is wrong or was tampered with, and the layer stays",
                    index.diff_id()
                )));
            }
        }
        if intent != Intent::Probe {
            touch(&file, metadata.modified().ok());
        }
        if let Some(Ok(index_file)) = index_file.map(rustix::fs::fstat) {
            self.proofs
                .note(layer.digest, *index.diff_id(), &file, &index_file);
        }
        let (tier, file) = (self.directory.tier(), Arc::new(file));
        let reader = DiskReader::committed(tier, layer.digest, dir, file, index.len());
        if intent != Intent::Probe {
            reader.keep();
        }
        Ok(Look::Found(Arc::new(reader)))
    }
}

/// Notes that a layer was used. A failure fails no read: the directory may have become read-only.
fn touch(file: &File, modified: Option<SystemTime>) {
    if !modified.is_some_and(is_fresh) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// Tells whether a layer that was last used then need not be touched. A time in the future would
/// keep it from ever being evicted.
fn is_fresh(used: SystemTime) -> bool {
    used.elapsed().is_ok_and(|age| age < TOUCH_INTERVAL)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use cache_core::index::IndexBuilder;
    use cache_core::{Algorithm, Digest, LayerIndex};

    use super::*;
    use crate::config::DiskConfig;
    use crate::dir::layout::INDEX;

    fn finder() -> (tempfile::TempDir, Arc<Finder>) {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(&DiskConfig::new(root.path().join("clip"))).unwrap();
        let finder = Finder::new(&Arc::new(directory));
        (root, Arc::new(finder))
    }

    fn hashed(bytes: &[u8], algorithm: Algorithm) -> LayerIndex {
        let mut builder = IndexBuilder::new(algorithm);
        builder.update(bytes);
        builder.finish(Digest::sha256_of(b"blob"))
    }

    fn layer(claimed: &LayerIndex) -> LayerDescriptor {
        LayerDescriptor::new(*claimed.digest()).with_diff_id(*claimed.diff_id())
    }

    fn path(finder: &Finder, index: &LayerIndex, kind: &str) -> PathBuf {
        finder.directory.path().join(file_name(index.digest(), kind))
    }

    #[test]
    fn a_layer_is_hashed_by_those_alone_who_may() {
        let (_root, finder) = finder();
        let index = hashed(b"the layer", Algorithm::Sha256);
        std::fs::write(path(&finder, &index, LAYER), b"the layer").unwrap();
        let look = |layer: &LayerDescriptor, may_hash| {
            let intent = if may_hash { Intent::Hash } else { Intent::Use };
            finder.look_blocking(layer, intent).unwrap()
        };

        let without_index = layer(&index);
        assert!(matches!(look(&without_index, false), Look::NeedsHashing));
        assert!(matches!(look(&without_index, true), Look::Found(_)));
        // Its index is there from now on.
        assert!(matches!(look(&without_index, false), Look::Found(_)));

        let by_another_algorithm = layer(&hashed(b"the layer", Algorithm::Sha512));
        assert!(matches!(look(&by_another_algorithm, false), Look::NeedsHashing));
        assert!(matches!(look(&by_another_algorithm, true), Look::Found(_)));
    }

    #[tokio::test]
    async fn a_layer_whose_index_was_read_is_opened_again_until_its_files_are_others() {
        let (root, finder) = finder();
        let index = hashed(b"the layer", Algorithm::Sha256);
        let path = |kind| path(&finder, &index, kind);
        std::fs::write(path(LAYER), b"the layer").unwrap();
        std::fs::write(path(INDEX), index.encode()).unwrap();
        let layer = LayerDescriptor::new(*index.digest());

        assert!(finder.open_again(&layer).is_none());
        assert!(finder.find(&layer).await.unwrap().is_some());
        assert!(finder.open_again(&layer).is_some());

        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        File::open(path(INDEX)).unwrap().set_modified(long_ago).unwrap();
        assert!(finder.open_again(&layer).is_none());
        assert!(finder.find(&layer).await.unwrap().is_some());
        assert!(finder.open_again(&layer).is_some());

        let other = layer.clone().with_diff_id(Digest::sha256_of(b"another layer"));
        assert!(finder.open_again(&other).is_none());
        std::fs::write(root.path().join("same"), b"the layer").unwrap();
        std::fs::rename(root.path().join("same"), path(LAYER)).unwrap();
        assert!(finder.open_again(&layer).is_none());
        assert!(finder.find(&layer).await.unwrap().is_some());
        assert!(finder.open_again(&layer).is_some());
    }
}
