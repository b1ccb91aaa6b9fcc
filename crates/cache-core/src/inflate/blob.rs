//! The compressed bytes that an origin provides.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{ByteStream, Error, Result};

/// Longest range that [`BlobReader::fetch`] fetches, in bytes: all of it is held in memory.
pub const MAX_FETCH_LEN: u64 = 16 << 20;

/// A blob that an origin has found, not yet verified.
///
/// # Contract
/// - A blob is fetched when a stream is polled, not before, and again for each stream.
/// - An interrupted transfer is resumed inside the stream or the fetch; what comes out is the blob from its first byte
///   to its last, or the range, or an error. Nothing of it is verified by the origin: streams are by the
///   [`Inflater`](crate::inflate::Inflater), ranges by whoever fetches them.
/// - Dropping the stream or the future cancels the transfer.
#[async_trait]
pub trait BlobReader: Debug + Send + Sync + 'static {
    /// The blob's bytes, as stored by the origin.
    fn stream(self: Arc<Self>) -> ByteStream;

    /// Fetches all bytes of `range`, and no others. Returns `None` when the origin serves this blob as a whole only, as
    /// a server does that ignores ranges; finding that out moves no bytes of the blob.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a range that [`check_range`] refuses, and else those of the
    /// transfer.
    async fn fetch(self: Arc<Self>, range: Range<u64>) -> Result<Option<Bytes>>;
}

/// Checks a range before it is fetched: it is at most [`MAX_FETCH_LEN`] long, and inside the blob, where its length is
/// known.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when it is not.
pub fn check_range(range: &Range<u64>, blob_len: Option<u64>) -> Result<()> {
    let Range { start, end } = *range;
    let len = end.saturating_sub(start);
    if len > MAX_FETCH_LEN {
        let why =
            format!("a range of {len} bytes is longer than the {MAX_FETCH_LEN} that are fetched at once");
        return Err(Error::invalid(why));
    }
    match blob_len {
        Some(blob_len) if start > end || end > blob_len => Err(Error::invalid(format!(
            "the bytes from {start} to {end} are not inside the blob, which has {blob_len}"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    #[allow(clippy::reversed_empty_ranges, reason = "it is refused")]
    fn a_range_is_bounded_and_inside_the_blob() {
        for right in [0..0, 0..10, 10..10, 3..7] {
            assert!(check_range(&right, Some(10)).is_ok(), "{right:?}");
        }
        assert!(check_range(&(1 << 40..(1 << 40) + MAX_FETCH_LEN), None).is_ok());
        for (wrong, blob_len) in [
            (0..11, Some(10)),
            (11..11, Some(10)),
            (7..3, Some(10)),
            (0..MAX_FETCH_LEN + 1, None),
            (0..u64::MAX, Some(u64::MAX)),
        ] {
            let error = check_range(&wrong, blob_len).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong:?}");
        }
    }
}
