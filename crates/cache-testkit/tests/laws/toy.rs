//! The smallest tier there is, and the bugs it can be given.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::index::CHUNK_LEN;
use cache_core::{
    ByteStream, Capabilities, Claim, Digest, Error, LayerDescriptor, LayerIndex, LayerReader, LayerSource,
    LayerStat, LayerWriter, Result, Role, Tier,
};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::task::yield_now;

/// One thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    AbsentIsAnError,
    ShortAtAChunk,
    StreamFromTheStart,
    EmptyPiece,
    VisibleWhileWritten,
    RepeatsAfterAnEmptyWrite,
    CommittedWhenDropped,
    ClaimStaysWhenDropped,
    SharedBuffer,
    RemovedWhenDropped,
    RemoveCutsReaders,
    RemovedIsListed,
    ListedWhileWritten,
    ListIsNotClaimed,
    PartialAhead,
    PartialHasLength,
    ClaimedAgain,
    FalseDiffIdPurges,
    ErrorWithoutTier,
    CancelledClaimStays,
    HalfCommitted,
    HalfRemoved,
    NameChanges,
    RoleChanges,
    IsAnOrigin,
    GoneWhenReopened,
}

/// A tier in memory. Only its bug tells whether claims are exclusive: without one they are not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Toy {
    bug: Option<Bug>,
    store: Arc<Mutex<Store>>,
}

#[derive(Debug, Default)]
struct Store {
    layers: HashMap<Digest, Kept>,
    listed: HashMap<Digest, u64>,
    /// Kept by those bugs alone that are about them.
    claims: HashSet<Digest>,
    writing: HashMap<Digest, Arc<Reader>>,
}

#[derive(Clone, Debug)]
struct Kept {
    reader: Arc<Reader>,
    diff_id: Option<Digest>,
}

impl Toy {
    pub(crate) fn with(bug: Bug) -> Self {
        Self {
            bug: Some(bug),
            store: Arc::default(),
        }
    }

    pub(crate) fn reopened(&self) -> Self {
        if self.has(Bug::GoneWhenReopened) {
            Self::default()
        } else {
            self.clone()
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn store<T>(&self, act: impl FnOnce(&mut Store) -> T) -> T {
        act(&mut self.store.lock().unwrap())
    }

    fn place(&self, error: Error, operation: &'static str, layer: &Digest) -> Error {
        if self.has(Bug::ErrorWithoutTier) {
            error
        } else {
            error.at("toy", operation).of_layer(layer)
        }
    }

    fn find(&self, layer: &LayerDescriptor, operation: &'static str) -> Result<Option<Arc<Reader>>> {
        let Some(kept) = self.store(|store| store.layers.get(&layer.digest).cloned()) else {
            return Ok(None);
        };
        if kept.diff_id.is_some() && layer.diff_id.is_some() && kept.diff_id != layer.diff_id {
            if self.has(Bug::FalseDiffIdPurges) {
                self.store(|store| store.layers.remove(&layer.digest));
            }
            return Err(self.place(Error::invalid("another diff ID"), operation, &layer.digest));
        }
        Ok(Some(kept.reader))
    }
}

#[async_trait]
impl LayerSource for Toy {
    fn name(&self) -> &str {
        let written = self.has(Bug::NameChanges) && self.store(|store| !store.writing.is_empty());
        if written { "busy toy" } else { "toy" }
    }

    fn role(&self) -> Role {
        if self.has(Bug::IsAnOrigin) {
            return Role::Origin;
        }
        let written = self.has(Bug::RoleChanges) && self.store(|store| !store.writing.is_empty());
        if written { Role::Shared } else { Role::Local }
    }

    fn capabilities(&self) -> Capabilities {
        let capabilities = Capabilities::NONE.with_verified().with_read_while_write();
        if self.has(Bug::ListIsNotClaimed) {
            capabilities
        } else {
            capabilities.with_list()
        }
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        match self.find(layer, "open")? {
            Some(reader) => Ok(Some(reader)),
            None if self.has(Bug::AbsentIsAnError) => Err(Error::unavailable("it is not there")),
            None => Ok(None),
        }
    }
}

#[async_trait]
impl Tier for Toy {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        if let Some(reader) = self.find(layer, "create")?
            && !self.has(Bug::ClaimedAgain)
        {
            return Ok(Claim::Exists(reader));
        }
        let counted = self.has(Bug::ClaimStaysWhenDropped) || self.has(Bug::CancelledClaimStays);
        if counted && !self.store(|store| store.claims.insert(layer.digest)) {
            return Err(self.place(Error::unavailable("it is claimed"), "create", &layer.digest));
        }
        yield_now().await;
        let mut reader = Arc::new(Reader {
            bug: self.bug,
            ..Reader::default()
        });
        self.store(|store| {
            if self.has(Bug::SharedBuffer) {
                reader = Arc::clone(store.writing.entry(layer.digest).or_insert(Arc::clone(&reader)));
            } else {
                store.writing.insert(layer.digest, Arc::clone(&reader));
            }
            if self.has(Bug::VisibleWhileWritten) {
                let reader = Arc::clone(&reader);
                store.layers.insert(
                    layer.digest,
                    Kept {
                        reader,
                        diff_id: None,
                    },
                );
            }
            if self.has(Bug::ListedWhileWritten) {
                store.listed.insert(layer.digest, 0);
            }
        });
        Ok(Claim::Write(Box::new(Writer {
            tier: self.clone(),
            digest: layer.digest,
            reader,
            committed: false,
        })))
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        if self.has(Bug::HalfRemoved) {
            self.store(|store| store.layers.get(digest).map(|kept| kept.reader.cut()));
        }
        yield_now().await;
        let removed = self.store(|store| {
            if !self.has(Bug::RemovedIsListed) {
                store.listed.remove(digest);
            }
            store.layers.remove(digest)
        });
        if self.has(Bug::RemoveCutsReaders)
            && let Some(removed) = &removed
        {
            removed.reader.cut();
        }
        Ok(removed.is_some())
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        let listed = self.store(|store| store.listed.clone());
        stream::iter(listed)
            .map(|(digest, len)| Ok(LayerStat::new(digest, len)))
            .boxed()
    }
}

#[derive(Debug)]
struct Writer {
    tier: Toy,
    digest: Digest,
    reader: Arc<Reader>,
    committed: bool,
}

#[async_trait]
impl LayerWriter for Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        yield_now().await;
        let mut state = self.reader.state.lock().unwrap();
        if bytes.is_empty() && self.tier.has(Bug::RepeatsAfterAnEmptyWrite) {
            let last = state.bytes.last().copied();
            state.bytes.extend(last);
        }
        state.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        Some(Arc::clone(&self.reader) as _)
    }

    async fn commit(mut self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        let len = self.reader.state.lock().unwrap().bytes.len() as u64;
        if *index.digest() != self.digest || len != index.len() {
            return Err(self
                .tier
                .place(Error::corrupt("another index"), "commit", &self.digest));
        }
        let kept = Kept {
            reader: Arc::clone(&self.reader),
            diff_id: Some(*index.diff_id()),
        };
        if self.tier.has(Bug::HalfCommitted) {
            let half = Arc::new(Reader {
                bug: self.tier.bug,
                ..Reader::default()
            });
            half.state.lock().unwrap().complete = true;
            let kept = Kept {
                reader: half,
                ..kept.clone()
            };
            self.tier.store(|store| store.layers.insert(self.digest, kept));
        }
        yield_now().await;
        self.reader.state.lock().unwrap().complete = true;
        self.tier.store(|store| {
            store.layers.insert(self.digest, kept);
            store.listed.insert(self.digest, len);
        });
        self.committed = true;
        Ok(Arc::clone(&self.reader) as _)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        yield_now().await;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let given_up = !self.committed;
        let tier = self.tier.clone();
        tier.store(|store| {
            store.writing.remove(&self.digest);
            if !(given_up && tier.has(Bug::ClaimStaysWhenDropped)) {
                store.claims.remove(&self.digest);
            }
            if given_up && tier.has(Bug::CommittedWhenDropped) {
                let reader = Arc::clone(&self.reader);
                store.layers.insert(
                    self.digest,
                    Kept {
                        reader,
                        diff_id: None,
                    },
                );
            }
            if given_up && tier.has(Bug::RemovedWhenDropped) {
                store.layers.remove(&self.digest);
                store.listed.remove(&self.digest);
            }
        });
    }
}

