//! A tier that is not ours to change.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::{
    Capabilities, Claim, Digest, Error, LayerDescriptor, LayerReader, LayerSource, LayerStat, Result, Role,
    Tier,
};

/// A tier that can be read and listed only: `create` and `remove` are
/// [`ErrorKind::Permanent`](crate::ErrorKind::Permanent) errors.
///
/// [`Capabilities::read_while_write`] is off, as nothing is written; the others are those of the tier.
#[derive(Debug)]
pub struct ReadOnly<S> {
    inner: S,
}

impl<S: LayerSource> ReadOnly<S> {
    /// Reads and lists `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }

    fn refuse(&self, operation: &'static str, layer: &Digest) -> Error {
        Error::permanent("the tier is read-only")
            .at(self.inner.name(), operation)
            .of_layer(layer)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: LayerSource> LayerSource for ReadOnly<S> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn role(&self) -> Role {
        self.inner.role()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            read_while_write: false,
            ..self.inner.capabilities()
        }
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        self.inner.open(layer).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: Tier> Tier for ReadOnly<T> {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        Err(self.refuse("create", &layer.digest))
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        Err(self.refuse("remove", digest))
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        self.inner.list()
    }
}
