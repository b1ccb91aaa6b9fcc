//! The tier itself: how the parts make up what the contracts ask for.

use std::sync::Arc;

use async_trait::async_trait;
use cache_core::lease::Leases;
use cache_core::{
    Capabilities, Claim, Digest, Error, ErrorKind, LayerDescriptor, LayerReader, LayerSource, LayerStat,
    Result, Role, Tier,
};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};

use crate::RedisConfig;
use crate::failure::task_failed;
use crate::lease::RedisLeases;
use crate::list::list;
use crate::servers::Servers;
use crate::store::Store;
use crate::writer::RedisWriter;

/// What `max_layer_bytes` may be at most: the index of such a layer has 64 MiB.
const MAX_LAYER_BYTES: u64 = 1 << 40;

/// A Redis or a Redis Cluster as a tier. Clones are the same tier.
///
/// - Connections are made when they are needed, and made anew when they fail or stall. Every request is under the time-out, and
///   repeated only where its connection turns out to have been closed: a server that is down costs an error.
/// - A layer is there from the moment its index is put, which is the last thing a writer does. A layer of which Redis has
///   evicted any part is a miss; a reader that has it open gets an error.
/// - Every chunk is checked against the index before a byte of it is handed out, and the index against the
///   [seal](RedisConfig::with_seal) and the image.
/// - Writers do not exclude each other: all write the same. Use [leases](Self::leases) to save the work.
#[derive(Clone, Debug)]
pub struct RedisTier {
    store: Arc<Store>,
}

impl RedisTier {
    /// A tier of the server or cluster that `config` names. Connects to nothing yet: a server that is down, or comes up
    /// later, is found out at use.
    ///
    /// # Errors
    /// `Permanent` when the configuration cannot be right. No message repeats a password.
    pub fn new(config: RedisConfig) -> Result<Self> {
        let name: Arc<str> = config.name.as_str().into();
        let place = |error: Error| error.at(&name, "configure");
        if config.max_layer_bytes > MAX_LAYER_BYTES {
            return Err(place(Error::permanent(format!(
                "a layer may have at most {MAX_LAYER_BYTES} bytes"
            ))));
        }
        let servers = Servers::new(&config).map_err(place)?;
        Ok(Self {
            store: Arc::new(Store::new(name, config, servers)),
        })
    }

    /// Leases on layers in the same Redis, for all workers that name it.
    pub fn leases(&self) -> Arc<dyn Leases> {
        Arc::new(RedisLeases(Arc::clone(&self.store)))
    }

    /// Asks the server, or every master of the cluster, for a sign of life.
    ///
    /// # Errors
    /// `Unavailable` when there is none within the time-out, `Permanent` when the server refuses.
    pub async fn check(&self) -> Result<()> {
        let pong: Result<redis::Value> = self.store.connections.ask(redis::cmd("PING")).await;
        pong.map(drop)
            .map_err(|error| error.at(&self.store.name, "check"))
    }

    async fn claim(&self, layer: &LayerDescriptor) -> Result<Claim> {
        // The blob is rarely longer than the layer: what cannot fit is refused before anybody fetches it.
        self.store.check_len(layer.size.unwrap_or(0))?;
        self.store.cleanups.ended(&layer.digest).await;
        match self.store.find(layer).await {
            Ok(Some(reader)) => return Ok(Claim::Exists(reader)),
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.remove_whole(&layer.digest).await?;
            }
            Err(error) => return Err(error),
        }
        let writer = RedisWriter::new(Arc::clone(&self.store), layer.digest);
        Ok(Claim::Write(Box::new(writer)))
    }

    /// In a task, so that whoever goes away does not leave chunks without an index.
    async fn remove_whole(&self, digest: &Digest) -> Result<bool> {
        let (store, digest) = (Arc::clone(&self.store), *digest);
        let removal = tokio::spawn(async move { store.remove(&digest).await });
        removal.await.map_err(task_failed)?
    }
}

#[async_trait]
impl LayerSource for RedisTier {
    fn name(&self) -> &str {
        &self.store.name
    }

    fn role(&self) -> Role {
        Role::Shared
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE.with_verified().with_list()
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let (tier, digest) = (&*self.store.name, &layer.digest);
        let found = self.store.find(layer).await;
        let found = found.map_err(|error| self.store.place(error, "open", digest));
        match &found {
            Ok(Some(reader)) => {
                let bytes = reader.len().unwrap_or(0);
                tracing::debug!(%digest, %tier, bytes, "remote cache hit");
            }
            Ok(None) => {}
            // Whoever asks tells of what it means to them.
            Err(error) => tracing::debug!(%digest, %tier, %error, "remote cache lookup error"),
        }
        found
    }
}

#[async_trait]
impl Tier for RedisTier {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        let claim = self.claim(layer).await;
        claim.map_err(|error| self.store.place(error, "create", &layer.digest))
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        let removed = self.remove_whole(digest).await;
        removed.map_err(|error| self.store.place(error, "remove", digest))
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        let name = Arc::clone(&self.store.name);
        let layers = list(Arc::clone(&self.store));
        layers.map_err(move |error| error.at(&name, "list")).boxed()
    }
}
