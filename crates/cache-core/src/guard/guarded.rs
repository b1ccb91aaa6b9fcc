//! A source whose every operation goes through a [`Policy`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::policy::{Operation, Policy};
use crate::{
    ByteStream, Capabilities, Claim, Digest, LayerDescriptor, LayerIndex, LayerReader, LayerSource,
    LayerStat, LayerWriter, Result, Role, Tier,
};

/// A source or tier whose operations, and those of the readers and writers it hands out, go through a policy; otherwise
/// it is the same. [`Timeout`](crate::guard::Timeout), [`Breaker`](crate::guard::Breaker) and [`Limit`](crate::guard::Limit) are of this type.
///
/// A stream or list ends with its first error, and drops what it streams from at once.
///
/// Guards compose in any order. Around a remote tier this one serves best, from the inside out:
///
/// ```
/// # use cache_core::MemoryTier;
/// # use cache_core::guard::{Breaker, BreakerConfig, Limit, Retry, RetryConfig, Timeout, TimeoutConfig};
/// # let tier = MemoryTier::new("far", 1 << 20);
/// let tier = Timeout::new(tier, TimeoutConfig::default());
/// let tier = Breaker::new(tier, BreakerConfig::default());
/// let tier = Limit::new(tier, 64);
/// let tier = Retry::new(tier, RetryConfig::default());
/// ```
///
/// A time-out is a failure to the breaker. Who waits for a place under the limit is refused once the breaker has opened,
/// and does not wait for a time-out of its own. Who pauses before a retry has no place meanwhile.
#[derive(Debug)]
pub struct Guarded<S, P> {
    inner: S,
    policy: P,
    name: Arc<str>,
}

impl<S: LayerSource, P: Policy> Guarded<S, P> {
    /// Puts `inner` under a policy, which may be shared with other sources.
    pub fn with_policy(inner: S, policy: P) -> Self {
        let name = inner.name().into();
        Self { inner, policy, name }
    }

    /// The policy.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    fn ward(&self, layer: Option<&Digest>) -> Ward<P> {
        Ward {
            policy: self.policy.clone(),
            tier: Arc::clone(&self.name),
            layer: layer.copied(),
        }
    }
}

/// The policy as it applies to one layer, for as long as anything of the layer is open.
#[derive(Clone, Debug)]
struct Ward<P> {
    policy: P,
    tier: Arc<str>,
    layer: Option<Digest>,
}

impl<P: Policy> Ward<P> {
    async fn run<T: Send>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.policy.run(operation, work).await.map_err(|error| {
            let error = error.at(&self.tier, operation.name());
            match &self.layer {
                Some(layer) => error.of_layer(layer),
                None => error,
            }
        })
    }

    fn reader(&self, inner: Arc<dyn LayerReader>) -> Arc<dyn LayerReader> {
        let ward = self.clone();
        Arc::new(GuardedReader { inner, ward })
    }

    fn items<T: Send + 'static>(
        self,
        operation: Operation,
        inner: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        stream::try_unfold((self, inner), move |(ward, mut inner)| async move {
            let item = ward.run(operation, inner.try_next()).await?;
            Ok(item.map(|item| (item, (ward, inner))))
        })
        .boxed()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: LayerSource, P: Policy> LayerSource for Guarded<S, P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn role(&self) -> Role {
        self.inner.role()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let ward = self.ward(Some(&layer.digest));
        let opened = ward.run(Operation::Open, self.inner.open(layer)).await?;
        Ok(opened.map(|inner| ward.reader(inner)))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: Tier, P: Policy> Tier for Guarded<T, P> {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        let ward = self.ward(Some(&layer.digest));
        Ok(
            match ward.run(Operation::Create, self.inner.create(layer)).await? {
                Claim::Write(inner) => Claim::Write(Box::new(GuardedWriter { inner, ward })),
                Claim::Exists(inner) => Claim::Exists(ward.reader(inner)),
            },
        )
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        let ward = self.ward(Some(digest));
        ward.run(Operation::Remove, self.inner.remove(digest)).await
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        self.ward(None).items(Operation::List, self.inner.list())
    }
}

#[derive(Debug)]
struct GuardedReader<P> {
    inner: Arc<dyn LayerReader>,
    ward: Ward<P>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<P: Policy> LayerReader for GuardedReader<P> {
    fn len(&self) -> Option<u64> {
        self.inner.len()
    }

    fn random_access(&self) -> bool {
        self.inner.random_access()
    }

    fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let read = self.inner.read_at(offset, buf);
        self.ward.run(Operation::Read, read).await
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let inner = Arc::clone(&self.inner).stream(offset);
        self.ward.clone().items(Operation::Stream, inner)
    }
}

#[derive(Debug)]
struct GuardedWriter<P> {
    inner: Box<dyn LayerWriter>,
    ward: Ward<P>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<P: Policy> LayerWriter for GuardedWriter<P> {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let write = self.inner.write(bytes);
        self.ward.run(Operation::Write, write).await
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        self.inner.partial().map(|inner| self.ward.reader(inner))
    }

    async fn commit(self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        let Self { inner, ward } = *self;
        let committed = ward.run(Operation::Commit, inner.commit(index)).await?;
        Ok(ward.reader(committed))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let Self { inner, ward } = *self;
        ward.run(Operation::Abort, inner.abort()).await
    }
}
