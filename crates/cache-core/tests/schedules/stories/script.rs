//! Sources that do what a story says, with a point between any two of their steps.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};

use cache_core::{
    ByteStream, Capabilities, Claim, Digest, Error, LayerDescriptor, LayerIndex, LayerReader, LayerSource,
    LayerStat, LayerWriter, MemoryTier, Result, Role, Tier,
};
use scheduled::{PlannedPanic, sleep};

/// Bytes of a piece of a stream.
const PIECE: usize = 2;

pub(super) fn descriptor(bytes: &[u8]) -> LayerDescriptor {
    LayerDescriptor::new(Digest::sha256_of(b"the blob")).with_diff_id(Digest::sha256_of(bytes))
}

pub(super) fn cut() -> Error {
    Error::unavailable("the connection was cut")
}

/// A moment at which others may act.
async fn moment() {
    sleep(Duration::ZERO).await;
}

/// What comes of one opening; `Serve` when the script is over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Serve,
    Absent,
    /// Reads and streams fail behind this offset.
    Cut(usize),
    /// They panic there.
    Panic(usize),
    /// This byte is wrong.
    Flip(usize),
}

/// A source that is only read: an origin, or a far tier.
#[derive(Debug)]
pub(super) struct Origin {
    name: &'static str,
    role: Role,
    capabilities: Capabilities,
    layer: Bytes,
    acts: Mutex<VecDeque<Act>>,
    opens: AtomicUsize,
    streams: Arc<AtomicUsize>,
}

impl Origin {
    pub(super) fn new(name: &'static str, layer: &'static [u8], acts: &[Act]) -> Arc<Self> {
        Self::with(Role::Origin, Capabilities::NONE, name, layer, acts)
    }

    pub(super) fn far(name: &'static str, layer: &'static [u8], acts: &[Act]) -> Arc<Self> {
        let capabilities = Capabilities::NONE.with_verified();
        Self::with(Role::Shared, capabilities, name, layer, acts)
    }

    fn with(
        role: Role,
        capabilities: Capabilities,
        name: &'static str,
        layer: &'static [u8],
        acts: &[Act],
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            role,
            capabilities,
            layer: Bytes::from_static(layer),
            acts: Mutex::new(acts.iter().copied().collect()),
            opens: AtomicUsize::new(0),
            streams: Arc::default(),
        })
    }

    /// How often it was asked for the layer.
    pub(super) fn opens(&self) -> usize {
        self.opens.load(Ordering::SeqCst)
    }

    /// How often the layer was streamed.
    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl LayerSource for Origin {
    fn name(&self) -> &str {
        self.name
    }

    fn role(&self) -> Role {
        self.role
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn open(&self, _layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        self.opens.fetch_add(1, Ordering::SeqCst);
        moment().await;
        let act = self.acts.lock().unwrap().pop_front().unwrap_or(Act::Serve);
        let mut layer = self.layer.to_vec();
        let end = match act {
            Act::Absent => return Ok(None),
            Act::Cut(at) | Act::Panic(at) => at,
            Act::Serve => layer.len(),
            Act::Flip(at) => {
                layer[at] ^= 0x80;
                layer.len()
            }
        };
        Ok(Some(Arc::new(Opening {
            role: self.role,
            streams: Arc::clone(&self.streams),
            act,
            layer: layer.into(),
            end,
        })))
    }
}

#[derive(Debug)]
struct Opening {
    role: Role,
    streams: Arc<AtomicUsize>,
    act: Act,
    layer: Bytes,
    end: usize,
}

impl Opening {
    /// What comes behind the bytes that are served.
    fn end(&self) -> Option<Error> {
        match self.act {
            Act::Cut(_) => Some(cut()),
            Act::Panic(_) => PlannedPanic::throw(),
            _ => None,
        }
    }
}

#[async_trait]
impl LayerReader for Opening {
    fn len(&self) -> Option<u64> {
        None
    }

    fn random_access(&self) -> bool {
        self.role != Role::Origin
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        moment().await;
        let start = self.layer.len().min(offset as usize);
        let end = self.layer.len().min(start + buf.len());
        if end > self.end
            && let Some(error) = self.end()
        {
            return Err(error);
        }
        buf[..end - start].copy_from_slice(&self.layer[start..end]);
        Ok(end - start)
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        self.streams.fetch_add(1, Ordering::SeqCst);
        let start = self.end.min(offset as usize);
        let end = self.end;
        let pieces = stream::unfold(Some((self, start)), move |state| async move {
            let (opening, start) = state?;
            moment().await;
            if start == end {
                return opening.end().map(|error| (Err(error), None));
            }
            let next = end.min(start + PIECE);
            Some((Ok(opening.layer.slice(start..next)), Some((opening, next))))
        });
        pieces.boxed()
    }
}

/// A tier that takes a moment for everything, and fails as a story says.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    pub(super) inner: MemoryTier,
    read_while_write: bool,
    failing_commits: Arc<AtomicUsize>,
    full_at: usize,
}

impl Shelf {
    /// Like a local disk.
    pub(super) fn local(name: &str) -> Self {
        Self {
            inner: MemoryTier::new(name, 1 << 20),
            read_while_write: true,
            failing_commits: Arc::default(),
            full_at: usize::MAX,
        }
    }

    /// Like a store that workers share: written in the background.
    pub(super) fn shared(name: &str) -> Self {
        Self {
            read_while_write: false,
            ..Self::local(name)
        }
    }

    /// The first `commits` fail.
    pub(super) fn failing_commits(self, commits: usize) -> Self {
        self.failing_commits.store(commits, Ordering::SeqCst);
        self
    }

    /// No writer gets more bytes in than this.
    pub(super) fn full_at(self, full_at: usize) -> Self {
        Self { full_at, ..self }
    }

    pub(super) fn used(&self) -> usize {
        self.inner.used_bytes() as usize
    }
}

#[async_trait]
impl LayerSource for Shelf {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn role(&self) -> Role {
        if self.read_while_write {
            Role::Local
        } else {
            Role::Shared
        }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.read_while_write = self.read_while_write;
        capabilities
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        moment().await;
        self.inner.open(layer).await
    }
}

#[async_trait]
impl Tier for Shelf {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        moment().await;
        Ok(match self.inner.create(layer).await? {
            Claim::Write(inner) => Claim::Write(Box::new(ShelfWriter {
                inner,
                left: self.full_at,
                shelf: self.clone(),
            })),
            exists @ Claim::Exists(_) => exists,
        })
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        moment().await;
        self.inner.remove(digest).await
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        self.inner.list()
    }
}

#[derive(Debug)]
struct ShelfWriter {
    inner: Box<dyn LayerWriter>,
    left: usize,
    shelf: Shelf,
}

#[async_trait]
impl LayerWriter for ShelfWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let left = self.left.checked_sub(bytes.len());
        self.left = left.ok_or_else(|| Error::unavailable("the tier is full"))?;
        self.inner.write(bytes).await
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        self.inner.partial().filter(|_| self.shelf.read_while_write)
    }

    async fn commit(self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        moment().await;
        let failing = &self.shelf.failing_commits;
        let left = failing.load(Ordering::SeqCst);
        if left > 0 {
            failing.store(left - 1, Ordering::SeqCst);
            return Err(Error::unavailable("not committed"));
        }
        self.inner.commit(index).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}
