//! The tier itself: how the parts make up what the contracts ask for.

use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{
    Acquired, Capabilities, Claim, Digest, Error, LayerDescriptor, LayerReader, LayerSource, LayerStat,
    Leases, Result, Tier,
};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::RedisConfig;

/// Redis or a Redis Cluster as a tier. Clones are the same tier.
#[derive(Clone, Debug)]
pub struct RedisTier {
    config: Arc<RedisConfig>,
}

fn unfinished() -> Error {
    Error::unavailable("the tier is being built")
}

impl RedisTier {
    /// A tier of the server or cluster that `config` names. Connections are made at first use.
    ///
    /// # Errors
    /// `Permanent` when the configuration cannot be right.
    pub fn new(config: RedisConfig) -> Result<Self> {
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// Leases on layers, kept by the same Redis.
    pub fn leases(&self) -> Arc<dyn Leases> {
        Arc::new(self.clone())
    }

    /// Asks the server for a sign of life.
    ///
    /// # Errors
    /// `Unavailable` when there is none, `Permanent` when the server refuses.
    pub async fn check(&self) -> Result<()> {
        Err(unfinished())
    }
}

#[async_trait]
impl Leases for RedisTier {
    async fn acquire(&self, _layer: &Digest) -> Result<Acquired> {
        Err(unfinished())
    }
}

#[async_trait]
impl LayerSource for RedisTier {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
            .with_random_access()
            .with_verified()
            .with_list()
    }

    async fn open(&self, _layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        Err(unfinished())
    }
}

#[async_trait]
impl Tier for RedisTier {
    async fn create(&self, _layer: &LayerDescriptor) -> Result<Claim> {
        Err(unfinished())
    }

    async fn remove(&self, _digest: &Digest) -> Result<bool> {
        Err(unfinished())
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        stream::once(async { Err(unfinished()) }).boxed()
    }
}
