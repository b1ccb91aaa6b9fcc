//! A simulated tier, and how it is written.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cache_core::lease::Leases;
use cache_core::{
    ByteStream, Capabilities, Claim, Digest, Error, LayerDescriptor, LayerIndex, LayerReader, LayerSource,
    LayerStat, LayerWriter, Result, Role, Tier,
};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::time::{Instant, sleep};

use super::board::Board;
use super::ledger::{Entered, Ledger};
use super::process::Process;
use super::reader::{Content, SimReader};
use super::script::{Play, Script, Step, Trouble, answer};

/// What a tier can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TierKind {
    /// As a local disk: read while it is written by one process of the host at a time, verified.
    Local,
    /// As a shared store that verifies each chunk.
    Shared,
    /// As a shared store that verifies nothing in a stream.
    Unverified,
}

/// How long whoever fills a local tier may make no progress before others wait no longer.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
/// How long a lease lasts: short, so that one that is not renewed is soon lost.
const LEASE_LIFETIME: Duration = Duration::from_secs(3);
/// The pause between two looks at a layer that is being filled.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// A tier that keeps what it has committed through restarts of whoever uses it. Clones are the same tier.
#[derive(Clone, Debug)]
pub struct SimTier {
    pub(super) inner: Arc<Inner>,
    pub(super) process: Process,
    pub(super) lease_lifetime: Duration,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) name: &'static str,
    pub(super) kind: TierKind,
    layers: Mutex<Layers>,
    pub(super) writers: Arc<Ledger>,
    pub(super) wrong_commits: AtomicUsize,
    streams: Arc<Ledger>,
    pub(super) play: Arc<Play>,
    pub(super) board: Board,
}

#[derive(Debug, Default)]
struct Layers {
    committed: HashMap<Digest, Committed>,
    /// Were taken away at some time.
    lost: HashSet<Digest>,
    /// Who has committed what so far.
    commits: Vec<(Process, Digest)>,
}

#[derive(Debug)]
struct Committed {
    bytes: Bytes,
    synced: bool,
}

impl Layers {
    fn put(&mut self, digest: Digest, bytes: Bytes, synced: bool) {
        let committed = self.committed.entry(digest).or_insert(Committed {
            bytes: bytes.clone(),
            synced,
        });
        // What was there already is at least as durable.
        committed.synced |= synced;
        committed.bytes = bytes;
    }
}

impl SimTier {
    /// An empty tier.
    pub fn new(name: &'static str, kind: TierKind, script: Script) -> Self {
        Self::with_leases(name, kind, script, Script::default())
    }

    /// An empty tier, and what goes wrong with its [leases](Self::leases).
    pub fn with_leases(name: &'static str, kind: TierKind, script: Script, leases: Script) -> Self {
        Self {
            inner: Arc::new(Inner {
                name,
                kind,
                layers: Mutex::default(),
                writers: Arc::default(),
                wrong_commits: AtomicUsize::new(0),
                streams: Arc::default(),
                play: Arc::new(Play::new(script)),
                board: Board::new(leases),
            }),
            process: Process::on(0),
            lease_lifetime: LEASE_LIFETIME,
        }
    }

