//! Checks on streams of a layer's bytes.

use futures_util::{StreamExt, TryStreamExt, future, stream};

use crate::digest::DigestHasher;
use crate::runtime::consume_budget;
use crate::{ByteStream, Digest, Error, LayerDescriptor, Result};

/// Longest slice hashed without giving the runtime a chance to run something else: about 60 us of SHA-256.
pub(crate) const HASH_LEN: usize = 64 * 1024;

/// `bytes` without the first `offset` bytes, and without empty pieces.
pub(crate) fn skip(bytes: ByteStream, offset: u64) -> ByteStream {
    let mut left = offset;
    bytes
        .try_filter_map(move |mut piece| {
            let cut = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            left -= cut as u64;
            let rest = piece.split_off(cut);
            future::ready(Ok((!rest.is_empty()).then_some(rest)))
        })
        .boxed()
}

/// The same bytes, followed by an error when their digest is not the layer's diff ID; unchanged when that is unknown.
pub(crate) fn verify(bytes: ByteStream, tier: &str, layer: &LayerDescriptor) -> ByteStream {
    let Some(expected) = layer.diff_id else {
        return bytes;
    };
    let hasher = DigestHasher::new(expected.algorithm());
    let (tier, digest) = (Box::<str>::from(tier), layer.digest);
    let state = (bytes, hasher, expected, tier, digest);
    stream::try_unfold(
        state,
        |(mut bytes, mut hasher, expected, tier, digest)| async move {
            let Some(piece) = bytes.try_next().await? else {
                let verified = check_diff_id(&expected, &hasher.finish());
                return verified
                    .map(|()| None)
                    .map_err(|error| error.at(&tier, "read").of_layer(&digest));
            };
            hash(&mut hasher, &piece).await;
            Ok(Some((piece, (bytes, hasher, expected, tier, digest))))
        },
    )
    .boxed()
}

/// Adds bytes to a hasher without holding up the runtime.
pub(crate) async fn hash(hasher: &mut DigestHasher, bytes: &[u8]) {
    for slice in bytes.chunks(HASH_LEN) {
        hasher.update(slice);
        consume_budget().await;
    }
}

/// Whether a layer is the one that the image's config names.
pub(crate) fn check_diff_id(expected: &Digest, found: &Digest) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "the layer has diff ID {found}, but the image's config says {expected}: \
         the image contradicts itself or was tampered with"
    )))
}
