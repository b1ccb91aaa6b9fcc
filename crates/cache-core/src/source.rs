//! What can be read: [`LayerSource`] and the [`LayerReader`] it opens.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::{Error, ErrorKind, LayerDescriptor, Result};

/// Bytes of a layer in order, in pieces of any size but never empty ones. After an error the stream ends.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// The place of a source, as seen from this machine. The nearest comes first.
///
/// A source declares its role, and nothing else tells it: what a source can do says little about where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Keeps layers on this machine: a read moves nothing over a network, and may take little longer
    /// than reading a clock.
    Local,
    /// Keeps layers in a store that several machines share. A tier of this role is written to in the
    /// background, from a copy that is nearer.
    Shared,
    /// Keeps no layers, but fetches and inflates a blob. It is asked last, by one reader of a machine,
    /// and of a cluster that has [leases](crate::lease::Leases): to ask it is to begin to fetch.
    Origin,
}

/// What a source can do beyond being asked for a layer; everything is off unless claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Every byte of a stream was verified before it is handed out. Without it a stream must be checked against the diff
    /// ID by whoever consumes it, as [`LayerCache`](crate::LayerCache) does. (What a
    /// [read](LayerReader::read_at) returns is verified in any case.)
    pub verified: bool,
    /// What a [`LayerWriter`](crate::LayerWriter) has written can be read before it is committed.
    pub read_while_write: bool,
    /// [`Tier::list`](crate::Tier::list) lists; without it the list is one [`ErrorKind::Permanent`] error.
    pub list: bool,
}

impl Capabilities {
    /// No capability.
    pub const NONE: Self = Self {
        verified: false,
        read_while_write: false,
        list: false,
    };

    /// The same with [`verified`](Self::verified).
    #[must_use]
    pub const fn with_verified(mut self) -> Self {
        self.verified = true;
        self
    }

    /// The same with [`read_while_write`](Self::read_while_write).
    #[must_use]
    pub const fn with_read_while_write(mut self) -> Self {
        self.read_while_write = true;
        self
    }

    /// The same with [`list`](Self::list).
    #[must_use]
    pub const fn with_list(mut self) -> Self {
        self.list = true;
        self
    }
}

/// Anything that can open a layer for reading: a tier, a registry, an OCI layout, a whole cache.
///
/// # Contract
/// - Absence is `Ok(None)`, and is said only when it is *known*: whoever cannot tell returns
///   [`ErrorKind::Unavailable`].
/// - Dropping a future of any method cancels it and leaves the source as it was before the call.
/// - Every wait is bounded by a time-out of the source.
#[async_trait]
pub trait LayerSource: Debug + Send + Sync + 'static {
    /// A short, constant name: it stands in error texts and labels metrics.
    fn name(&self) -> &str;

    /// Where this source stands. Constant over its life; a wrapper has the role of the source inside,
    /// and a cache the role of the nearest of its sources.
    fn role(&self) -> Role;

    /// What this source can do. Constant over its life.
    fn capabilities(&self) -> Capabilities;

    /// Opens `layer` for reading, or returns `None` when this source does not have it.
    ///
    /// # Errors
    /// See [`ErrorKind`]: each says what the caller does next.
    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>>;

    /// Looks what [opening](Self::open) `layer` would find, and leaves no trace: nothing is fetched, hashed or removed, and a
    /// tier that evicts does not take the layer for used.
    ///
    /// Opens the layer, unless the source is an origin: to ask that is to begin to fetch. A source that knows a better way to
    /// tell overrides this, and a wrapper forwards it.
    ///
    /// # Errors
    /// Those of opening it.
    async fn probe(&self, layer: &LayerDescriptor) -> Result<Probe> {
        if self.role() == Role::Origin {
            return Ok(Probe::NotAsked);
        }
        let opened = self.open(layer).await?;
        Ok(opened.map_or(Probe::Absent, Probe::Present))
    }
}

/// What [opening](LayerSource::open) a layer would find, by [`LayerSource::probe`].
#[derive(Clone, Debug)]
pub enum Probe {
    /// The source has the layer, and this reads it. A layer on disk may be evicted meanwhile, which frees its room once the
    /// reader is dropped.
    Present(Arc<dyn LayerReader>),
    /// The source has something that has to be hashed before it is known to be the layer.
    Unverified,
    /// The source lacks the layer.
    Absent,
    /// The source lacks the layer, and [`create`](crate::Tier::create) would refuse it at once, for this reason. A layer that
    /// only turns out too long while it is written is [absent](Self::Absent).
    Refused(Error),
    /// The source is an origin, and only fetching tells.
    NotAsked,
}

/// One open layer. It stays readable for as long as the handle lives, unless the store behind it loses the bytes, which
/// is an error and never a short or wrong read.
///
/// # Contract
/// - Any number of reads may run at once.
/// - What a read returns was verified, or comes from a store that holds verified layers only; a source that cannot verify a
///   part without the rest, as an origin, reads all of the layer for each read.
/// - Dropping a future or a stream cancels the work behind it.
#[async_trait]
pub trait LayerReader: Debug + Send + Sync + 'static {
    /// Length of the layer in bytes, or `None` while it is still unknown.
    fn len(&self) -> Option<u64>;

    /// Whether a read costs about what it reads. Otherwise a read at an offset costs everything in front
    /// of the offset, as it does with an origin that inflates, or waits for it to arrive.
    ///
    /// The answer holds for now: a reader that follows a fill gains random access when the fill ends, and
    /// a cache's reader has that of the source which it reads from.
    fn random_access(&self) -> bool;

    /// Whether the layer is known to have no bytes.
    fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Reads at `offset` (in bytes) until `buf` is full or the layer ends, and returns how many bytes it read: less than
    /// `buf.len()` only at the end, 0 at or past the end. What `buf` holds after an error is unspecified.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] or [`ErrorKind::Corrupt`] when the bytes cannot be had from here (any more).
    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// The bytes from `offset` to the end of the layer; empty at or past the end.
    ///
    /// Nothing happens before the stream is polled. Where the source does not claim [`Capabilities::verified`], the
    /// bytes are proven right only when the stream ends without an error.
    fn stream(self: Arc<Self>, offset: u64) -> ByteStream;
}

