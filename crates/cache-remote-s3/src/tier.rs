//! The tier itself: how the parts make up what the contracts ask for.

use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{
    Capabilities, Claim, Digest, Error, LayerDescriptor, LayerReader, LayerSource, LayerStat, Result, Tier,
};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::S3Config;

/// A bucket, or the part of one under a prefix, shared by all processes that name it. Clones are the same tier.
#[derive(Clone, Debug)]
pub struct S3Tier {
    config: Arc<S3Config>,
}

fn unfinished() -> Error {
    Error::unavailable("not there yet")
}

impl S3Tier {
    /// The tier that `config` describes. Nobody is asked: see [`check`](Self::check).
    ///
    /// # Errors
    /// [`ErrorKind::Permanent`](cache_core::ErrorKind::Permanent) for settings that cannot work.
    pub fn new(config: S3Config) -> Result<Self> {
        config
            .check()
            .map_err(|error| error.at(&config.name, "configure"))?;
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// Asks whether the bucket is there and may be used.
    ///
    /// # Errors
    /// Says what is wrong: no such bucket, denied, no answer.
    pub async fn check(&self) -> Result<()> {
        Err(unfinished())
    }
}

#[async_trait]
impl LayerSource for S3Tier {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
            .with_random_access()
            .with_verified()
            .with_list()
    }

    async fn open(&self, _: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        Err(unfinished())
    }
}

#[async_trait]
impl Tier for S3Tier {
    async fn create(&self, _: &LayerDescriptor) -> Result<Claim> {
        Err(unfinished())
    }

    async fn remove(&self, _: &Digest) -> Result<bool> {
        Err(unfinished())
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        stream::once(std::future::ready(Err(unfinished()))).boxed()
    }
}
