//! Hashing layers again, to find damage that a failing disk has done since they were cached.

use cache_core::{Algorithm, Digest, Error, LayerIndex, Result};

use crate::dir::handle::Handle;
use crate::dir::layout::{LAYER, file_name};
use crate::failure::failure;
use crate::layer::index::{hash, read_index};

/// The outcome of [`DiskTier::verify`](crate::DiskTier::verify).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verification {
    /// The layer is not there.
    Absent,
    /// The layer is what its index says.
    Intact(LayerIndex),
    /// The layer has lost its index, so that there was nothing to verify it against. It stays
    /// without one: opening it with its diff ID proves what it is. This index, of the bytes that
    /// are there now, proves nothing.
    Unverifiable(LayerIndex),
}

/// Hashes a layer and compares it with its index. `go_on` is told the number of bytes done, and
/// stops the work by returning `false`. Blocks.
pub(crate) fn verify(
    dir: &Handle,
    digest: &Digest,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Verification> {
    let Some(file) = dir.open_file(&file_name(digest, LAYER))? else {
        return Ok(Verification::Absent);
    };
    let len = file
        .metadata()
        .map_err(|error| failure("examine the layer", error))?
        .len();
    let index = read_index(dir, digest)?.map(|(index, _)| index);
    let algorithm = index
        .as_ref()
        .map_or(Algorithm::Sha256, |index| index.diff_id().algorithm());
    let found = hash(&file, len, algorithm, go_on)?.finish(*digest);
    match index {
        Some(index) if index == found => Ok(Verification::Intact(found)),
        Some(_) => Err(Error::corrupt("the layer is not what its index says")),
        None => Ok(Verification::Unverifiable(found)),
    }
}
