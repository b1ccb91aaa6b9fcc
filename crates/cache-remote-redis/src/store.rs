//! Layers in Redis: each is chunks, and an index that is put last.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::chunked::{ChunkedReader, RecentChunks};
use cache_core::index::CHUNK_LEN;
use cache_core::{Digest, Error, ErrorKind, LayerDescriptor, LayerIndex, LayerReader, Result};
use redis::Cmd;
use tokio::sync::Semaphore;

use crate::RedisConfig;
use crate::chunks::{Chunks, PLAN};
use crate::cleanup::CleanUps;
use crate::connection::Connections;
use crate::keys;
use crate::servers::Servers;

/// Chunks that small reads in a row find in memory: 4 MiB.
const RECENT_CHUNKS: usize = 8;
/// Chunks being sent at once by all writers of a tier. Each is twice in memory, as the crate copies it: 3 MiB.
const IN_FLIGHT: usize = 3;
/// How much longer than its index a chunk stays, so that a layer that expires is a miss rather than half there.
const SLACK: Duration = Duration::from_secs(60);
/// The longest expiry that is asked for, which any server can add to its clock: a hundred years.
const MAX_EXPIRY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// KEYS: the chunks, then the index. ARGV: the index, its expiry and that of the chunks in milliseconds, or 0 for none. Whether all
/// chunks were there; if not, nothing was changed.
const COMMIT: &str = "\
for i = 1, #KEYS - 1 do
  if redis.call('EXISTS', KEYS[i]) == 0 then return 0 end
end
for i = 1, #KEYS - 1 do
  if ARGV[3] == '0' then redis.call('PERSIST', KEYS[i]) else redis.call('PEXPIRE', KEYS[i], ARGV[3]) end
