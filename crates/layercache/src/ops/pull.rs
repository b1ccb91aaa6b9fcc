//! `pull`: brings the layers of an image into the cache.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cache_core::cache::Arrival;
use cache_core::{Digest, LayerDescriptor, LayerSource, Probe};
use futures_util::{StreamExt, TryStreamExt, stream};
use registry::{Image, ImageLocation, Platform};
use serde::Serialize;

use super::error::{NotKept, OpsError, Place};
use super::images::{remember, resolve};
use super::progress::{Event, LayerWork, Progress, watched};
use super::text::{text, text_or_null};
use crate::Stack;

/// Layers of one image that are opened at once; the cache itself bounds how many are filled.
const MAX_CONCURRENT: usize = 8;

/// An image of which every layer is in the cache.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PullReport {
    /// The image as it was asked for.
    pub image: String,
    /// Digest of the manifest; `None` where the image has none.
    #[serde(serialize_with = "text_or_null")]
    pub digest: Option<Digest>,
    /// The layers, the base first.
    pub layers: Vec<PulledLayer>,
    /// Bytes of all layers together, decompressed.
    pub bytes: u64,
}

/// A layer that is in the cache now.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PulledLayer {
    /// The image as it was asked for.
    pub image: String,
    /// Number of the layer in the image, from 0, the base.
    pub layer: usize,
    /// Digest of the layer.
    #[serde(serialize_with = "text")]
    pub digest: Digest,
    /// Name of the source that the bytes came from.
    pub source: String,
    /// Name of the tier that holds the layer.
    pub tier: String,
    /// Names of the tiers that get a further copy from there, perhaps after the pull has ended.
    pub copied_to: Vec<String>,
    /// Bytes that the source has sent, or is to send for those copies: compressed where it is an
    /// origin, 0 where the layer was there already. `None` where the size of the blob is not known.
    pub moved_bytes: Option<u64>,
    /// Bytes of the layer, decompressed.
    pub bytes: u64,
    /// `bytes` / `moved_bytes`; `None` where nothing was moved, or an unknown number of bytes.
    pub ratio: Option<f64>,
    /// Seconds until the layer was there.
    pub seconds: f64,
}

