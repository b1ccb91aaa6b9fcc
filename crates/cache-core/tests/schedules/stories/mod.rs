//! The stories, with what they share.

mod early;
mod fills;
mod inflating;
mod leases;
mod script;
mod single_flight;

use std::sync::Arc;

use bytes::Bytes;
use cache_core::{LayerCache, LayerDescriptor, LayerSource, LayerSourceExt, MemoryTier, Result};
use futures_util::{FutureExt, TryStreamExt};
use scheduled::{explore, spawn};

use self::script::{Act, Origin, Shelf, descriptor};

/// Short: each of its pieces is a few choices for the scheduler.
const LAYER: &[u8] = b"a tar";

fn memory(name: &str) -> Arc<MemoryTier> {
    Arc::new(MemoryTier::new(name, 1 << 20))
}

/// Reads all of the layer as somebody who asks for it now.
async fn read(cache: LayerCache, layer: LayerDescriptor) -> Result<Vec<u8>> {
    let pieces = cache.get(&layer).await?.stream(0);
    pieces
        .try_fold(
            Vec::new(),
            |all, piece| async move { Ok([&all[..], &piece].concat()) },
        )
        .await
}

/// Readers that come at once; what each of them got.
async fn read_at_once(cache: &LayerCache, layer: &LayerDescriptor, readers: usize) -> Vec<Result<Vec<u8>>> {
    let tasks: Vec<_> = (0..readers)
        .map(|_| spawn(read(cache.clone(), layer.clone())))
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

/// Waits until the cache has nothing to do, and looks whether that is so.
async fn at_rest(cache: &LayerCache, layer: &LayerDescriptor) {
    cache.flush().await;
    assert_at_rest(cache, layer);
}

fn assert_at_rest(cache: &LayerCache, layer: &LayerDescriptor) {
    assert_eq!(cache.fill_progress(&layer.digest), None);
    assert!(cache.flush().now_or_never().is_some(), "something is under way");
}