end
if ARGV[2] == '0' then redis.call('SET', KEYS[#KEYS], ARGV[1]) else redis.call('SET', KEYS[#KEYS], ARGV[1], 'PX', ARGV[2]) end
return 1";

/// One Redis or Redis Cluster, and the limits that all readers and writers of it share.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) name: Arc<str>,
    pub(crate) config: RedisConfig,
    pub(crate) connections: Arc<Connections>,
    pub(crate) recent: Arc<RecentChunks>,
    pub(crate) cleanups: Arc<CleanUps>,
    /// Places for chunks that are being sent.
    pub(crate) sending: Arc<Semaphore>,
}

impl Store {
    pub(crate) fn new(name: Arc<str>, config: RedisConfig, servers: Servers) -> Self {
        Self {
            name,
            connections: Arc::new(Connections::new(servers, config.timeout)),
            config,
            recent: Arc::new(RecentChunks::new(RECENT_CHUNKS)),
            cleanups: Arc::default(),
            sending: Arc::new(Semaphore::new(IN_FLIGHT)),
        }
    }

    /// How many chunks the longest layer has.
    pub(crate) fn max_chunks(&self) -> usize {
        usize::try_from(self.config.max_layer_bytes.div_ceil(CHUNK_LEN.into())).unwrap_or(usize::MAX)
    }

    /// Refuses a layer that is too long.
    pub(crate) fn check_len(&self, len: u64) -> Result<()> {
        let max = self.config.max_layer_bytes;
        if len <= max {
            return Ok(());
        }
        Err(Error::permanent(format!(
            "the layer is longer than the {max} bytes that this tier keeps of one: raise its `max_layer_bytes` to share it"
        )))
    }

    pub(crate) fn place(&self, error: Error, operation: &'static str, layer: &Digest) -> Error {
        error.at(&self.name, operation).of_layer(layer)
    }

    /// Opens a layer; `None` when its index or any of its chunks is not there.
    pub(crate) async fn find(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let Some(encoded) = self.encoded_index(&layer.digest).await? else {
            return Ok(None);
        };
        let index = self.config.seal.admit(&encoded, layer)?;
        Ok(self.is_complete(&index).await?.then(|| self.reader(index)))
    }

    /// What is stored as the layer's index, as far as an index can be long; `None` when there is none.
    pub(crate) async fn encoded_index(&self, digest: &Digest) -> Result<Option<Bytes>> {
        let mut request = redis::cmd("GETRANGE");
        // One byte more than the longest, so that what is too long is not taken for one.
        let last = LayerIndex::encoded_len(self.config.max_layer_bytes);
        request.arg(keys::index(digest)).arg(0).arg(last);
        let encoded: Bytes = self.connections.ask(request).await?;
        Ok((!encoded.is_empty()).then_some(encoded))
    }

    /// An index for which no image vouches: good for knowing what there is, and not for reading it.
    pub(crate) fn unclaimed(&self, encoded: &[u8], digest: &Digest) -> Result<LayerIndex> {
        if self.config.seal.is_keyed() {
            return self.config.seal.admit(encoded, &LayerDescriptor::new(*digest));
        }
        let index = LayerIndex::decode(encoded)?;
        if index.digest() != digest {
            return Err(Error::corrupt("the layer's index is that of another layer"));
        }
        Ok(index)
    }

    /// Whether every chunk is there.
    pub(crate) async fn is_complete(&self, index: &LayerIndex) -> Result<bool> {
        let chunks = index.chunks().len();
        Ok(self
            .connections
            .count_chunks("EXISTS", index.digest(), chunks)
            .await?
            == chunks)
    }

    /// A reader of the layer with this index, which is to be gone by.
    pub(crate) fn reader(&self, index: LayerIndex) -> Arc<dyn LayerReader> {
        let chunks = Chunks {
            connections: Arc::clone(&self.connections),
            digest: *index.digest(),
        };
        let (tier, recent) = (Arc::clone(&self.name), Arc::clone(&self.recent));
        Arc::new(ChunkedReader::new(chunks, index, tier, PLAN, recent))
    }

    /// Puts the index of a layer whose chunks are there, as the last thing.
    pub(crate) async fn commit(&self, index: &LayerIndex) -> Result<()> {
        let complete = if self.connections.servers().are_cluster() {
            self.commit_by_parts(index).await?
        } else {
            self.connections.ask(self.commit_request(index)).await?
        };
        if complete {
            return Ok(());
        }
        Err(Error::unavailable(
            "Redis has evicted a part of the layer while it was written, or somebody has removed it",
        ))
    }

    /// All at once: a writer that dies has committed, or leaves what expires.
    fn commit_request(&self, index: &LayerIndex) -> Cmd {
        let (digest, chunks) = (index.digest(), index.chunks().len());
        let mut request = redis::cmd("EVAL");
        request.arg(COMMIT).arg(chunks + 1);
        for chunk in 0..chunks {
            request.arg(keys::chunk(digest, chunk));
        }
        request
            .arg(keys::index(digest))
            .arg(&self.config.seal.encode(index)[..])
            .arg(self.config.ttl.map_or(0, millis))
            .arg(self.chunk_expiry().map_or(0, millis));
        request
    }

    /// One after another, as the keys are on different nodes. A writer that dies in these milliseconds may leave chunks
    /// without an expiry, which are evicted, or overwritten when the layer is written again.
    async fn commit_by_parts(&self, index: &LayerIndex) -> Result<bool> {
        let digest = index.digest();
        self.settle(digest, index.chunks().len()).await?;
        if !self.is_complete(index).await? {
            return Ok(false);
        }
        let mut request = redis::cmd("SET");
        request
            .arg(keys::index(digest))
            .arg(&self.config.seal.encode(index)[..]);
        if let Some(ttl) = self.config.ttl {
            request.arg("PX").arg(millis(ttl));
        }
        let () = self.connections.ask(request).await?;
        Ok(true)
    }

    /// Gives chunks the expiry they have once their layer is committed.
    pub(crate) async fn settle(&self, digest: &Digest, chunks: usize) -> Result<()> {
        let requests = (0..chunks).map(|chunk| {
            let key = keys::chunk(digest, chunk);
            let mut request = Cmd::new();
            match self.chunk_expiry() {
                Some(expiry) => request.arg("PEXPIRE").arg(key).arg(millis(expiry)),
                None => request.arg("PERSIST").arg(key),
            };
            request
        });
        self.connections.ask_all(requests).await
    }

    fn chunk_expiry(&self) -> Option<Duration> {
        Some(self.config.ttl?.saturating_add(SLACK))
    }

    /// Removes a layer, the index first: from then on it is a miss. Whether there was an index.
    ///
    /// Every chunk that a layer can have is removed, whatever the index says: it may be damaged, forged, or that of a shorter layer,
    /// and a chunk that is left has no expiry.
    pub(crate) async fn remove(&self, digest: &Digest) -> Result<bool> {
        let there = match self.encoded_index(digest).await {
            Ok(encoded) => encoded.is_some(),
            Err(error) if error.kind() == ErrorKind::Corrupt => true,
            Err(error) => return Err(error),
        };
        let mut request = redis::cmd("UNLINK");
        request.arg(keys::index(digest));
        let () = self.connections.ask(request).await?;
        self.connections
            .count_chunks("UNLINK", digest, self.max_chunks())
            .await?;
        Ok(there)
    }
}

/// An expiry as Redis takes it: at least a millisecond.
fn millis(expiry: Duration) -> u64 {
    u64::try_from(expiry.min(MAX_EXPIRY).as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}
