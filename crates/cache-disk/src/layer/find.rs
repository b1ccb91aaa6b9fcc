//! Looking a layer up, and its index, which is rebuilt when it is lost.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use cache_core::index::IndexBuilder;
use cache_core::{Algorithm, Digest, Error, LayerDescriptor, LayerIndex, Result, planted};

use crate::dir::directory::Handle;
use crate::dir::layout::{INDEX, LAYER, file_name};
use crate::dir::publish::NewFile;
use crate::failure::{blocking, failure};
use crate::layer::proof::is_fresh;
use crate::layer::reader::{DiskReader, read_up_to};
use crate::tier::Store;

/// The longest index that is read: that of a layer of 1 TiB has 64 MiB.
const MAX_INDEX_LEN: u64 = 65 << 20;
const HASH_PIECE_LEN: usize = 1 << 20;

/// What a layer is looked up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// To tell whether it is there: changes nothing.
    Peek,
    /// To use it, which is noted.
    Use,
    /// The same, also if that takes hashing it.
    Hash,
}

/// What a look at the directory came to.
pub(crate) enum Look {
    Absent,
    Found(Arc<DiskReader>),
    /// It is there, but whether it is the right one takes hashing all of it.
    NeedsHashing,
}

impl Store {
    /// Opens a committed layer; `None` when it is not there. Costs the same for any number of layers in the directory.
    ///
    /// # Errors
    /// `Corrupt` when what is there is not the layer, or cannot be shown to be; `Invalid` when it is, but not the one that the image claims.
    pub(crate) async fn find(self: &Arc<Self>, layer: &LayerDescriptor) -> Result<Option<Arc<DiskReader>>> {
        if let Some(reader) = self.open_again(layer) {
            return Ok(Some(reader));
        }
        match self.look(layer, Intent::Use, None).await? {
            Look::Absent => Ok(None),
            Look::Found(reader) => Ok(Some(reader)),
            Look::NeedsHashing => {
                // One at a time, and whoever waited looks again: the index may be there by then.
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

    /// Looks the layer up; `permit` is given back when that is done.
    pub(crate) async fn look(
        self: &Arc<Self>,
        layer: &LayerDescriptor,
        intent: Intent,
        permit: Option<tokio::sync::OwnedSemaphorePermit>,
    ) -> Result<Look> {
        let (store, layer) = (Arc::clone(self), layer.clone());
        blocking(move || {
            let look = store.look_blocking(&layer, intent);
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
        let (index, index_file) = match (read_index(&dir, layer)?, &layer.diff_id) {
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
        if index.len() != metadata.len() && !planted::is("cut-file-served") {
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
        if intent != Intent::Peek {
            touch(&file, metadata.modified().ok());
        }
        let len = index.len();
        if let Some(Ok(index_file)) = index_file.map(rustix::fs::fstat) {
            self.proven
                .note(layer.digest, *index.diff_id(), &file, &index_file);
        }
        let open = match intent {
            Intent::Peek => DiskReader::unlocked,
            Intent::Use | Intent::Hash => DiskReader::complete,
        };
        let reader = open(&self.name, layer.digest, dir, Arc::new(file), len);
        Ok(Look::Found(Arc::new(reader)))
    }
}

/// The index next to a layer, and its file; `None` when it is missing or cannot be read as one.
pub(crate) fn read_index(dir: &Handle, layer: &LayerDescriptor) -> Result<Option<(LayerIndex, File)>> {
    let Some(file) = dir.open_file(&file_name(&layer.digest, INDEX))? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let read = (&file).take(MAX_INDEX_LEN).read_to_end(&mut bytes);
    read.map_err(|error| failure("read the layer's index", error))?;
    Ok(LayerIndex::decode(&bytes).ok().map(|index| (index, file)))
}

/// Makes the index of a layer that lost it from the layer itself, and puts it next to the layer. Only the diff ID proves
/// that these are the layer's bytes: an index made without one would vouch for whatever is there.
///
/// # Errors
/// `Corrupt` when the layer is not what its diff ID says.
fn rebuild_index(
    dir: &Arc<Handle>,
    digest: &Digest,
    diff_id: &Digest,
    file: &File,
    len: u64,
) -> Result<LayerIndex> {
    let index = hash(file, len, diff_id.algorithm(), &mut |_| true)?.finish(*digest);
    if index.diff_id() != diff_id && !planted::is("rebuilt-index-not-compared") {
        return Err(Error::corrupt(
            "the layer has lost its index and does not match its diff ID",
        ));
    }
    store_index(dir, &index);
    Ok(index)
}

/// Puts a rebuilt index next to its layer. A failure costs no more than rebuilding it again.
fn store_index(dir: &Arc<Handle>, index: &LayerIndex) {
    let (layer_name, index_name) = (file_name(index.digest(), LAYER), file_name(index.digest(), INDEX));
    let stored = NewFile::holding(dir, &index.encode()).and_then(|mut new| new.replace(&index_name));
    // The layer may have been removed meanwhile, and its companions with it.
    if stored.is_ok() && !dir.contains(&layer_name) {
        let _ = dir.unlink(&index_name);
    }
}

/// Hashes a layer's file of `len` bytes. `go_on` is told the number of bytes done after each piece, and stops the work by
/// returning `false`.
pub(crate) fn hash(
    file: &File,
    len: u64,
    algorithm: Algorithm,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Result<IndexBuilder> {
    let mut builder = IndexBuilder::new(algorithm);
    while builder.len() < len {
        let piece =
            usize::try_from(len - builder.len()).map_or(HASH_PIECE_LEN, |rest| rest.min(HASH_PIECE_LEN));
        let bytes =
            read_up_to(file, builder.len(), piece).map_err(|error| failure("read the layer", error))?;
        builder.update(&bytes);
        if bytes.len() < piece {
            return Err(Error::corrupt(format!(
                "the layer's file was cut at byte {}",
                builder.len()
            )));
        }
        if !go_on(builder.len()) {
            return Err(Error::unavailable("nobody waits for the hash any more"));
        }
    }
    Ok(builder)
}

/// Notes that a layer was used. Not worth failing a read for: the directory may have become read-only.
fn touch(file: &File, modified: Option<SystemTime>) {
    if !modified.is_some_and(is_fresh) {
        let _ = file.set_modified(SystemTime::now());
    }
}

#[cfg(test)]
mod tests {
    use cache_core::ErrorKind;

    use super::*;
    use crate::DiskTier;

    fn tier() -> (tempfile::TempDir, DiskTier) {
        let root = tempfile::tempdir().unwrap();
        let tier = DiskTier::builder(root.path().join("clip")).open().unwrap();
        (root, tier)
    }

    fn hashed(bytes: &[u8], algorithm: Algorithm) -> LayerIndex {
        let mut builder = IndexBuilder::new(algorithm);
        builder.update(bytes);
        builder.finish(Digest::sha256_of(b"blob"))
    }

    fn layer(claimed: &LayerIndex) -> LayerDescriptor {
        LayerDescriptor::new(*claimed.digest()).with_diff_id(*claimed.diff_id())
    }

    #[test]
    fn a_layer_is_hashed_by_those_alone_who_may() {
        let (_root, tier) = tier();
        let index = hashed(b"the layer", Algorithm::Sha256);
        let path = tier.dir().join(file_name(index.digest(), LAYER));
        std::fs::write(path, b"the layer").unwrap();
        let look = |layer: &LayerDescriptor, may_hash| {
            let intent = if may_hash { Intent::Hash } else { Intent::Use };
            tier.store.look_blocking(layer, intent).unwrap()
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

    #[test]
    fn an_index_stays_with_a_layer_alone() {
        let (_root, tier) = tier();
        let dir = tier.store.directory.current().unwrap();
        let index = hashed(b"the layer", Algorithm::Sha256);
        let name = |companion| file_name(index.digest(), companion);
        std::fs::write(tier.dir().join(name(LAYER)), b"the layer").unwrap();
        store_index(&dir, &index);
        assert!(dir.contains(&name(INDEX)));

        dir.unlink(&name(LAYER)).unwrap();
        store_index(&dir, &index);
        assert!(!dir.contains(&name(INDEX)));
    }

    #[test]
    fn a_file_that_is_cut_while_it_is_hashed_is_corrupt() {
        let (root, _tier) = tier();
        let path = root.path().join("file");
        std::fs::write(&path, b"the layer").unwrap();
        let file = File::open(path).unwrap();
        let error = hash(&file, 10, Algorithm::Sha256, &mut |_| true).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("cut at byte 9"), "{error}");
    }
}
