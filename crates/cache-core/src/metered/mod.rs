//! Counting what a source does, from the outside.

mod meter;
mod stats;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use self::meter::Meter;
pub use self::stats::{SourceCounts, SourceStats};
use crate::guard::Operation;
use crate::metrics::{Outcome, Tally};
use crate::runtime::Instant;
use crate::{
    ByteStream, Capabilities, Claim, Digest, LayerDescriptor, LayerIndex, LayerReader, LayerSource,
    LayerStat, LayerWriter, Result, Role, Tier,
};

/// A source or tier that counts what goes through it, and is otherwise the same: in its [`SourceStats`], and in the
/// [metrics](crate::metrics), under its name.
///
/// How long it takes to open, create and commit is measured, and how long a read takes of a source that is not
/// [local](Role::Local). A warm read of one that is takes little longer than reading the clock twice, and is told to the metrics in
/// bundles of 64 or of 1 MiB, with the rest when its reader is dropped. What is cancelled is not counted.
///
/// Bytes that pass two of these on their way count for both, and as moved from afar twice if neither is local: of a cache in a cache, measure the
/// sources or the cache.
#[derive(Debug)]
pub struct Metered<S> {
    inner: S,
    watch: Watch,
}

impl<S: LayerSource> Metered<S> {
    /// Counts what goes through `inner`.
    pub fn new(inner: S) -> Self {
        let local = inner.role() == Role::Local;
        let meter = Arc::new(Meter::new(inner.name(), local));
        let stats = Arc::default();
        Self {
            inner,
            watch: Watch { stats, meter },
        }
    }

    /// The counters, which stay valid when the source is gone.
    pub fn stats(&self) -> Arc<SourceStats> {
        Arc::clone(&self.watch.stats)
    }
}

/// What counts for a source and for all that it hands out.
#[derive(Clone, Debug)]
struct Watch {
    stats: Arc<SourceStats>,
    meter: Arc<Meter>,
}

impl Watch {
    fn reader(&self, inner: Arc<dyn LayerReader>) -> Arc<dyn LayerReader> {
        Arc::new(MeteredReader {
            inner,
            watch: self.clone(),
            tally: Tally::default(),
        })
    }

    /// Counts what came of an operation: of one that went well, what `well` says.
    fn counted<T>(
        &self,
        operation: Operation,
        result: Result<T>,
        well: impl FnOnce(&T) -> Outcome,
    ) -> Result<T> {
        self.outcome(operation, &result, well);
        result
    }

    /// The same of an operation that is measured, and began at `start`.
    fn timed<T>(
        &self,
        operation: Operation,
        start: Instant,
        result: Result<T>,
        well: impl FnOnce(&T) -> Outcome,
    ) -> Result<T> {
        let took = start.elapsed();
        let outcome = self.outcome(operation, &result, well);
        self.meter.time(operation, outcome, took);
        result
    }

    fn outcome<T>(
        &self,
        operation: Operation,
        result: &Result<T>,
        well: impl FnOnce(&T) -> Outcome,
    ) -> Outcome {
        let outcome = match result {
            Ok(value) => well(value),
            Err(error) => {
                let outcome = Outcome::from(error);
                self.stats.failed(outcome);
                outcome
            }
        };
        self.meter.count(operation, outcome);
        outcome
    }

    fn add_read_bytes(&self, bytes: u64) {
        SourceStats::add(&self.stats.read_bytes, bytes);
        self.meter.add_read_bytes(bytes);
    }
}

fn done<T>(_: &T) -> Outcome {
    Outcome::Ok
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: LayerSource> LayerSource for Metered<S> {
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
        let start = Instant::now();
        let opened = self.inner.open(layer).await;
        let opened = self
            .watch
            .timed(Operation::Open, start, opened, |found| match found {
                Some(_) => Outcome::Hit,
                None => Outcome::Miss,
            })?;
        let stats = &self.watch.stats;
        let counter = if opened.is_some() {
            &stats.hits
        } else {
            &stats.misses
        };
        SourceStats::add(counter, 1);
        Ok(opened.map(|reader| self.watch.reader(reader)))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: Tier> Tier for Metered<T> {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        let start = Instant::now();
        let claim = self.inner.create(layer).await;
        let claim = self
            .watch
            .timed(Operation::Create, start, claim, |claim| match claim {
                Claim::Exists(_) => Outcome::Hit,
                Claim::Write(_) => Outcome::Miss,
            })?;
        Ok(match claim {
            Claim::Write(inner) => Claim::Write(Box::new(MeteredWriter {
                inner,
                watch: self.watch.clone(),
            })),
            Claim::Exists(reader) => {
                SourceStats::add(&self.watch.stats.hits, 1);
                Claim::Exists(self.watch.reader(reader))
            }
        })
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        let removed = self.inner.remove(digest).await;
        self.watch.counted(Operation::Remove, removed, done)
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        let watch = self.watch.clone();
        let count = move |stat| watch.counted(Operation::List, stat, done);
        self.inner.list().map(count).boxed()
    }
}

#[derive(Debug)]
struct MeteredReader {
    inner: Arc<dyn LayerReader>,
    watch: Watch,
    /// Reads of a local source.
    tally: Tally,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LayerReader for MeteredReader {
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
        let Watch { stats, meter } = &self.watch;
        let start = meter.is_far().then(Instant::now);
        let read = self.inner.read_at(offset, buf).await;
        match (start, read) {
            (None, Ok(read)) => {
                SourceStats::add(&stats.read_bytes, read as u64);
                if let Some(reads) = self.tally.add(read as u64) {
                    meter.add_reads(reads);
                }
                Ok(read)
            }
            (None, failed) => self.watch.counted(Operation::Read, failed, done),
            (Some(start), read) => {
                let read = self.watch.timed(Operation::Read, start, read, done)?;
                self.watch.add_read_bytes(read as u64);
                Ok(read)
            }
        }
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let watch = self.watch.clone();
        let count = move |piece: Result<Bytes>| {
            let piece = watch.counted(Operation::Stream, piece, done)?;
            watch.add_read_bytes(piece.len() as u64);
            Ok(piece)
        };
        Arc::clone(&self.inner).stream(offset).map(count).boxed()
    }
}

impl Drop for MeteredReader {
    fn drop(&mut self) {
        self.watch.meter.add_reads(self.tally.rest());
    }
}

#[derive(Debug)]
struct MeteredWriter {
    inner: Box<dyn LayerWriter>,
    watch: Watch,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LayerWriter for MeteredWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let written = self.inner.write(bytes).await;
        self.watch.counted(Operation::Write, written, done)
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        self.inner.partial().map(|inner| self.watch.reader(inner))
    }

    async fn commit(self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        let Self { inner, watch } = *self;
        let start = Instant::now();
        let committed = inner.commit(index).await;
        let reader = watch.timed(Operation::Commit, start, committed, done)?;
        SourceStats::add(&watch.stats.filled_layers, 1);
        SourceStats::add(&watch.stats.filled_bytes, index.len());
        watch.meter.add_filled_bytes(index.len());
        Ok(watch.reader(reader))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let Self { inner, watch } = *self;
        let aborted = inner.abort().await;
        watch.counted(Operation::Abort, aborted, done)
    }
}
