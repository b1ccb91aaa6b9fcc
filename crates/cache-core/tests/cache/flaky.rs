//! Sources that fail at first, and count what that costs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use tokio::sync::Semaphore;

use super::*;
use cache_core::{ByteStream, Capabilities, Digest, LayerIndex, LayerStat, LayerWriter, Role};

/// An origin that counts streams and reads alike: each is one inflate.
#[derive(Debug)]
pub(super) struct Counting {
    pub(super) name: &'static str,
    pub(super) bytes: Bytes,
    pub(super) inflates: Arc<AtomicUsize>,
    /// So many streams fail before their first byte.
    pub(super) fail_streams: Arc<AtomicUsize>,
    /// The one repository that it has.
    pub(super) only: Option<&'static str>,
    /// Whether it takes a moment to open a layer.
    pub(super) delay: bool,
}

impl Counting {
    pub(super) fn new(bytes: &Bytes) -> Self {
        Self {
            name: "origin",
            bytes: bytes.clone(),
            inflates: Arc::default(),
            fail_streams: Arc::default(),
            only: None,
            delay: false,
        }
    }
}

#[async_trait]
impl LayerSource for Counting {
    fn name(&self) -> &str {
        self.name
    }

    fn role(&self) -> Role {
        Role::Origin
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        if self.delay {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        if self
            .only
            .is_some_and(|only| layer.repository.as_deref() != Some(only))
        {
            return Ok(None);
        }
        Ok(Some(Arc::new(CountingReader {
            bytes: self.bytes.clone(),
            inflates: Arc::clone(&self.inflates),
            fail_streams: Arc::clone(&self.fail_streams),
        })))
    }
}

#[derive(Debug)]
struct CountingReader {
    bytes: Bytes,
    inflates: Arc<AtomicUsize>,
    fail_streams: Arc<AtomicUsize>,
}

#[async_trait]
impl LayerReader for CountingReader {
    fn len(&self) -> Option<u64> {
        None
    }

    fn random_access(&self) -> bool {
        false
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.inflates.fetch_add(1, Ordering::SeqCst);
        let start = self.bytes.len().min(offset as usize);
        let end = self.bytes.len().min(start + buf.len());
        buf[..end - start].copy_from_slice(&self.bytes[start..end]);
        Ok(end - start)
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        self.inflates.fetch_add(1, Ordering::SeqCst);
        if self.fail_streams.load(Ordering::SeqCst) > 0 {
            self.fail_streams.fetch_sub(1, Ordering::SeqCst);
            return stream::iter([Err(cut())]).boxed();
        }
        let rest = self.bytes.slice(offset as usize..);
        let pieces: Vec<_> = rest
            .chunks(100_000)
            .map(|piece| Ok(rest.slice_ref(piece)))
            .collect();
        stream::iter(pieces).boxed()
    }
}

/// A tier whose first readers fail behind `fail_from`, as those of a copy that is damaged or gone.
#[derive(Debug)]
pub(super) struct Flaky {
    pub(super) inner: MemoryTier,
    /// So many openings give a reader that fails.
    pub(super) bad_opens: AtomicUsize,
    pub(super) error: Error,
    pub(super) fail_from: u64,
    pub(super) removes: AtomicUsize,
    /// A failing read takes a permit first.
    pub(super) gate: Arc<Semaphore>,
    /// Reads that have begun to fail.
    pub(super) reads: Arc<AtomicUsize>,
    /// Whether what is being written cannot be read.
    pub(super) bad_partial: AtomicBool,
}

impl Flaky {
    pub(super) fn new(bad_opens: usize, error: Error, fail_from: u64) -> Arc<Self> {
        Self::gated(bad_opens, error, fail_from, Semaphore::MAX_PERMITS)
    }

    /// With a gate that lets only `permits` reads fail.
    pub(super) fn gated(bad_opens: usize, error: Error, fail_from: u64, permits: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryTier::new("flaky", 1 << 30),
            bad_opens: bad_opens.into(),
            error,
            fail_from,
            removes: 0.into(),
            gate: Arc::new(Semaphore::new(permits)),
            reads: Arc::default(),
            bad_partial: false.into(),
        })
    }

    fn bad(&self, inner: Arc<dyn LayerReader>, fail_from: u64) -> Arc<dyn LayerReader> {
        let (error, gate, reads) = (
            self.error.clone(),
            Arc::clone(&self.gate),
            Arc::clone(&self.reads),
        );
        Arc::new(FlakyReader {
            inner,
            error,
            fail_from,
            gate,
            reads,
        })
    }

    /// Puts the right bytes into the tier.
    pub(super) async fn seed(&self, layer: &LayerDescriptor, bytes: &Bytes) {
        put(&self.inner, layer, bytes, bytes).await;
    }
}

#[derive(Debug)]
struct FlakyReader {
    inner: Arc<dyn LayerReader>,
    error: Error,
    fail_from: u64,
    gate: Arc<Semaphore>,
    reads: Arc<AtomicUsize>,
}

#[async_trait]
impl LayerReader for FlakyReader {
    fn len(&self) -> Option<u64> {
        self.inner.len()
    }

    fn random_access(&self) -> bool {
        self.inner.random_access()
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if offset + buf.len() as u64 > self.fail_from {
            self.reads.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            return Err(self.error.clone());
        }
        self.inner.read_at(offset, buf).await
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        Arc::clone(&self.inner).stream(offset)
    }
}

#[async_trait]
impl LayerSource for Flaky {
    fn name(&self) -> &str {
        "flaky"
    }

    fn role(&self) -> Role {
        self.inner.role()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let Some(inner) = self.inner.open(layer).await? else {
            return Ok(None);
        };
        if self.bad_opens.load(Ordering::SeqCst) == 0 {
            return Ok(Some(inner));
        }
        self.bad_opens.fetch_sub(1, Ordering::SeqCst);
        Ok(Some(self.bad(inner, self.fail_from)))
    }
}

#[async_trait]
impl Tier for Flaky {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        Ok(match self.inner.create(layer).await? {
            Claim::Write(inner) if self.bad_partial.load(Ordering::SeqCst) => {
                let partial = self.bad(inner.partial().unwrap(), 0);
                Claim::Write(Box::new(FlakyWriter { inner, partial }))
            }
            claim => claim,
        })
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        let removed = self.inner.remove(digest).await?;
        self.removes.fetch_add(usize::from(removed), Ordering::SeqCst);
        Ok(removed)
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        self.inner.list()
    }
}

#[derive(Debug)]
struct FlakyWriter {
    inner: Box<dyn LayerWriter>,
    partial: Arc<dyn LayerReader>,
}

#[async_trait]
impl LayerWriter for FlakyWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.inner.write(bytes).await
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        Some(Arc::clone(&self.partial))
    }

    async fn commit(self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        self.inner.commit(index).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}
