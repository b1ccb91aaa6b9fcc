//! Filling further tiers in the background, from a layer that is at hand.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::LayerCache;
use super::early::EarlyBytes;
use super::fill::{Fill, FillError};
use super::search::Hit;
use crate::{Claim, Error, ErrorKind, LayerDescriptor, LayerReader, Result, Tier};

/// Write-backs at work at once.
const MAX_CONCURRENT: usize = 2;
/// Write-backs at work or waiting; each holds one open layer. More are dropped: the next worker fills the tier.
const MAX_QUEUED: usize = 256;
/// How often a write-back is tried, and how long the first pause is; each further pause is twice as long.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The write-backs of a cache.
#[derive(Debug)]
pub(super) struct WriteBack {
    permits: Arc<Semaphore>,
    queued: watch::Sender<usize>,
}

impl Default for WriteBack {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(MAX_CONCURRENT)),
            queued: watch::Sender::new(0),
        }
    }
}

/// Counts one write-back for as long as it lives, however it ends.
struct Queued(LayerCache);

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.0.write_back.queued.send_modify(|queued| *queued -= 1);
    }
}

impl WriteBack {
    /// Begins to fill the tiers in `missed` from `hit`.
    pub(super) fn start(&self, cache: &LayerCache, layer: &LayerDescriptor, hit: &Hit, missed: &[usize]) {
        for &source in missed {
            let Some(tier) = cache.0.sources[source].tier.clone() else {
                continue;
            };
            let admitted = self.queued.send_if_modified(|queued| {
                let admitted = *queued < MAX_QUEUED;
                *queued += usize::from(admitted);
                admitted
            });
            if !admitted {
                tracing::warn!(tier = tier.name(), digest = %layer.digest, "write-back dropped: the queue is full");
                continue;
            }
            let queued = Queued(cache.clone());
            let (layer, reader) = (layer.clone(), Arc::clone(&hit.reader));
            let permits = Arc::clone(&self.permits);
            let max_len = cache.0.max_layer_bytes;
            tokio::spawn(async move {
                let _queued = queued;
                let Ok(_permit) = permits.acquire().await else {
                    return;
                };
                if let Err(error) = persist(&layer, &reader, &tier, max_len).await {
                    tracing::warn!(%error, "write-back given up");
                }
            });
        }
    }

    pub(super) async fn idle(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.queued.subscribe().wait_for(|&queued| queued == 0).await;
    }
}

/// Tries until the tier has the layer, or says that it never will.
async fn persist(
    layer: &LayerDescriptor,
    reader: &Arc<dyn LayerReader>,
    tier: &Arc<dyn Tier>,
    max_len: u64,
) -> Result<()> {
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        match write(layer, reader, tier, max_len).await {
            Err(error) if error.kind() == ErrorKind::Unavailable && attempt < ATTEMPTS => {
                tracing::debug!(%error, attempt, "write-back failed");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            result => return result,
        }
    }
    Ok(())
}

async fn write(
    layer: &LayerDescriptor,
    reader: &Arc<dyn LayerReader>,
    tier: &Arc<dyn Tier>,
    max_len: u64,
) -> Result<()> {
    let place = |error: Error| error.at(tier.name(), "write back").of_layer(&layer.digest);
    let Claim::Write(writer) = tier.create(layer).await.map_err(place)? else {
        return Ok(());
    };
    let mut early = EarlyBytes::default();
    match Fill::new(layer, reader, max_len, &mut early)
        .into(writer, |_| {})
        .await
    {
        Ok(_) => Ok(()),
        // A source that fails now is not asked again: the layer it had is gone.
        Err(FillError::Source(error) | FillError::DiffId(error)) => {
            Err(Error::permanent("the layer could not be read").caused_by(error))
        }
        Err(FillError::Tier(error)) => Err(error),
    }
    .map_err(place)
}
