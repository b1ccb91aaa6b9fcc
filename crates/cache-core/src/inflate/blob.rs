//! What an origin has to provide: the compressed bytes.

use std::fmt::Debug;
use std::sync::Arc;

use crate::ByteStream;

/// A blob that an origin has found, not yet verified.
///
/// # Contract
/// - A blob is fetched when a stream is polled, not before, and again for each stream.
/// - An interrupted transfer is resumed inside the stream; what comes out is the blob from its first byte to its last, or
///   an error. The bytes are verified by the [`Inflater`](crate::Inflater), not by the origin.
/// - Dropping the stream cancels the transfer.
pub trait BlobReader: Debug + Send + Sync + 'static {
    /// The blob's bytes, as stored by the origin.
    fn stream(self: Arc<Self>) -> ByteStream;
}
