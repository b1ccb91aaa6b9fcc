//! Removing a layer.

use cache_core::{Digest, ErrorKind, Result};

use crate::keys;
use crate::tier::Store;

impl Store {
    /// Removes a layer, the index first: from then on it is a miss. Whether there was an index.
    pub(crate) async fn remove(&self, digest: &Digest) -> Result<bool> {
        let index = match self.encoded_index(digest).await {
            Ok(Some(encoded)) => self.unclaimed(&encoded, digest).ok(),
            Ok(None) => None,
            Err(error) if error.kind() == ErrorKind::Corrupt => None,
            Err(error) => return Err(error),
        };
        // Without an index that tells, any chunk may be there.
        let chunks = index.map_or_else(|| self.max_chunks(), |index| index.chunks().len());
        let mut request = redis::cmd("UNLINK");
        request.arg(keys::index(digest));
        let removed: usize = self.connections.ask(&request).await?;
        self.connections.count_chunks("UNLINK", digest, chunks).await?;
        Ok(removed > 0)
    }
}
