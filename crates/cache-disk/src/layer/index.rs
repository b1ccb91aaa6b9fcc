//! The index next to a layer: read, and rebuilt from the layer when it is lost.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use cache_core::index::IndexBuilder;
use cache_core::{Algorithm, Digest, Error, LayerIndex, Result};

use crate::dir::handle::Handle;
use crate::dir::layout::{INDEX, LAYER, file_name};
use crate::dir::publish::NewFile;
use crate::failure::failure;
use crate::layer::reader::read_up_to;

/// The longest index that is read: that of a layer of 1 TiB has 64 MiB.
const MAX_INDEX_LEN: u64 = 65 << 20;
const HASH_PIECE_LEN: usize = 1 << 20;

/// Reads the index next to a layer, and returns its file as well; `None` when it is missing or
/// cannot be read as an index.
pub(crate) fn read_index(dir: &Handle, digest: &Digest) -> Result<Option<(LayerIndex, File)>> {
    let Some(file) = dir.open_file(&file_name(digest, INDEX))? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let read = (&file).take(MAX_INDEX_LEN).read_to_end(&mut bytes);
    read.map_err(|error| failure("read the layer's index", error))?;
    Ok(LayerIndex::decode(&bytes).ok().map(|index| (index, file)))
}

/// Makes the index of a layer that lost it from the layer itself, and puts it next to the layer.
/// Only the diff ID proves that these are the layer's bytes: an index made without one would vouch
/// for any bytes.
///
/// # Errors
/// `Corrupt` when the layer is not the one that its diff ID says.
pub(crate) fn rebuild_index(
    dir: &Arc<Handle>,
    digest: &Digest,
    diff_id: &Digest,
    file: &File,
    len: u64,
) -> Result<LayerIndex> {
    let index = hash(file, len, diff_id.algorithm(), &mut |_| true)?.finish(*digest);
    if index.diff_id() != diff_id {
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

/// Hashes a layer's file of `len` bytes. `go_on` is told the number of bytes done after each piece,
/// and stops the work by returning `false`.
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

#[cfg(test)]
mod tests {
    use cache_core::ErrorKind;

    use super::*;
    use crate::dir::directory::tests::opened;

    #[test]
    fn an_index_stays_with_a_layer_alone() {
        let root = tempfile::tempdir().unwrap();
        let dir = opened(root.path());
        let mut builder = IndexBuilder::new(Algorithm::Sha256);
        builder.update(b"the layer");
        let index = builder.finish(Digest::sha256_of(b"blob"));
        let name = |companion| file_name(index.digest(), companion);
        std::fs::write(root.path().join(name(LAYER)), b"the layer").unwrap();
        store_index(&dir, &index);
        assert!(dir.contains(&name(INDEX)));

        dir.unlink(&name(LAYER)).unwrap();
        store_index(&dir, &index);
        assert!(!dir.contains(&name(INDEX)));
    }

    #[test]
    fn a_file_that_is_cut_while_it_is_hashed_is_corrupt() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        std::fs::write(&path, b"the layer").unwrap();
        let file = File::open(path).unwrap();
        let error = hash(&file, 10, Algorithm::Sha256, &mut |_| true).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("cut at byte 9"), "{error}");
    }
}
