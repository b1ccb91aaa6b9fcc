//! The chunks of a layer that is being written.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{Digest, Error, LayerIndex, Result};
use redis::Cmd;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::failure::task_failed;
use crate::keys;
use crate::store::Store;

/// How long a chunk stays whose writer died.
const STAGING_EXPIRY: Duration = Duration::from_secs(3600);
/// What a request has besides the chunk: more than its key and its options.
const REQUEST_LEN: usize = 1024;

/// Chunks in Redis without an index yet. Unless they get one, they are removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Upload {
    store: Arc<Store>,
    digest: Digest,
    sending: JoinSet<Result<()>>,
    /// How many chunks were sent or are being sent.
    chunks: usize,
    committed: bool,
}

impl Upload {
    pub(crate) fn new(store: Arc<Store>, digest: Digest) -> Self {
        Self {
            store,
            digest,
            sending: JoinSet::new(),
            chunks: 0,
            committed: false,
        }
    }

    /// Sends the next chunk, once the store has a place for it. What waits for its turn is bounded by the time-outs of those.
    pub(crate) async fn send(&mut self, bytes: Bytes) -> Result<()> {
        let closed = |_| Error::unavailable("the tier is gone");
        let place = Arc::clone(&self.store.sending)
            .acquire_owned()
            .await
            .map_err(closed)?;
        while let Some(sent) = self.sending.try_join_next() {
            sent.map_err(task_failed)??;
        }
        // All at once: growing by doubling would take twice as much.
        let mut request = Cmd::with_capacity(5, bytes.len() + REQUEST_LEN);
        request
            .arg("SET")
            .arg(keys::chunk(&self.digest, self.chunks))
            .arg(&bytes[..])
            .arg("EX")
            .arg(STAGING_EXPIRY.as_secs());
        self.chunks += 1;
        let store = Arc::clone(&self.store);
        self.sending.spawn(async move {
            let _place = place;
            store.connections.transfer(request).await
        });
        Ok(())
    }

    /// Waits until one of the chunks under way has arrived; whether there was one.
    async fn sent(&mut self) -> Result<bool> {
        match self.sending.join_next().await {
            None => Ok(false),
            Some(sent) => sent.map_err(task_failed)?.map(|()| true),
        }
    }

    /// Puts the index once all chunks have arrived.
    pub(crate) async fn commit(mut self, index: &LayerIndex) -> Result<()> {
        while self.sent().await? {}
        self.store.commit(index).await?;
        self.committed = true;
        Ok(())
    }

    /// Removes the chunks, and returns when they are gone.
    pub(crate) async fn abort(mut self) -> Result<()> {
        match self.clean_up() {
            None => Ok(()),
            Some(removal) => tokio::spawn(removal).await.map_err(task_failed)?,
        }
    }

    /// What is left to do when the layer is not committed. Takes as long as a few requests may.
    fn clean_up(&mut self) -> Option<impl Future<Output = Result<()>> + Send + 'static> {
        if self.chunks == 0 || self.committed {
            return None;
        }
        self.committed = true;
        let (store, digest, chunks) = (Arc::clone(&self.store), self.digest, self.chunks);
        let mut sending = std::mem::take(&mut self.sending);
        let cleanup = store.cleanups.begin(digest);
        Some(async move {
            let _until_the_end = cleanup;
            // A chunk that arrives after it was removed would be left until it expires.
            while sending.join_next().await.is_some() {}
            let mut request = redis::cmd("EXISTS");
            request.arg(keys::index(&digest));
            if store.connections.ask(request).await? {
                // Another writer has committed the layer, and some of its chunks were replaced by ours, which expire.
                return store.settle(&digest, chunks).await;
            }
            store
                .connections
                .count_chunks("UNLINK", &digest, chunks)
                .await
                .map(drop)
        })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(removal) = self.clean_up()
            && let Ok(runtime) = Handle::try_current()
        {
            let (name, digest) = (Arc::clone(&self.store.name), self.digest);
            runtime.spawn(async move {
                if let Err(error) = removal.await {
                    tracing::debug!(tier = %name, %digest, %error, "chunks of a layer that was given up are left to expire");
                }
            });
        }
    }
}
