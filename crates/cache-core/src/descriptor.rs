//! Which layer is meant, and what its bytes must be.

use std::sync::Arc;

use crate::Digest;

/// Names one layer of an image and says what is known of it.
///
/// ```
/// # use cache_core::{Digest, LayerDescriptor};
/// let layer = LayerDescriptor::new(Digest::sha256_of(b"blob"))
///     .with_size(4)
///     .with_diff_id(Digest::sha256_of(b"tar"))
///     .with_repository("registry.example/library/debian");
/// assert_eq!(layer.size, Some(4));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LayerDescriptor {
    /// Digest of the compressed blob, from the manifest: the cache key.
    pub digest: Digest,
    /// Size of the compressed blob in bytes, from the manifest. Verified when known.
    pub size: Option<u64>,
    /// Digest of the decompressed tar, from the image config. Verified when known.
    pub diff_id: Option<Digest>,
    /// Where the image was found, as an origin writes it (`registry.example/library/debian`, `oci:/srv/image`).
    /// Origins read it to know what to ask; to tiers it means nothing.
    pub repository: Option<Arc<str>>,
}

impl LayerDescriptor {
    /// A layer of which only the digest is known.
    pub fn new(digest: Digest) -> Self {
        Self {
            digest,
            size: None,
            diff_id: None,
            repository: None,
        }
    }

    /// The same with the size of the compressed blob in bytes.
    #[must_use]
    pub fn with_size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    /// The same with the digest of the decompressed tar.
    #[must_use]
    pub fn with_diff_id(mut self, diff_id: Digest) -> Self {
        self.diff_id = Some(diff_id);
        self
    }

    /// The same with the place the image was found in.
    #[must_use]
    pub fn with_repository(mut self, repository: impl Into<Arc<str>>) -> Self {
        self.repository = Some(repository.into());
        self
    }
}
