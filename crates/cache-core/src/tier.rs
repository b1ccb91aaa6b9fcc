//! What can be filled: [`Tier`] and the [`LayerWriter`] it creates.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::{Digest, LayerDescriptor, LayerIndex, LayerReader, LayerSource, Result};

/// A source that can also be filled, emptied and listed.
///
/// # Contract
/// - A layer is visible to [`open`](LayerSource::open) and [`list`](Self::list) from the moment its writer's
///   [`commit`](LayerWriter::commit) returns, complete, and not a moment before.
/// - Of several writers of one layer any may win; all of them write the same bytes.
/// - Dropping a future of any method leaves the tier in the state before or after the call.
#[async_trait]
pub trait Tier: LayerSource {
    /// Claims the right to write `layer`.
    ///
    /// A tier that is shared between processes may make the claim exclusive: then this waits while another process
    /// fills the same layer, for as long as that one makes progress, and returns [`Claim::Exists`] with what it wrote.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the tier cannot take the layer now (full, down);
    /// [`ErrorKind::Permanent`](crate::ErrorKind::Permanent) when it never will.
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim>;

    /// Removes a layer and everything kept with it; whether there was one. Readers that are open go on reading the
    /// right bytes or get an error.
    ///
    /// # Errors
    /// When the layer may still be there.
    async fn remove(&self, digest: &Digest) -> Result<bool>;

    /// Every committed layer once, in no particular order; layers that come or go meanwhile may be missing.
    fn list(&self) -> BoxStream<'static, Result<LayerStat>>;
}

/// What [`Tier::create`] found.
#[derive(Debug)]
pub enum Claim {
    /// The layer is to be written by the caller.
    Write(Box<dyn LayerWriter>),
    /// Somebody else has committed the layer since the caller last looked.
    Exists(Arc<dyn LayerReader>),
}

/// One layer being written. Dropping it, at any time, means it was never started.
#[async_trait]
pub trait LayerWriter: Debug + Send + 'static {
    /// Appends the next bytes of the layer. Once a call failed or was cancelled, the writer can only be dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the tier cannot take more (full, down, over its
    /// quota).
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// A reader of what has been written so far, if this tier claims
    /// [`read_while_write`](crate::Capabilities::read_while_write). It reads short at the end of what is
    /// written; its [`len`](LayerReader::len) is `None`; after a commit it reads the whole layer.
    fn partial(&self) -> Option<Arc<dyn LayerReader>>;

    /// Makes the layer durable and visible. `index` describes exactly the bytes that were written; the caller has
    /// verified them.
    ///
    /// # Errors
    /// Then the layer is not visible, unless somebody else committed it.
    async fn commit(self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>>;

    /// Gives the layer up, and returns when nothing of it is left. Dropping does the same without waiting.
    ///
    /// # Errors
    /// When something may be left, which the tier cleans up by itself later.
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// A committed layer, as [`Tier::list`] knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerStat {
    /// The key of the layer.
    pub digest: Digest,
    /// Length of the layer in bytes.
    pub len: u64,
    /// When it was last opened, where the tier knows; exact to about a minute.
    pub last_used: Option<SystemTime>,
}

impl LayerStat {
    /// A layer of `len` bytes.
    pub fn new(digest: Digest, len: u64) -> Self {
        Self {
            digest,
            len,
            last_used: None,
        }
    }

    /// The same with the time it was last opened.
    #[must_use]
    pub fn with_last_used(mut self, last_used: SystemTime) -> Self {
        self.last_used = Some(last_used);
        self
    }
}

#[async_trait]
impl<T: Tier + ?Sized> Tier for Arc<T> {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        (**self).create(layer).await
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        (**self).remove(digest).await
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        (**self).list()
    }
}
