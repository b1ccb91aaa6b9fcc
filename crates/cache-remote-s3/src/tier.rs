//! The tier itself: how the parts make up what the contracts ask for.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use cache_core::{
    Capabilities, Claim, Digest, ErrorKind, LayerDescriptor, LayerReader, LayerSource, LayerStat, Result,
    Role, Tier,
};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};

use crate::S3Config;
use crate::list::list;
use crate::store::Store;
use crate::sweep::sweep;
use crate::upload::unfinished;
use crate::writer::S3Writer;

/// A bucket, or the part of one under a prefix, shared by all processes that name it.
///
/// Clones are the same tier: they share the connections, and the memory that writers may take. Any number of processes may
/// write the same layer; each writes the same bytes, and the first to commit wins.
#[derive(Clone, Debug)]
pub struct S3Tier {
    store: Arc<Store>,
}

impl S3Tier {
    /// The tier that `config` describes. Nobody is asked: see [`check`](Self::check).
    ///
    /// # Errors
    /// [`ErrorKind::Permanent`] for settings that cannot work.
    pub fn new(config: S3Config) -> Result<Self> {
        config
            .check()
            .map_err(|error| error.at(&config.name, "configure"))?;
        Ok(Self {
            store: Arc::new(Store::new(config)),
        })
    }

    /// Asks whether the bucket is there and may be read. Takes at most a few time-outs.
    ///
    /// # Errors
    /// [`ErrorKind::Permanent`] says what to mend: no such bucket, wrong credentials, denied, another region.
    /// [`ErrorKind::Unavailable`] when there is no answer.
    pub async fn check(&self) -> Result<()> {
        let checked = self.store.bucket.check().await;
        checked.map_err(|error| error.at(self.store.name(), "check"))
    }
}

#[async_trait]
impl LayerSource for S3Tier {
    fn name(&self) -> &str {
        self.store.name()
    }

    fn role(&self) -> Role {
        Role::Shared
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE.with_verified().with_list()
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let found = self.store.find(layer).await;
        let found = found
            .map_err(self.store.place("open", &layer.digest))
            .inspect_err(|error| {
                // Whoever asks tells of what it means to them.
                tracing::debug!(digest = %layer.digest, tier = %self.name(), %error, "remote cache lookup error");
            })?;
        if let Some(reader) = &found {
            tracing::debug!(
                digest = %layer.digest,
                tier = %self.name(),
                bytes = reader.len().unwrap_or(0),
                "remote cache hit"
            );
        }
        Ok(found)
    }
}

#[async_trait]
impl Tier for S3Tier {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        match self.store.find(layer).await {
            Ok(Some(reader)) => return Ok(Claim::Exists(reader)),
            Ok(None) => {}
            // What is wrong is replaced.
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(self.store.place("create", &layer.digest)(error)),
        }
        if !self.store.swept.swap(true, Relaxed) {
            sweep(Arc::clone(&self.store.bucket));
        }
        let writer = S3Writer::new(Arc::clone(&self.store), layer.clone());
        Ok(Claim::Write(Box::new(writer)))
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        let (store, of) = (Arc::clone(&self.store), *digest);
        // In a task: a remove that is cancelled is not half done.
        let removed = tokio::spawn(async move { store.remove(&of).await }).await;
        removed
            .unwrap_or_else(|error| Err(unfinished(error)))
            .map_err(self.store.place("remove", digest))
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        let store = Arc::clone(&self.store);
        list(Arc::clone(&store.bucket))
            .map_err(move |error| error.at(store.name(), "list"))
            .boxed()
    }
}
