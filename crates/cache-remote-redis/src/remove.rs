//! Removing a layer.

use cache_core::{Digest, ErrorKind, Result};

use crate::keys;
use crate::tier::Store;

impl Store {
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
