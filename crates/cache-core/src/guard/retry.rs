//! Asking a source again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use metrics::Counter;

use super::backoff::pause;
use super::circuit::was_refused;
use super::policy::Operation;
use crate::metrics::{OPERATION, RETRIES, TIER};
use crate::{
    ByteStream, Capabilities, Claim, Digest, Error, ErrorKind, LayerDescriptor, LayerIndex, LayerReader,
    LayerSource, LayerStat, LayerWriter, Result, Role, Tier, planted,
};

/// A source that is asked again when it was [`ErrorKind::Unavailable`], after a pause.
///
/// - Repeated are `open`, `read_at` and `remove`, which do no harm when repeated. A `remove` whose answer was lost
///   says `false` of the layer that it has removed.
/// - A stream goes on at the offset it has reached, if the source claims [`Capabilities::verified`]. Else only a new
///   stream from the beginning would prove the bytes that were handed out, so it is repeated before its first
///   piece only.
/// - Not repeated are `list`, and `create`, `write`, `commit` and `abort`: a fill that fails is started over as a whole.
/// - Nothing that a [`Breaker`](crate::guard::Breaker) inside refused is repeated: it will say the same for longer.
#[derive(Debug)]
pub struct Retry<S> {
    inner: S,
    config: RetryConfig,
    repeated: Arc<Repeated>,
}

/// How often and when a source is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryConfig {
    /// How often a source is asked in all; 3 by default, at least 1. A stream has so many without a piece in between.
    pub attempts: u32,
    /// The first pause: a random time up to this one, at least its half; 100 ms by default. It doubles with each attempt.
    pub pause: Duration,
    /// The longest pause; 2 s by default.
    pub max_pause: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: 3,
            pause: Duration::from_millis(100),
            max_pause: Duration::from_secs(2),
        }
    }
}

impl RetryConfig {
    fn start(self) -> Attempts {
        let config = self;
        Attempts { config, failed: 0 }
    }
}

/// Counts what is repeated, for the metrics.
#[derive(Debug)]
struct Repeated {
    open: Counter,
    read: Counter,
    stream: Counter,
    remove: Counter,
}

impl Repeated {
    fn new(tier: &str) -> Self {
        let of = |operation: Operation| RETRIES.counter(&[(TIER, tier), (OPERATION, operation.name())]);
        Self {
            open: of(Operation::Open),
            read: of(Operation::Read),
            stream: of(Operation::Stream),
            remove: of(Operation::Remove),
        }
    }
}

/// The attempts at one operation.
#[derive(Debug)]
struct Attempts {
    config: RetryConfig,
    failed: u32,
}

impl Attempts {
    /// Counts the next attempt and pauses before it, or gives the error back when there is none.
    async fn again(&mut self, error: Error, repeated: &Counter) -> Result<()> {
        self.failed += 1;
        let helps = error.kind() == ErrorKind::Unavailable && !was_refused(&error);
        if !(helps || planted::is("any-error-repeated")) || self.failed >= self.config.attempts {
            return Err(error);
        }
        tracing::debug!(%error, failed = self.failed, "asking a source again");
        repeated.increment(1);
        let RetryConfig {
            pause: first,
            max_pause,
            ..
        } = self.config;
        tokio::time::sleep(pause(first, max_pause, self.failed - 1)).await;
        Ok(())
    }
}

impl<S: LayerSource> Retry<S> {
    /// Asks `inner` again when that may help.
    pub fn new(inner: S, config: RetryConfig) -> Self {
        let repeated = Arc::new(Repeated::new(inner.name()));
        Self {
            inner,
            config,
            repeated,
        }
    }

    fn ward(&self) -> Ward {
        Ward {
            config: self.config,
            repeated: Arc::clone(&self.repeated),
            verified: self.inner.capabilities().verified,
        }
    }
}

/// What readers and writers need to know.
#[derive(Clone, Debug)]
struct Ward {
    config: RetryConfig,
    repeated: Arc<Repeated>,
    verified: bool,
}

impl Ward {
    fn reader(&self, inner: Arc<dyn LayerReader>) -> Arc<dyn LayerReader> {
        let ward = self.clone();
        Arc::new(RetryReader { inner, ward })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: LayerSource> LayerSource for Retry<S> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn role(&self) -> Role {
        self.inner.role()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let mut attempts = self.config.start();
        loop {
            match self.inner.open(layer).await {
                Ok(opened) => return Ok(opened.map(|inner| self.ward().reader(inner))),
                Err(error) => attempts.again(error, &self.repeated.open).await?,
            }
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: Tier> Tier for Retry<T> {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        let ward = self.ward();
        Ok(match self.inner.create(layer).await? {
            Claim::Write(inner) => Claim::Write(Box::new(RetryWriter { inner, ward })),
            Claim::Exists(inner) => Claim::Exists(ward.reader(inner)),
        })
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        let mut attempts = self.config.start();
        loop {
            match self.inner.remove(digest).await {
                Ok(removed) => return Ok(removed),
                Err(error) => attempts.again(error, &self.repeated.remove).await?,
            }
        }
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        self.inner.list()
    }
}

#[derive(Debug)]
struct RetryReader {
    inner: Arc<dyn LayerReader>,
    ward: Ward,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LayerReader for RetryReader {
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
        let mut attempts = self.ward.config.start();
        loop {
            match self.inner.read_at(offset, buf).await {
                Ok(read) => return Ok(read),
                Err(error) => attempts.again(error, &self.ward.repeated.read).await?,
            }
        }
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let resuming = Resuming {
            inner: Arc::clone(&self.inner).stream(offset),
            attempts: self.ward.config.start(),
            started: offset,
            reached: offset,
            reader: self,
        };
        stream::try_unfold(resuming, |mut resuming| async move {
            let piece = resuming.next().await?;
            Ok(piece.map(|piece| (piece, resuming)))
        })
        .boxed()
    }
}

/// A stream that has handed out the bytes from `started` to `reached`.
struct Resuming {
    reader: Arc<RetryReader>,
    inner: ByteStream,
    attempts: Attempts,
    started: u64,
    reached: u64,
}

impl Resuming {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.inner.try_next().await {
                Ok(Some(piece)) => {
                    self.reached += piece.len() as u64;
                    self.attempts.failed = 0;
                    return Ok(Some(piece));
                }
                Ok(None) => return Ok(None),
                Err(error) => {
                    // Gone before the pause, as it may hold on to something.
                    self.inner = stream::empty().boxed();
                    if !self.reader.ward.verified
                        && self.reached > self.started
                        && !planted::is("unverified-streams-patched-together")
                    {
                        return Err(error);
                    }
                    self.attempts
                        .again(error, &self.reader.ward.repeated.stream)
                        .await?;
                    self.inner = Arc::clone(&self.reader.inner).stream(self.reached);
                }
            }
        }
    }
}

#[derive(Debug)]
struct RetryWriter {
    inner: Box<dyn LayerWriter>,
    ward: Ward,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LayerWriter for RetryWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.inner.write(bytes).await
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        self.inner.partial().map(|inner| self.ward.reader(inner))
    }

    async fn commit(self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        let committed = self.inner.commit(index).await?;
        Ok(self.ward.reader(committed))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}