/// Brings every layer of an image into the cache, and remembers which layers these are.
///
/// Up to eight layers are brought at once. Tells [`Resolved`](Event::Resolved), and
/// [`LayerArrived`](Event::LayerArrived) for each layer in the order in which they arrive.
///
/// # Errors
/// Those of [`resolve`], and the first error of a layer, which stops the pull. The layers that have
/// arrived stay in the cache, and the image is remembered as a partial one.
///
/// # Cancellation
/// Dropping the future stops waiting, begins nothing more and does not remember the image. Fills
/// under way belong to the cache: they go on, for later readers, until they are done or the cache's
/// runtime ends, which removes their locks and partial files.
pub async fn pull(
    stack: &Stack,
    location: &ImageLocation,
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<PullReport, OpsError> {
    let image = resolve(stack, location, platform).await?;
    progress.tell(Event::Resolved(&image));
    let before = evictions(stack);
    let name = location.to_string();
    // A vector, since a closure that borrows its argument would keep the future from being `Send`.
    let layers: Vec<_> = image.layers.iter().enumerate().collect();
    let layers: Vec<_> = layers
        .into_iter()
        .map(|(number, layer)| pull_layer(stack, &name, number, layer, progress))
        .collect();
    let pulled: Result<Vec<PulledLayer>, OpsError> = stream::iter(layers)
        .buffer_unordered(MAX_CONCURRENT)
        .try_collect()
        .await;
    let pulled = pulled.map(|mut layers| {
        layers.sort_unstable_by_key(|layer| layer.layer);
        layers
    });
    let lengths = pulled.as_ref().ok();
    let lengths = lengths.map(|layers| layers.iter().map(|layer| layer.bytes).collect());
    // Even if one layer has failed, others are there.
    remember(stack, location, &image, lengths).await;
    let layers = pulled.at(|| location)?;
    if evictions(stack) > before {
        warn_of_evicted(stack, location, &image, &layers).await;
    }
    Ok(PullReport {
        image: name,
        digest: image.manifest_digest,
        bytes: layers.iter().map(|layer| layer.bytes).sum(),
        layers,
    })
}

async fn pull_layer(
    stack: &Stack,
    image: &str,
    number: usize,
    layer: &LayerDescriptor,
    progress: &dyn Progress,
) -> Result<PulledLayer, OpsError> {
    let start = Instant::now();
    let (arrival, len) = bring_layer(stack, layer, progress).await?;
    let pulled = PulledLayer::new(stack, image, number, layer, &arrival, len, start.elapsed());
    progress.tell(Event::LayerArrived(&pulled));
    Ok(pulled)
}

/// Brings one layer into the cache; returns its length in bytes as well.
pub(super) async fn bring_layer(
    stack: &Stack,
    layer: &LayerDescriptor,
    progress: &dyn Progress,
) -> Result<(Arrival, u64), OpsError> {
    let work = LayerWork::start(progress, &layer.digest);
    let cache = stack.cache();
    let look = || {
        if let Some(written) = cache.fill_progress(&layer.digest) {
            work.advance(written);
        }
    };
    let arrival = watched(stack.bring(layer), look).await?;
    let is_fetched_anew = |held: &str| stack.is_origin(held);
    if arrival.reader().len().is_none() && !arrival.held_by().is_some_and(is_fetched_anew) {
        // The fill has failed. A read tells why, or finds the layer elsewhere and brings it from
        // there.
        arrival.reader().read_at(0, &mut [0]).await?;
        cache.settled(&layer.digest).await;
    }
    let Some(len) = arrival.reader().len() else {
        return Err(OpsError::NotKept {
            layer: layer.digest,
            source: match arrival.refused() {
                Some(error) => NotKept::Refused(error),
                None => why_not_kept(stack, arrival.held_by()),
            },
        });
    };
    Ok((arrival, len))
}

/// Finds the reason where no tier has told one.
fn why_not_kept(stack: &Stack, held_by: Option<&str>) -> NotKept {
    let sources = stack.sources();
    let mut in_front = sources.iter().take_while(|source| Some(&*source.name) != held_by);
    let disks = stack.disks();
    if in_front.any(|source| disks.iter().any(|disk| disk.name() == source.name)) {
        NotKept::DiskFailed
    } else if !disks.is_empty() {
        NotKept::DiskBehind
    } else if stack.shared_tiers().is_empty() {
        NotKept::NoDisk
    } else {
        NotKept::NoDiskNorShared
    }
}

fn evictions(stack: &Stack) -> u64 {
    stack.disks().iter().map(|disk| disk.evicted_layers()).sum()
}

/// Warns of an image that does not fit into the quota of a disk: its layers evict each other.
async fn warn_of_evicted(stack: &Stack, location: &ImageLocation, image: &Image, pulled: &[PulledLayer]) {
    for disk in stack.disks() {
        // An image may have a layer twice.
        let mut evicted = BTreeSet::new();
        for (layer, pulled) in image.layers.iter().zip(pulled) {
            let looked = disk.probe(layer).await;
            if pulled.tier == disk.name() && matches!(looked, Ok(Probe::Absent | Probe::Refused(_))) {
                evicted.insert(layer.digest);
            }
        }
        if !evicted.is_empty() {
            tracing::warn!(
                tier = disk.name(),
                image = %location,
                evicted = evicted.len(),
                "layers of the image had to make room again for its others, or for other images: raise `max_bytes`, or free space"
            );
        }
    }
}

impl PulledLayer {
    fn new(
        stack: &Stack,
        image: &str,
        number: usize,
        layer: &LayerDescriptor,
        arrival: &Arrival,
        bytes: u64,
        took: Duration,
    ) -> Self {
        let name = |name: Option<&str>| name.unwrap_or_default().to_owned();
        let (source, tier) = (name(arrival.came_from()), name(arrival.held_by()));
        let copied_to: Vec<_> = arrival.copied_to().into_iter().map(str::to_owned).collect();
        let moved_bytes = match source == tier {
            // The tier reads it for each copy.
            true => Some(bytes * copied_to.len() as u64),
            false if stack.is_origin(&source) => layer.size,
            false => Some(bytes),
        };
        Self {
            image: image.to_owned(),
            layer: number,
            digest: layer.digest,
            source,
            tier,
            copied_to,
            moved_bytes,
            bytes,
            ratio: moved_bytes
                .filter(|&moved| moved > 0)
                .map(|moved| bytes as f64 / moved as f64),
            seconds: took.as_secs_f64(),
        }
    }
}
