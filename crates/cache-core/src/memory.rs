//! A tier in memory, for tests and for small hot layers.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::runtime::{Mutex, MutexGuard, RwLock};
use crate::{
    ByteStream, Capabilities, Claim, Digest, Error, LayerDescriptor, LayerIndex, LayerReader, LayerSource,
    LayerStat, LayerWriter, Result, Role, Tier,
};

/// Most layers a tier keeps.
const MAX_LAYERS: usize = 16 * 1024;

/// A tier that keeps layers in memory, up to a number of bytes, and evicts those that were opened the longest ago;
/// of layers of any size it keeps 16,384 at most.
///
/// It claims every capability. A layer that is being written counts as well; one that does not fit even when everything
/// else is evicted is [`Unavailable`](crate::ErrorKind::Unavailable) to write. Evicted layers stay readable through
/// open readers, and then take memory beyond the bound until the last of these is dropped.
#[derive(Clone, Debug)]
pub struct MemoryTier {
    name: Arc<str>,
    store: Arc<Mutex<Store>>,
}

#[derive(Debug)]
struct Store {
    capacity: u64,
    used: u64,
    layers: HashMap<Digest, Stored>,
    /// Counts openings: the order of last use.
    clock: u64,
}

#[derive(Clone, Debug)]
struct Stored {
    reader: Arc<MemoryReader>,
    diff_id: Digest,
    len: u64,
    opened: u64,
    last_used: SystemTime,
}

impl MemoryTier {
    /// An empty tier for at most `capacity` bytes.
    pub fn new(name: &str, capacity: u64) -> Self {
        let store = Store {
            capacity,
            used: 0,
            layers: HashMap::new(),
            clock: 0,
        };
        Self {
            name: name.into(),
            store: Arc::new(Mutex::new(store)),
        }
    }

    /// Bytes of the layers that are committed or being written.
    pub fn used_bytes(&self) -> u64 {
        lock(&self.store).used
    }
}

/// The store is consistent whenever the lock is free, so a panic elsewhere does not spoil it.
fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Takes `len` more bytes for a layer that has `written` already, evicting others; false when they do not fit.
    fn reserve(&mut self, written: u64, len: u64) -> bool {
        if written.saturating_add(len) > self.capacity {
            return false;
        }
        while self.used + len > self.capacity {
            if !self.evict_oldest() {
                return false;
            }
        }
        self.used += len;
        true
    }

    /// Keeps the number of layers bounded, which their bytes do not where there are very small ones.
    fn trim(&mut self) {
        while self.layers.len() > MAX_LAYERS && self.evict_oldest() {}
    }

    fn evict_oldest(&mut self) -> bool {
        let oldest = self.layers.iter().min_by_key(|(_, stored)| stored.opened);
        let Some(oldest) = oldest.map(|(digest, _)| *digest) else {
            return false;
        };
        self.remove(&oldest)
    }

    fn remove(&mut self, digest: &Digest) -> bool {
        let removed = self.layers.remove(digest);
        self.used -= removed.as_ref().map_or(0, |stored| stored.len);
        removed.is_some()
    }
}

#[async_trait]
impl LayerSource for MemoryTier {
    fn name(&self) -> &str {
        &self.name
    }

    fn role(&self) -> Role {
        Role::Local
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
            .with_verified()
            .with_read_while_write()
            .with_list()
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let mut store = lock(&self.store);
        store.clock += 1;
        let clock = store.clock;
        let Some(stored) = store.layers.get_mut(&layer.digest) else {
            return Ok(None);
        };
        if let Some(claimed) = layer.diff_id.filter(|claimed| *claimed != stored.diff_id) {
            return Err(Error::invalid(format!(
                "the image's config says diff ID {claimed}, but the cached layer was verified as {}",
                stored.diff_id
            ))
            .at(&self.name, "open")
            .of_layer(&layer.digest));
        }
        stored.opened = clock;
        stored.last_used = SystemTime::now();
        Ok(Some(Arc::clone(&stored.reader) as _))
    }
}

