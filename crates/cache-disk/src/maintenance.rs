//! What an operator does to the cache: look at it, verify it, trim it, empty it. All of it while others read and fill.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use cache_core::{Algorithm, Digest, Error, LayerDescriptor, LayerIndex, Result};
use tokio_util::sync::CancellationToken;

use crate::directory::Handle;
use crate::failure::{blocking, failure};
use crate::find::{hash, read_index};
use crate::layout::{LAYER, file_name};
use crate::quota::{Purpose, free_bytes, lock_quota, sync_removal};
use crate::recovery::remove_leftovers;
use crate::tier::{DiskTier, Store};

/// How much the cache takes, by [`DiskTier::usage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskUsage {
    /// How many layers there are.
    pub layers: u64,
    /// Bytes of the layers and their companions.
    pub bytes: u64,
    /// Bytes of the file system that this user may still write.
    pub free_bytes: u64,
    /// The limit on `bytes`.
    pub max_bytes: Option<u64>,
    /// The limit on `free_bytes`.
    pub min_free_bytes: u64,
}

/// What [`DiskTier::gc`] or [`DiskTier::clear`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// How many layers were removed.
    pub removed_layers: u64,
    /// Bytes of those layers and their companions. Layers that are open keep theirs until they are closed.
    pub removed_bytes: u64,
    /// How many files of processes that died were removed.
    pub removed_leftovers: u64,
    /// How many layers are left.
    pub layers: u64,
    /// Bytes of the layers and companions that are left.
    pub bytes: u64,
}

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
    /// How much the cache takes. Looks at every file's length.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn usage(&self) -> Result<DiskUsage> {
        self.off_the_runtime("usage", |store, dir| store.usage(dir)).await
    }

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
        self.off_the_runtime("verify", move |_, dir| {
            verify(dir, &layer, &mut |done| {
                progress(done);
                !dropped.is_cancelled()
            })
        })
        .await
        .map_err(|error| error.of_layer(digest))
    }

    /// Removes what processes that died have left, then evicts the least recently used layers until all together take no
    /// more than `target_bytes`, or, without one, until the limits of the configuration are kept.
    ///
    /// # Errors
    /// When the directory cannot be read or written. Some of it may be done then.
    pub async fn gc(&self, target_bytes: Option<u64>) -> Result<GcReport> {
        self.off_the_runtime("gc", move |store, dir| {
            let removed_leftovers = leftovers(dir)?;
            let _quota = lock_quota(dir)?;
            let DiskUsage {
                bytes, free_bytes, ..
            } = store.usage(dir)?;
            let excess = match target_bytes {
                Some(target) => bytes.saturating_sub(target),
                None => bytes
                    .saturating_sub(store.config.max_bytes.unwrap_or(u64::MAX))
                    .max(store.config.min_free_bytes.saturating_sub(free_bytes)),
            };
            let evicted = store.evict(dir, None, excess, Purpose::Operator)?;
            let left = store.usage(dir)?;
            Ok(GcReport {
                removed_layers: evicted.layers,
                removed_bytes: evicted.bytes,
                removed_leftovers,
                layers: left.layers,
                bytes: left.bytes,
            })
        })
        .await
    }

    /// Removes all layers with their companions, and what processes that died have left.
    ///
    /// # Errors
    /// When a layer may still be there.
    pub async fn clear(&self) -> Result<GcReport> {
        self.off_the_runtime("clear", |store, dir| {
            let mut report = GcReport::default();
            for (digest, files) in store.scan(dir)? {
                let removed = store.remove_layer(dir, &digest);
                if removed.map_err(|error| failure("remove a layer", error).of_layer(&digest))? {
                    report.removed_layers += 1;
                    report.removed_bytes += files.bytes;
                }
            }
            sync_removal(dir).map_err(|error| failure("remove the layers for good", error))?;
            report.removed_leftovers = leftovers(dir)?;
            let left = store.usage(dir)?;
            (report.layers, report.bytes) = (left.layers, left.bytes);
            Ok(report)
        })
        .await
    }

    /// How many layers this tier has evicted since it was opened.
    pub fn evicted_layers(&self) -> u64 {
        self.store.evicted_layers.load(Relaxed)
    }

    /// Runs one operation on the directory, and names the operation in its error.
    pub(crate) async fn off_the_runtime<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Arc<Store>, &Arc<Handle>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = Arc::clone(&self.store);
        let done = blocking(move || work(&store, &store.directory.current()?)).await;
        done.flatten()
            .map_err(|error| error.at(&self.store.name, operation))
    }
}

impl Store {
    fn usage(&self, dir: &Handle) -> Result<DiskUsage> {
        let layers = self.scan(dir)?;
        Ok(DiskUsage {
            layers: layers.values().filter(|files| files.layer.is_some()).count() as u64,
            bytes: layers.values().map(|files| files.bytes).sum(),
            free_bytes: free_bytes(dir).map_err(|error| failure("examine the disk", error))?,
            max_bytes: self.config.max_bytes,
            min_free_bytes: self.config.min_free_bytes,
        })
    }
}

fn leftovers(dir: &Handle) -> Result<u64> {
    remove_leftovers(dir).map_err(|error| failure("remove leftovers", error))
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