/// Sugar for every [`LayerSource`].
#[async_trait]
pub trait LayerSourceExt: LayerSource {
    /// Opens `layer`; an absent layer is an [`ErrorKind::NotFound`] error.
    ///
    /// # Errors
    /// Those of [`LayerSource::open`], and `NotFound`.
    async fn get(&self, layer: &LayerDescriptor) -> Result<Arc<dyn LayerReader>> {
        self.open(layer)
            .await?
            .ok_or_else(|| not_found(self.name(), layer))
    }
}

/// The error of a layer that `source` and all that it asked know to be absent.
pub(crate) fn not_found(source: &str, layer: &LayerDescriptor) -> Error {
    let message = "no source has this layer: it may have been removed since its image was pushed";
    Error::new(ErrorKind::NotFound, message)
        .at(source, "open")
        .of_layer(&layer.digest)
}

impl<S: LayerSource + ?Sized> LayerSourceExt for S {}

/// Ranges up to this many bytes are read at once.
const MAX_READ_LEN: usize = 256 * 1024;

/// Sugar for every [`LayerReader`].
#[async_trait]
pub trait LayerReaderExt: LayerReader {
    /// Reads up to `len` bytes at `offset` into memory: fewer only at the end of the layer. The caller bounds `len`.
    ///
    /// # Errors
    /// Those of [`LayerReader::read_at`].
    async fn read_bytes(&self, offset: u64, len: usize) -> Result<Bytes> {
        let mut buf = vec![0; len];
        let read = self.read_at(offset, &mut buf).await?;
        buf.truncate(read);
        Ok(Bytes::from(buf))
    }

    /// The bytes from `offset`, `len` at most: fewer only at the end of the layer. Dropping the stream cancels it.
    ///
    /// A reader that does not know its length yet may not have verified what it reads before the end of the layer: then
    /// the stream goes on to there behind the last byte, so that an error is not missed.
    fn stream_range(self: Arc<Self>, offset: u64, len: u64) -> ByteStream {
        let proven = self.len().is_some();
        if len == 0 {
            return stream::empty().boxed();
        }
        if let (true, Ok(len @ ..=MAX_READ_LEN)) = (proven, usize::try_from(len)) {
            // One read of just these bytes.
            let read = async move { self.read_bytes(offset, len).await };
            return stream::once(read)
                .try_filter(|piece| std::future::ready(!piece.is_empty()))
                .boxed();
        }
        let state = (self.stream(offset), len);
        stream::try_unfold(state, move |(mut bytes, left)| async move {
            if left > 0 {
                let Some(mut piece) = bytes.try_next().await? else {
                    return Ok(None);
                };
                piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - piece.len() as u64;
                return Ok(Some((piece, (bytes, left))));
            }
            while !proven && bytes.try_next().await?.is_some() {}
            Ok(None)
        })
        .boxed()
    }
}

impl<R: LayerReader + ?Sized> LayerReaderExt for R {}

#[async_trait]
impl<S: LayerSource + ?Sized> LayerSource for Arc<S> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn role(&self) -> Role {
        (**self).role()
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        (**self).open(layer).await
    }

    async fn probe(&self, layer: &LayerDescriptor) -> Result<Probe> {
        (**self).probe(layer).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of 10 bytes, and an error behind them.
    #[derive(Debug)]
    struct Reader {
        len: Option<u64>,
        pieces: usize,
    }

    #[async_trait]
    impl LayerReader for Reader {
        fn len(&self) -> Option<u64> {
            self.len
        }

        fn random_access(&self) -> bool {
            true
        }

        async fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Result<usize> {
            Err(Error::unavailable("streams alone are tested"))
        }

        fn stream(self: Arc<Self>, _offset: u64) -> ByteStream {
            let pieces = (0..self.pieces).map(|_| Ok(Bytes::from_static(&[7; 10])));
            stream::iter(pieces.chain([Err(Error::corrupt("these were not the layer's bytes"))])).boxed()
        }
    }

    #[tokio::test]
    async fn a_range_of_what_is_not_proven_yet_ends_with_what_the_layer_ends_with() {
        let longer_than_a_read = MAX_READ_LEN as u64 + 1;
        let read = async |len: Option<u64>, wanted: u64| {
            let pieces = wanted as usize / 10 + 5;
            let mut range = Arc::new(Reader { len, pieces }).stream_range(3, wanted);
            let mut read = 0;
            loop {
                match range.next().await {
                    Some(Ok(piece)) => read += piece.len() as u64,
                    end => return (read, end.map(|end| end.unwrap_err().kind())),
                }
            }
        };
        assert_eq!(read(None, 15).await, (15, Some(ErrorKind::Corrupt)));
        assert_eq!(
            read(Some(u64::MAX), longer_than_a_read).await,
            (longer_than_a_read, None)
        );
        assert_eq!(read(None, 0).await, (0, None));
    }

    #[test]
    fn empty_is_what_is_known_to_have_no_bytes() {
        let empty = |len| Reader { len, pieces: 0 }.is_empty();
        assert_eq!(
            [empty(None), empty(Some(0)), empty(Some(1))],
            [false, true, false]
        );
    }
}
