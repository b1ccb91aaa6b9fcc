//! A tier.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cache_core::{
    Capabilities, Claim, Digest, Error, LayerDescriptor, LayerIndex, LayerReader, LayerSource, LayerStat,
    LayerWriter, Result, Tier,
};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::reader::{Content, SimReader};
use super::script::{Play, Script, Step, Trouble, answer};

/// What a tier can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TierKind {
    /// As a local disk: read while it is written, verified.
    Local,
    /// As a shared store that verifies each chunk.
    Shared,
    /// As a shared store that verifies nothing in a stream.
    Unverified,
}

/// A tier that keeps what it has committed through restarts of whoever uses it. Clones are the same tier.
#[derive(Clone, Debug)]
pub struct SimTier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: &'static str,
    kind: TierKind,
    layers: Mutex<HashMap<Digest, Bytes>>,
    writers: Arc<AtomicUsize>,
    play: Arc<Play>,
}

impl SimTier {
    /// An empty tier.
    pub fn new(name: &'static str, kind: TierKind, script: Script) -> Self {
        Self(Arc::new(Inner {
            name,
            kind,
            layers: Mutex::default(),
            writers: Arc::default(),
            play: Arc::new(Play::new(script)),
        }))
    }

    /// Puts a layer there, as somebody else would.
    pub fn put(&self, digest: Digest, bytes: Bytes) {
        self.0.lock().insert(digest, bytes);
    }

    /// Takes a layer away, as somebody else would.
    pub fn evict(&self, digest: &Digest) {
        self.0.lock().remove(digest);
    }

    /// What it has committed of a layer.
    pub fn holds(&self, digest: &Digest) -> Option<Bytes> {
        self.0.lock().get(digest).cloned()
    }

    /// How many writers are neither committed, aborted nor dropped.
    pub fn writers(&self) -> usize {
        self.0.writers.load(Ordering::Relaxed)
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        self.0.play.heal();
    }

    fn place(&self, operation: &'static str, digest: &Digest) -> impl Fn(Error) -> Error + use<> {
        let (name, digest) = (self.0.name, *digest);
        move |error| error.at(name, operation).of_layer(&digest)
    }

    fn reader(&self, digest: Digest, bytes: &Bytes) -> Arc<dyn LayerReader> {
        Arc::new(SimReader {
            name: self.0.name,
            digest,
            play: Arc::clone(&self.0.play),
            content: Stored {
                tier: self.clone(),
                digest,
            },
            len: Some(bytes.len() as u64),
            verified: self.0.kind != TierKind::Unverified,
        })
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Bytes>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LayerSource for SimTier {
    fn name(&self) -> &str {
        self.0.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::NONE.with_random_access().with_list();
        capabilities.verified = self.0.kind != TierKind::Unverified;
        capabilities.read_while_write = self.0.kind == TierKind::Local;
        capabilities
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let place = self.place("open", &layer.digest);
        let trouble = self.0.play.call(Step::Open).await.map_err(&place)?;
        if trouble == Some(Trouble::Vanish) {
            self.evict(&layer.digest);
        }
        let found = self.holds(&layer.digest);
        answer(trouble, found.map(|bytes| self.reader(layer.digest, &bytes))).map_err(place)
    }
}

#[async_trait]
impl Tier for SimTier {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        let place = self.place("create", &layer.digest);
        let trouble = self.0.play.call(Step::Create).await.map_err(&place)?;
        let claim = match self.holds(&layer.digest) {
            Some(bytes) => Claim::Exists(self.reader(layer.digest, &bytes)),
            None => {
                self.0.writers.fetch_add(1, Ordering::Relaxed);
                Claim::Write(Box::new(SimWriter {
                    tier: self.clone(),
                    digest: layer.digest,
                    written: Arc::default(),
                    broken: false,
                }))
            }
        };
        answer(trouble, claim).map_err(place)
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        let place = self.place("remove", digest);
        let trouble = self.0.play.call(Step::Remove).await.map_err(&place)?;
        let removed = self.0.lock().remove(digest).is_some();
        answer(trouble, removed).map_err(place)
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        let stat = |(digest, bytes): (&Digest, &Bytes)| Ok(LayerStat::new(*digest, bytes.len() as u64));
        let stats: Vec<_> = self.0.lock().iter().map(stat).collect();
        stream::iter(stats).boxed()
    }
}

#[derive(Debug)]
struct Stored {
    tier: SimTier,
    digest: Digest,
}

impl Content for Stored {
    fn bytes(&self) -> Option<Bytes> {
        self.tier.holds(&self.digest)
    }

    fn vanish(&self) {
        self.tier.evict(&self.digest);
    }

    fn streaming(&self) -> Box<dyn Send> {
        Box::new(())
    }
}

#[derive(Debug)]
struct SimWriter {
    tier: SimTier,
    digest: Digest,
    written: Arc<Mutex<BytesMut>>,
    broken: bool,
}

impl SimWriter {
    fn written(&self) -> MutexGuard<'_, BytesMut> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LayerWriter for SimWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let place = self.tier.place("write", &self.digest);
        if std::mem::replace(&mut self.broken, true) {
            return Err(place(Error::permanent("a writer that failed was written to")));
        }
        let trouble = self.tier.0.play.call(Step::Write).await.map_err(&place)?;
        self.written().extend_from_slice(&bytes);
        answer(trouble, ()).map_err(place)?;
        self.broken = false;
        Ok(())
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        let partial = Partial(Arc::clone(&self.written));
        (self.tier.0.kind == TierKind::Local).then(|| Arc::new(partial) as _)
    }

    async fn commit(self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        let place = self.tier.place("commit", &self.digest);
        let trouble = self.tier.0.play.call(Step::Commit).await.map_err(&place)?;
        let bytes = self.written().clone().freeze();
        assert!(
            !self.broken
                && index.len() == bytes.len() as u64
                && *index.diff_id() == Digest::sha256_of(&bytes),
            "a commit of what was not written"
        );
        self.tier.put(self.digest, bytes.clone());
        answer(trouble, self.tier.reader(self.digest, &bytes)).map_err(place)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Drop for SimWriter {
    fn drop(&mut self) {
        self.tier.0.writers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is written so far.
#[derive(Debug)]
struct Partial(Arc<Mutex<BytesMut>>);

#[async_trait]
impl LayerReader for Partial {
    fn len(&self) -> Option<u64> {
        None
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = written.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        let len = buf.len().min(written.len() - start);
        buf[..len].copy_from_slice(&written[start..start + len]);
        Ok(len)
    }

    fn stream(self: Arc<Self>, _offset: u64) -> cache_core::ByteStream {
        let error = Error::unavailable("the layer is still being written");
        stream::once(std::future::ready(Err(error))).boxed()
    }
}
