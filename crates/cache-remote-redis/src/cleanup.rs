//! Which layers are being cleaned up after.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::Digest;
use tokio::sync::Notify;

/// The layers of which this process is removing what writers have left. A new writer of such a layer would lose its chunks, so it
/// waits; each clean-up is a few requests, which are bounded in time.
#[derive(Debug, Default)]
pub(crate) struct CleanUps {
    /// How many for each layer. A std mutex: held for one look.
    running: Mutex<HashMap<Digest, usize>>,
    ended: Notify,
}

/// One of them, from the moment its writer is given up. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct CleanUp {
    all: Arc<CleanUps>,
    layer: Digest,
}

impl CleanUps {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(self: &Arc<Self>, layer: Digest) -> CleanUp {
        *self.lock().entry(layer).or_default() += 1;
        CleanUp {
            all: Arc::clone(self),
            layer,
        }
    }

    /// Waits until no clean-up of the layer is under way.
    pub(crate) async fn ended(&self, layer: &Digest) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            // Before the look, so that none ends unseen between both.
            ended.as_mut().enable();
            if !self.lock().contains_key(layer) {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for CleanUp {
    fn drop(&mut self) {
        let mut running = self.all.lock();
        if let Some(count) = running.get_mut(&self.layer) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.layer);
            }
        }
        drop(running);
        self.all.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_last_clean_up_of_a_layer_ends_the_wait() {
        let cleanups = Arc::new(CleanUps::default());
        let layer = Digest::sha256_of(b"layer");
        cleanups.ended(&layer).await;
        let (first, second) = (cleanups.begin(layer), cleanups.begin(layer));
        let mut waits = std::pin::pin!(cleanups.ended(&layer));
        assert_eq!(waits.as_mut().now_or_never(), None);
        assert_eq!(
            cleanups.ended(&Digest::sha256_of(b"other")).now_or_never(),
            Some(())
        );
        drop(first);
        assert_eq!(waits.as_mut().now_or_never(), None);
        drop(second);
        waits.await;
    }
}
