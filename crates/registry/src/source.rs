//! Where images come from.

use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{LayerSource, Result};

use crate::{Image, ImageLocation, Platform};

/// An origin: it knows which layers an image has, and fetches and inflates them.
///
/// # Contract
/// - [`resolve`](Self::resolve) fills in digest, size, diff ID and repository of every layer, and what it returns was
///   verified by digest.
/// - [`open`](LayerSource::open) serves the layers whose repository one of its images has, and is `Ok(None)` for those of
///   other origins, so that several origins stand in one stack.
/// - An instance serves every location of its kind: all hosts, all directories.
#[async_trait]
pub trait ImageSource: LayerSource {
    /// Finds the image at `location` that fits `platform` best.
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`](cache_core::ErrorKind::NotFound): there is no such image, or not for this platform.
    /// - [`ErrorKind::Unavailable`](cache_core::ErrorKind::Unavailable): it could not be told.
    /// - [`ErrorKind::Corrupt`](cache_core::ErrorKind::Corrupt): a document is malformed or has another digest.
    /// - [`ErrorKind::Permanent`](cache_core::ErrorKind::Permanent): denied, not a container image, or a location of another
    ///   origin.
    async fn resolve(&self, location: &ImageLocation, platform: &Platform) -> Result<Image>;
}

#[async_trait]
impl<S: ImageSource + ?Sized> ImageSource for Arc<S> {
    async fn resolve(&self, location: &ImageLocation, platform: &Platform) -> Result<Image> {
        (**self).resolve(location, platform).await
    }
}
