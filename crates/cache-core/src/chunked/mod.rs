//! Reading a layer that a remote store keeps in pieces: the part that is the same for every such store.
//!
//! A backend brings a [`ChunkStore`], which fetches chunks and believes nothing; [`ChunkedReader`] makes a
//! [`LayerReader`](crate::LayerReader) of it that fetches only the chunks it needs, several at once in a stream, and hands out
//! none before it was verified against the layer's index.

mod reader;
mod recent;

use std::fmt::Debug;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

pub use reader::ChunkedReader;
pub use recent::RecentChunks;

use crate::Result;

/// Where the chunks of one layer are.
#[async_trait]
pub trait ChunkStore: Debug + Send + Sync + 'static {
    /// Fetches these chunks of the layer, in order, each as one [`Bytes`]. They need not be right: the caller verifies them. No
    /// chunk has more than [`CHUNK_LEN`](crate::index::CHUNK_LEN) bytes, whatever the store sends. Dropping the future
    /// cancels the requests behind it, which are bounded in time.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the store does not answer, or has lost a chunk since the layer was
    /// opened; [`Corrupt`](crate::ErrorKind::Corrupt) for what cannot be a chunk.
    async fn fetch(&self, chunks: Range<usize>) -> Result<Vec<Bytes>>;
}

/// How chunks are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPlan {
    /// Chunks of one request. Together with `in_flight` it bounds the memory of a stream or a read.
    pub chunks_per_fetch: usize,
    /// Requests under way at once, for one stream or read.
    pub in_flight: usize,
}
