//! Making the chunks of a layer stay, and putting its index.

use std::time::Duration;

use cache_core::{Digest, Error, LayerIndex, Result};
use redis::Cmd;

use crate::keys;
use crate::tier::Store;

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

impl Store {
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
}

/// An expiry as Redis takes it: at least a millisecond.
fn millis(expiry: Duration) -> u64 {
    u64::try_from(expiry.min(MAX_EXPIRY).as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}
