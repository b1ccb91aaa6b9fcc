//! A source that does what a test says.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;

use cache_core::{
    ByteStream, Capabilities, Claim, Digest, Error, LayerDescriptor, LayerReader, LayerSource, LayerStat,
    LayerWriter, Result, Role, Tier,
};

/// Piece of a scripted stream in bytes.
pub(super) const PIECE: usize = 1000;

pub(super) fn layer_bytes(len: usize) -> Bytes {
    (0..len)
        .map(|i| (i % 251) as u8 ^ (i / 251) as u8)
        .collect::<Vec<_>>()
        .into()
}

pub(super) fn descriptor(bytes: &[u8]) -> LayerDescriptor {
    LayerDescriptor::new(Digest::sha256_of(b"the blob")).with_diff_id(Digest::sha256_of(bytes))
}

/// What a source does at one opening; `Serve` when the script is over.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Serve,
    Absent,
    Fail(Error),
    Panic,
    /// The reads and streams of this opening fail once they reach this offset.
    CutAt(usize, Error),
    /// This byte is wrong.
    Flip(usize),
}

/// An origin, or a far tier that is only read.
#[derive(Debug)]
pub(super) struct Script {
    name: &'static str,
    role: Role,
    capabilities: Capabilities,
    layer: Bytes,
    acts: Mutex<VecDeque<Act>>,
    pub(super) opens: AtomicUsize,
    pub(super) streams: Arc<AtomicUsize>,
    /// Each piece of a stream takes a permit: a closed gate holds the stream.
    pub(super) gate: Arc<Semaphore>,
}

impl Script {
    pub(super) fn origin(
        name: &'static str,
        layer: &Bytes,
        acts: impl IntoIterator<Item = Act>,
    ) -> Arc<Self> {
        Self::new(name, Role::Origin, Capabilities::NONE, layer, acts)
    }

    pub(super) fn far(name: &'static str, layer: &Bytes, acts: impl IntoIterator<Item = Act>) -> Arc<Self> {
        let capabilities = Capabilities::NONE.with_verified();
        Self::new(name, Role::Shared, capabilities, layer, acts)
    }

    /// A far tier that does not verify what it hands out.
    pub(super) fn unverified(
        name: &'static str,
        layer: &Bytes,
        acts: impl IntoIterator<Item = Act>,
    ) -> Arc<Self> {
        Self::new(name, Role::Shared, Capabilities::NONE, layer, acts)
    }

    fn new(
        name: &'static str,
        role: Role,
        capabilities: Capabilities,
        layer: &Bytes,
        acts: impl IntoIterator<Item = Act>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            role,
            capabilities,
            layer: layer.clone(),
            acts: Mutex::new(acts.into_iter().collect()),
            opens: AtomicUsize::new(0),
            streams: Arc::default(),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        })
    }

    /// With a gate that lets only `pieces` pass.
    pub(super) fn gated(mut self: Arc<Self>, pieces: usize) -> Arc<Self> {
        Arc::get_mut(&mut self).unwrap().gate = Arc::new(Semaphore::new(pieces));
        self
    }

    /// Opens the gate, after everybody else had the time to arrive at it: for more streams than there should be, so that
    /// one too many is seen and not waited for.
    pub(super) async fn release_late(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.gate.add_permits(1_000_000);
    }

    pub(super) fn opens(&self) -> usize {
        self.opens.load(Ordering::Relaxed)
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl LayerSource for Script {
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
        self.opens.fetch_add(1, Ordering::Relaxed);
        let act = self.acts.lock().unwrap().pop_front().unwrap_or(Act::Serve);
        let mut layer = self.layer.clone();
        let mut cut = None;
        match act {
            Act::Serve => {}
            Act::Absent => return Ok(None),
            Act::Fail(error) => return Err(error.at(self.name, "open")),
            Act::Panic => panic!("the script says so"),
            Act::CutAt(offset, error) => cut = Some((offset, error)),
            Act::Flip(at) => {
                let mut bytes = layer.to_vec();
                bytes[at] ^= 0x80;
                layer = bytes.into();
            }
        }
        let (streams, gate) = (Arc::clone(&self.streams), Arc::clone(&self.gate));
        Ok(Some(Arc::new(ScriptReader {
            layer,
            random_access: self.role != Role::Origin,
            cut,
            streams,
            gate,
        })))
    }
}

#[derive(Debug)]
struct ScriptReader {
    layer: Bytes,
    random_access: bool,
    cut: Option<(usize, Error)>,
    streams: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

#[async_trait]
impl LayerReader for ScriptReader {
    fn len(&self) -> Option<u64> {
        None
    }

    fn random_access(&self) -> bool {
        self.random_access
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let start = self.layer.len().min(offset as usize);
        let end = self.layer.len().min(start + buf.len());
        if let Some((_, error)) = self.cut.as_ref().filter(|(at, _)| end > *at) {
            return Err(error.clone());
        }
        buf[..end - start].copy_from_slice(&self.layer[start..end]);
        Ok(end - start)
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        self.streams.fetch_add(1, Ordering::Relaxed);
        let end = self.cut.as_ref().map_or(self.layer.len(), |(at, _)| *at);
        let served = self.layer.slice((offset as usize).min(end)..end);
        let pieces: Vec<_> = served
            .chunks(PIECE)
            .map(|piece| Ok(served.slice_ref(piece)))
            .collect();
        let failure = self.cut.clone().map(|(_, error)| Err(error));
        let gate = Arc::clone(&self.gate);
        stream::iter(pieces.into_iter().chain(failure))
            .then(move |piece| {
                let gate = Arc::clone(&gate);
                async move {
                    gate.acquire().await.unwrap().forget();
                    piece
                }
            })
            .boxed()
    }
}

/// A tier whose claims and writes fail as a test says, over one that works.
#[derive(Debug)]
pub(super) struct Faulty<T> {
    pub(super) inner: T,
    /// Writers fail once they have this many bytes.
    pub(super) full_at: u64,
    /// Without it the tier is a shared one.
    pub(super) read_while_write: bool,
}

impl<T> Faulty<T> {
    /// A shared tier with which nothing is wrong.
    pub(super) fn shared(inner: T) -> Arc<Self> {
        Arc::new(Self {
            inner,
            full_at: u64::MAX,
            read_while_write: false,
        })
    }
}

#[async_trait]
impl<T: Tier> LayerSource for Faulty<T> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn role(&self) -> Role {
        if self.read_while_write {
            self.inner.role()
        } else {
            Role::Shared
        }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.read_while_write &= self.read_while_write;
        capabilities
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        self.inner.open(layer).await
    }
}

#[async_trait]
impl<T: Tier> Tier for Faulty<T> {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        Ok(match self.inner.create(layer).await? {
            Claim::Write(inner) => Claim::Write(Box::new(FaultyWriter {
                inner,
                left: self.full_at,
            })),
            exists @ Claim::Exists(_) => exists,
        })
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        self.inner.remove(digest).await
    }

    fn list(&self) -> futures_util::stream::BoxStream<'static, Result<LayerStat>> {
        self.inner.list()
    }
}

#[derive(Debug)]
struct FaultyWriter {
    inner: Box<dyn LayerWriter>,
    left: u64,
}

#[async_trait]
impl LayerWriter for FaultyWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| Error::unavailable("the tier is full"))?;
        self.inner.write(bytes).await
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        self.inner.partial()
    }

    async fn commit(self: Box<Self>, index: &cache_core::LayerIndex) -> Result<Arc<dyn LayerReader>> {
        self.inner.commit(index).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}
