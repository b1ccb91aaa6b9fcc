//! What one reader does. Wrong bytes panic.

use std::time::Duration;

use cache_core::{LayerCache, LayerReaderExt, LayerSourceExt, Result};
use futures_util::TryStreamExt;
use tokio::time::sleep;

use crate::composition::{LAYERS, Part, descriptor_of, digest_of};
use crate::operation::Action;
use crate::promises;
use crate::worker::Worker;

/// `proven` says whether what a stream gives before it fails must be right.
pub(crate) async fn act(worker: &Worker, parts: &[Part], action: &Action, proven: bool) -> Result<()> {
    let cache = &worker.cache;
    match *action {
        Action::Read { layer, offset, len } => {
            let reader = cache.get(&descriptor_of(layer)).await?;
            let read = reader.read_bytes(offset, len).await?;
            promises::bytes_are_right(layer, offset, &read, Some(len));
        }
        Action::ReadLater { layer, seconds } => {
            let reader = cache.get(&descriptor_of(layer)).await?;
            sleep(Duration::from_secs(seconds)).await;
            let read = reader.read_bytes(0, LAYERS[layer] + 1).await?;
            promises::bytes_are_right(layer, 0, &read, Some(LAYERS[layer] + 1));
        }
        Action::Stream {
            layer,
            offset,
            pieces,
        } => stream(cache, layer, offset, pieces, proven).await?,
        Action::Settle { layer } => {
            let _reader = cache.get(&descriptor_of(layer)).await?;
            cache.settled(&digest_of(layer)).await;
        }
        // No origin is asked, so that none has it says nothing, and what a tier that cannot tell has is not known without it.
        Action::Publish { layer } => drop(cache.publish(&descriptor_of(layer)).await),
        Action::Remove { source, layer } => {
            if let Some(tier) = &worker.tiers[source] {
                let removed = tier.remove(&digest_of(layer)).await;
                let faultless = parts[source].guards.is_empty() && !parts[source].script.has_trouble();
                assert!(removed.is_ok() || !faultless, "not removed: {removed:?}");
            }
        }
        // For whoever starts processes to do.
        Action::Restart => {}
    }
    Ok(())
}

async fn stream(
    cache: &LayerCache,
    layer: usize,
    offset: u64,
    pieces: Option<usize>,
    proven: bool,
) -> Result<()> {
    let mut stream = cache.get(&descriptor_of(layer)).await?.stream(offset);
    let mut read = Vec::new();
    let mut count = 0;
    let ended = loop {
        if pieces.is_some_and(|pieces| count >= pieces) {
            break Ok(false);
        }
        match stream.try_next().await {
            Ok(Some(piece)) => {
                assert!(!piece.is_empty(), "an empty piece");
                read.extend_from_slice(&piece);
                count += 1;
            }
            Ok(None) => break Ok(true),
            Err(error) => break Err(error),
        }
    };
    let whole = matches!(ended, Ok(true));
    if proven || whole {
        let wanted = whole.then_some(LAYERS[layer]);
        promises::bytes_are_right(layer, offset, &read, wanted);
    }
    ended.map(drop)
}
