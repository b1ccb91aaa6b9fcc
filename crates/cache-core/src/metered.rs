//! Counting what a source does, from the outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::{
    ByteStream, Capabilities, Claim, Digest, ErrorKind, LayerDescriptor, LayerIndex, LayerReader,
    LayerSource, LayerStat, LayerWriter, Result, Tier,
};

/// Counters of one source or tier.
#[derive(Debug, Default)]
pub struct SourceStats {
    hits: AtomicU64,
    misses: AtomicU64,
    unavailable: AtomicU64,
    corrupt: AtomicU64,
    read_bytes: AtomicU64,
    filled_layers: AtomicU64,
    filled_bytes: AtomicU64,
}

/// [`SourceStats`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceCounts {
    /// Layers opened.
    pub hits: u64,
    /// Layers known to be absent.
    pub misses: u64,
    /// Operations that failed without telling anything about the layer.
    pub unavailable: u64,
    /// Operations that found wrong bytes, or others than the image claims.
    pub corrupt: u64,
    /// Bytes read, by reads and by streams.
    pub read_bytes: u64,
    /// Layers committed.
    pub filled_layers: u64,
    /// Bytes of the layers committed.
    pub filled_bytes: u64,
}

impl SourceStats {
    /// All counters now. They are read one after another: a counter may be ahead of another by what is under way.
    pub fn counts(&self) -> SourceCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SourceCounts {
            hits: get(&self.hits),
            misses: get(&self.misses),
            unavailable: get(&self.unavailable),
            corrupt: get(&self.corrupt),
            read_bytes: get(&self.read_bytes),
            filled_layers: get(&self.filled_layers),
            filled_bytes: get(&self.filled_bytes),
        }
    }

    fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    /// Counts the error of a result. [`ErrorKind::Invalid`] and [`ErrorKind::NotFound`] say nothing about the source.
    fn seen<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            match error.kind() {
                ErrorKind::Unavailable | ErrorKind::Permanent => Self::add(&self.unavailable, 1),
                ErrorKind::Corrupt | ErrorKind::Disputed => Self::add(&self.corrupt, 1),
                ErrorKind::NotFound | ErrorKind::Invalid => {}
            }
        }
        result
    }
}

/// A source or tier that counts what goes through it, and is otherwise the same.
#[derive(Debug)]
pub struct Metered<S> {
    inner: S,
    stats: Arc<SourceStats>,
}

impl<S> Metered<S> {
    /// Counts what goes through `inner`.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            stats: Arc::default(),
        }
    }

    /// The counters, which stay valid when the source is gone.
    pub fn stats(&self) -> Arc<SourceStats> {
        Arc::clone(&self.stats)
    }

    fn reader(&self, inner: Arc<dyn LayerReader>) -> Arc<dyn LayerReader> {
        Arc::new(MeteredReader {
            inner,
            stats: self.stats(),
        })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: LayerSource> LayerSource for Metered<S> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let opened = self.stats.seen(self.inner.open(layer).await)?;
        let counter = if opened.is_some() {
            &self.stats.hits
        } else {
            &self.stats.misses
        };
        SourceStats::add(counter, 1);
        Ok(opened.map(|reader| self.reader(reader)))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: Tier> Tier for Metered<T> {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        Ok(match self.stats.seen(self.inner.create(layer).await)? {
            Claim::Write(inner) => Claim::Write(Box::new(MeteredWriter {
                inner,
                stats: self.stats(),
            })),
            Claim::Exists(reader) => {
                SourceStats::add(&self.stats.hits, 1);
                Claim::Exists(self.reader(reader))
            }
        })
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        self.stats.seen(self.inner.remove(digest).await)
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        let stats = self.stats();
        self.inner.list().map(move |stat| stats.seen(stat)).boxed()
    }
}

#[derive(Debug)]
struct MeteredReader {
    inner: Arc<dyn LayerReader>,
    stats: Arc<SourceStats>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LayerReader for MeteredReader {
    fn len(&self) -> Option<u64> {
        self.inner.len()
    }

    fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let read = self.stats.seen(self.inner.read_at(offset, buf).await)?;
        SourceStats::add(&self.stats.read_bytes, read as u64);
        Ok(read)
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let stats = Arc::clone(&self.stats);
        let count = move |piece: Result<Bytes>| {
            let piece = stats.seen(piece)?;
            SourceStats::add(&stats.read_bytes, piece.len() as u64);
            Ok(piece)
        };
        Arc::clone(&self.inner).stream(offset).map(count).boxed()
    }
}

#[derive(Debug)]
struct MeteredWriter {
    inner: Box<dyn LayerWriter>,
    stats: Arc<SourceStats>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LayerWriter for MeteredWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.stats.seen(self.inner.write(bytes).await)
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        let inner = self.inner.partial()?;
        Some(Arc::new(MeteredReader {
            inner,
            stats: Arc::clone(&self.stats),
        }))
    }

    async fn commit(self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        let Self { inner, stats } = *self;
        let reader = stats.seen(inner.commit(index).await)?;
        SourceStats::add(&stats.filled_layers, 1);
        SourceStats::add(&stats.filled_bytes, index.len());
        Ok(Arc::new(MeteredReader { inner: reader, stats }))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.stats.seen(self.inner.abort().await)
    }
}