    /// The same tier, as this process uses it.
    #[must_use]
    pub fn used_by(&self, process: &Process) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            process: process.clone(),
            lease_lifetime: self.lease_lifetime,
        }
    }

    /// The same tier, with leases of its own lifetime for whoever uses this handle.
    #[must_use]
    pub fn with_lease_lifetime(mut self, lifetime: Duration) -> Self {
        self.lease_lifetime = lifetime;
        self
    }

    /// Leases on the layers that are published here.
    pub fn leases(&self) -> Arc<dyn Leases> {
        Arc::new(self.clone())
    }

    /// Puts a layer there, as somebody else would.
    pub fn put(&self, digest: Digest, bytes: Bytes) {
        self.lock().put(digest, bytes, true);
    }

    pub(super) fn commit(&self, digest: Digest, bytes: Bytes, synced: bool) {
        let mut layers = self.lock();
        layers.put(digest, bytes, synced);
        layers.commits.push((self.process.clone(), digest));
    }

    /// Takes a layer away, as somebody else would; whether it was there.
    pub fn evict(&self, digest: &Digest) -> bool {
        let mut layers = self.lock();
        layers.lost.insert(*digest);
        layers.committed.remove(digest).is_some()
    }

    /// Its host goes down, for longer than any lease lasts: what was not synced is lost.
    pub fn crash(&self) {
        let mut layers = self.lock();
        let lost: Vec<_> = layers
            .committed
            .extract_if(|_, committed| !committed.synced)
            .map(|(digest, _)| digest)
            .collect();
        layers.lost.extend(lost);
        drop(layers);
        self.inner.board.forget();
    }

    /// What it has committed of a layer.
    pub fn holds(&self, digest: &Digest) -> Option<Bytes> {
        let layers = self.lock();
        layers
            .committed
            .get(digest)
            .map(|committed| committed.bytes.clone())
    }

    /// Whether a layer was ever taken away from here.
    pub(super) fn has_lost(&self, digest: &Digest) -> bool {
        self.lock().lost.contains(digest)
    }

    /// How many writers are neither committed, aborted nor dropped.
    pub fn writers(&self) -> usize {
        self.inner.writers.count(|_, _| true)
    }

    /// How often somebody wanted to commit what was not written.
    pub fn wrong_commits(&self) -> usize {
        self.inner.wrong_commits.load(Ordering::Relaxed)
    }

    /// Who has committed which layer so far.
    pub fn commits(&self) -> Vec<(Process, Digest)> {
        self.lock().commits.clone()
    }

    /// Who has begun to stream which layer so far.
    pub fn streams_so_far(&self) -> Vec<(Process, Digest)> {
        self.inner.streams.past()
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        self.inner.play.heal();
        self.inner.board.play.heal();
    }

    pub(super) fn place(&self, operation: &'static str, digest: &Digest) -> impl Fn(Error) -> Error + use<> {
        let (name, digest) = (self.inner.name, *digest);
        move |error| error.at(name, operation).of_layer(&digest)
    }

    pub(super) fn reader(&self, digest: Digest, bytes: &Bytes) -> Arc<dyn LayerReader> {
        let local = self.inner.kind == TierKind::Local;
        Arc::new(SimReader {
            name: self.inner.name,
            digest,
            play: Arc::clone(&self.inner.play),
            process: self.process.clone(),
            content: Stored {
                tier: self.clone(),
                digest,
                open: local.then(|| bytes.clone()),
            },
            len: Some(bytes.len() as u64),
            verified: self.inner.kind != TierKind::Unverified,
            random_access: true,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Layers> {
        self.inner.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for whoever fills a layer of a local tier, for as long as it makes progress.
    async fn claim(&self, digest: Digest, full_at: Option<u64>) -> Result<Claim> {
        loop {
            self.process.live().await;
            if let Some(bytes) = self.holds(&digest) {
                return Ok(Claim::Exists(self.reader(digest, &bytes)));
            }
            match self.inner.writers.last_beat(&digest) {
                Some(beat) if self.inner.kind == TierKind::Local => {
                    if Instant::now().duration_since(beat) > LOCK_PATIENCE {
                        return Err(Error::unavailable("whoever fills the layer makes no progress"));
                    }
                    sleep(LOCK_PAUSE).await;
                }
                _ => return Ok(Claim::Write(Box::new(SimWriter::new(self, digest, full_at)))),
            }
        }
    }
}

#[async_trait]
impl LayerSource for SimTier {
    fn name(&self) -> &str {
        self.inner.name
    }

    fn role(&self) -> Role {
        match self.inner.kind {
            TierKind::Local => Role::Local,
            TierKind::Shared | TierKind::Unverified => Role::Shared,
        }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::NONE.with_list();
        capabilities.verified = self.inner.kind != TierKind::Unverified;
        capabilities.read_while_write = self.inner.kind == TierKind::Local;
        capabilities
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let place = self.place("open", &layer.digest);
        let called = self.inner.play.call(Step::Open, &self.process).await;
        let trouble = called.map_err(&place)?;
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
        let called = self.inner.play.call(Step::Create, &self.process).await;
        let trouble = called.map_err(&place)?;
        let full_at = match trouble {
            Some(Trouble::FullAt(at)) => Some(at),
            _ => None,
        };
        let claim = self.claim(layer.digest, full_at).await.map_err(&place)?;
        answer(trouble, claim).map_err(place)
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        let place = self.place("remove", digest);
        let called = self.inner.play.call(Step::Remove, &self.process).await;
        let trouble = called.map_err(&place)?;
        answer(trouble, self.evict(digest)).map_err(place)
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        let layers = self.lock();
        let stat = |(digest, committed): (&Digest, &Committed)| {
            Ok(LayerStat::new(*digest, committed.bytes.len() as u64))
        };
        let stats: Vec<_> = layers.committed.iter().map(stat).collect();
        stream::iter(stats).boxed()
    }
}

#[derive(Debug)]
struct Stored {
    tier: SimTier,
    digest: Digest,
    /// An open file, which outlives its name.
    open: Option<Bytes>,
}

impl Content for Stored {
    fn bytes(&self) -> Option<Bytes> {
        self.open.clone().or_else(|| self.tier.holds(&self.digest))
    }

    fn vanish(&self) {
        self.tier.evict(&self.digest);
    }

    fn streaming(&self) -> Box<dyn Send> {
        Box::new(self.tier.inner.streams.enter(self.digest, &self.tier.process))
    }
}

#[derive(Debug, Default)]
struct Written {
    bytes: BytesMut,
    committed: bool,
}

#[derive(Debug)]
struct SimWriter {
    tier: SimTier,
    digest: Digest,
    written: Arc<Mutex<Written>>,
    full_at: Option<u64>,
    broken: bool,
    entered: Entered,
}

impl SimWriter {
    fn new(tier: &SimTier, digest: Digest, full_at: Option<u64>) -> Self {
        Self {
            tier: tier.clone(),
            digest,
            written: Arc::default(),
            full_at,
            broken: false,
            entered: tier.inner.writers.enter(digest, &tier.process),
        }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(&self, step: Step) -> Result<Option<Trouble>> {
        let SimTier { inner, process, .. } = &self.tier;
        inner.play.call(step, process).await
    }
}

#[async_trait]
impl LayerWriter for SimWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let place = self.tier.place("write", &self.digest);
        if std::mem::replace(&mut self.broken, true) {
            return Err(place(Error::permanent("a writer that failed was written to")));
        }
        let trouble = self.call(Step::Write).await.map_err(&place)?;
        let len = (self.written().bytes.len() + bytes.len()) as u64;
        if self.full_at.is_some_and(|full_at| len > full_at) {
            return Err(place(Error::unavailable("no space is left")));
        }
        self.written().bytes.extend_from_slice(&bytes);
        self.entered.beat();
        answer(trouble, ()).map_err(place)?;
        self.broken = false;
        Ok(())
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        let partial = Partial {
            tier: self.tier.clone(),
            digest: self.digest,
            written: Arc::clone(&self.written),
        };
        (self.tier.inner.kind == TierKind::Local).then(|| Arc::new(partial) as _)
    }

    async fn commit(self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        let place = self.tier.place("commit", &self.digest);
        let trouble = self.call(Step::Commit).await.map_err(&place)?;
        let bytes = self.written().bytes.clone().freeze();
        let written = index.len() == bytes.len() as u64 && *index.diff_id() == Digest::sha256_of(&bytes);
        if self.broken || !written {
            self.tier.inner.wrong_commits.fetch_add(1, Ordering::Relaxed);
            return Err(place(Error::permanent("a commit of what was not written")));
        }
        self.written().committed = true;
        let synced = trouble != Some(Trouble::Unsynced);
        self.tier.commit(self.digest, bytes.clone(), synced);
        answer(trouble, self.tier.reader(self.digest, &bytes)).map_err(place)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// What is written so far.
#[derive(Debug)]
struct Partial {
    tier: SimTier,
    digest: Digest,
    written: Arc<Mutex<Written>>,
}

impl Partial {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LayerReader for Partial {
    fn len(&self) -> Option<u64> {
        let written = self.written();
        written.committed.then_some(written.bytes.len() as u64)
    }

    fn random_access(&self) -> bool {
        true
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let bytes = &self.written().bytes;
        let start = bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        let len = buf.len().min(bytes.len() - start);
        buf[..len].copy_from_slice(&bytes[start..start + len]);
        Ok(len)
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let written = self.written();
        let bytes = if written.committed {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            Ok(written
                .bytes
                .clone()
                .freeze()
                .slice(written.bytes.len().min(start)..))
        } else {
            let error = Error::unavailable("the layer is still being written");
            Err(self.tier.place("read", &self.digest)(error))
        };
        let pieces = (!bytes.as_ref().is_ok_and(Bytes::is_empty)).then_some(bytes);
        stream::iter(pieces).boxed()
    }
}