#[async_trait]
impl Tier for MemoryTier {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        if let Some(reader) = self.open(layer).await? {
            return Ok(Claim::Exists(reader));
        }
        Ok(Claim::Write(Box::new(MemoryWriter {
            tier: self.clone(),
            digest: layer.digest,
            reader: Arc::default(),
            reserved: 0,
        })))
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        Ok(lock(&self.store).remove(digest))
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        let store = lock(&self.store);
        let stats: Vec<_> = store
            .layers
            .iter()
            .map(|(digest, stored)| Ok(LayerStat::new(*digest, stored.len).with_last_used(stored.last_used)))
            .collect();
        stream::iter(stats).boxed()
    }
}

#[derive(Debug)]
struct MemoryWriter {
    tier: MemoryTier,
    digest: Digest,
    reader: Arc<MemoryReader>,
    /// Bytes taken from the store that no committed layer accounts for.
    reserved: u64,
}

#[async_trait]
impl LayerWriter for MemoryWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let len = bytes.len() as u64;
        if !lock(&self.tier.store).reserve(self.reserved, len) {
            return Err(
                Error::unavailable("the layer does not fit into the tier's capacity")
                    .at(&self.tier.name, "write")
                    .of_layer(&self.digest),
            );
        }
        self.reserved += len;
        // A copy: a few bytes may be all that is left in use of a large buffer.
        self.reader.append(Bytes::copy_from_slice(&bytes));
        Ok(())
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        Some(Arc::clone(&self.reader) as _)
    }

    async fn commit(mut self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        let reader = Arc::clone(&self.reader);
        let mut store = lock(&self.tier.store);
        store.clock += 1;
        let stored = Stored {
            reader: Arc::clone(&reader),
            diff_id: *index.diff_id(),
            len: std::mem::take(&mut self.reserved),
            opened: store.clock,
            last_used: SystemTime::now(),
        };
        reader
            .pieces
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .complete = true;
        store.remove(&self.digest);
        store.layers.insert(self.digest, stored);
        store.trim();
        drop(store);
        Ok(reader)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        lock(&self.tier.store).used -= self.reserved;
    }
}

/// The bytes of one layer, complete or still growing.
#[derive(Debug, Default)]
struct MemoryReader {
    pieces: RwLock<Pieces>,
}

#[derive(Debug, Default)]
struct Pieces {
    /// Each piece with the offset of its end.
    by_end: Vec<(u64, Bytes)>,
    complete: bool,
}

impl Pieces {
    fn len(&self) -> u64 {
        self.by_end.last().map_or(0, |(end, _)| *end)
    }

    /// The bytes from `offset` to the end of the piece they are in; `None` at the end of all.
    fn piece_at(&self, offset: u64) -> Option<Bytes> {
        let position = self.by_end.partition_point(|(end, _)| *end <= offset);
        let (end, piece) = self.by_end.get(position)?;
        let start = end - piece.len() as u64;
        Some(piece.slice(usize::try_from(offset - start).ok()?..))
    }
}

impl MemoryReader {
    fn append(&self, bytes: Bytes) {
        let mut pieces = self.pieces.write().unwrap_or_else(PoisonError::into_inner);
        let end = pieces.len() + bytes.len() as u64;
        pieces.by_end.push((end, bytes));
    }

    fn piece_at(&self, offset: u64) -> Option<Bytes> {
        self.pieces
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .piece_at(offset)
    }
}

#[async_trait]
impl LayerReader for MemoryReader {
    fn len(&self) -> Option<u64> {
        let pieces = self.pieces.read().unwrap_or_else(PoisonError::into_inner);
        pieces.complete.then(|| pieces.len())
    }

    fn random_access(&self) -> bool {
        true
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            let Some(piece) = self.piece_at(offset.saturating_add(filled as u64)) else {
                break;
            };
            let take = piece.len().min(buf.len() - filled);
            buf[filled..filled + take].copy_from_slice(&piece[..take]);
            filled += take;
        }
        Ok(filled)
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let pieces = stream::unfold((self, offset), |(reader, offset)| async move {
            let piece = reader.piece_at(offset)?;
            let next = offset + piece.len() as u64;
            Some((Ok(piece), (reader, next)))
        });
        pieces
            .try_filter(|piece| std::future::ready(!piece.is_empty()))
            .boxed()
    }
}

#[cfg(test)]
mod tests;