#[derive(Debug, Default)]
struct Reader {
    bug: Option<Bug>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    complete: bool,
}

impl Reader {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn cut(&self) {
        let mut state = self.state.lock().unwrap();
        let half = state.bytes.len() / 2;
        state.bytes.truncate(half);
    }

    fn read(&self, offset: u64, len: usize) -> Bytes {
        let state = self.state.lock().unwrap();
        let start = usize::try_from(offset).map_or(state.bytes.len(), |offset| offset.min(state.bytes.len()));
        let end = start.saturating_add(len).min(state.bytes.len());
        Bytes::copy_from_slice(&state.bytes[start..end])
    }
}

#[async_trait]
impl LayerReader for Reader {
    fn len(&self) -> Option<u64> {
        let state = self.state.lock().unwrap();
        (state.complete || self.has(Bug::PartialHasLength)).then_some(state.bytes.len() as u64)
    }

    fn random_access(&self) -> bool {
        true
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        yield_now().await;
        let chunk = u64::from(CHUNK_LEN);
        let mut len = buf.len();
        if self.has(Bug::ShortAtAChunk) {
            len = len.min((chunk - offset % chunk) as usize);
        }
        let bytes = self.read(offset, len);
        buf[..bytes.len()].copy_from_slice(&bytes);
        if self.has(Bug::PartialAhead) && !self.state.lock().unwrap().complete {
            buf[bytes.len()..].fill(0);
            return Ok(buf.len());
        }
        Ok(bytes.len())
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let start = if self.has(Bug::StreamFromTheStart) {
            0
        } else {
            offset
        };
        let empty = self.has(Bug::EmptyPiece).then(|| Ok(Bytes::new()));
        let pieces = stream::unfold((self, start), |(reader, offset)| async move {
            yield_now().await;
            let piece = reader.read(offset, 300_000);
            let next = offset + piece.len() as u64;
            (!piece.is_empty()).then_some((Ok(piece), (reader, next)))
        });
        stream::iter(empty).chain(pieces).boxed()
    }
}
