//! Hashing layers again, to find what a failing disk has damaged since they were cached.

use cache_core::{Algorithm, Digest, Error, LayerDescriptor, LayerIndex, Result};
use tokio_util::sync::CancellationToken;

use crate::dir::directory::Handle;
use crate::dir::layout::{LAYER, file_name};
use crate::failure::failure;
use crate::layer::find::{hash, read_index};
use crate::tier::{DiskTier, Store};

/// What [`DiskTier::verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verification {
    /// The layer is not there.
    Absent,
    /// The layer is what its index says.
    Intact(LayerIndex),
    /// The layer has lost its index, so that there was nothing to verify it against. It stays without one: opening it with
    /// its diff ID proves what it is, and this index, of whatever bytes are there now, proves nothing.
    Unverifiable(LayerIndex),
}

impl DiskTier {
    /// Hashes a layer again and compares it with its index. `progress` is told the number of bytes hashed so far, about
    /// once a mebibyte. The layer stays, whatever comes out; dropping the future stops the hashing.
    ///
    /// # Errors
    /// `Corrupt` when the layer is not what its index says.
    pub async fn verify(
        &self,
        digest: &Digest,
        mut progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<Verification> {
        let dropped = CancellationToken::new();
        let _guard = dropped.clone().drop_guard();
        let layer = LayerDescriptor::new(*digest);
        let absent = |_: &Store| Ok(Verification::Absent);
        self.off_the_runtime_or("verify", absent, move |_, dir| {
            verify(dir, &layer, &mut |done| {
                progress(done);
                !dropped.is_cancelled()
            })
        })
        .await
        .map_err(|error| error.of_layer(digest))
    }

    /// The index next to a layer, as it was written when the layer was filled; `None` when it is lost, or there never was one. It says what
    /// the layer should be: only [`verify`](Self::verify) says whether it is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn index(&self, digest: &Digest) -> Result<Option<LayerIndex>> {
        let layer = LayerDescriptor::new(*digest);
        let read = self.off_the_runtime_if_there("read the index of", move |_, dir| read_index(dir, &layer));
        let index = read.await.map_err(|error| error.of_layer(digest))?;
        Ok(index
            .map(|(index, _)| index)
            .filter(|index| index.digest() == digest))
    }
}

fn verify(dir: &Handle, layer: &LayerDescriptor, go_on: &mut dyn FnMut(u64) -> bool) -> Result<Verification> {
    let Some(file) = dir.open_file(&file_name(&layer.digest, LAYER))? else {
        return Ok(Verification::Absent);
    };
    let len = file
        .metadata()
        .map_err(|error| failure("examine the layer", error))?
        .len();
    let index = read_index(dir, layer)?.map(|(index, _)| index);
    let algorithm = index
        .as_ref()
        .map_or(Algorithm::Sha256, |index| index.diff_id().algorithm());
    let found = hash(&file, len, algorithm, go_on)?.finish(layer.digest);
    match index {
        Some(index) if index == found => Ok(Verification::Intact(found)),
        Some(_) => Err(Error::corrupt("the layer is not what its index says")),
        None => Ok(Verification::Unverifiable(found)),
    }
}
