//! Laws of reading, for sources and for tiers.

use std::collections::BTreeSet;
use std::sync::Arc;

use cache_core::{LayerReader, LayerReaderExt};
use futures_util::StreamExt;
use tokio::task::JoinSet;

use super::sample::CHUNK;
use super::steps::{equal, fill, opened, right, streamed, well};
use super::{Sample, TierSubject};

/// `read_at` "reads until `buf` is full or the layer ends: less only at the end, 0 at or past the end", and `stream` has "the
/// bytes from `offset` to the end of the layer; empty at or past the end"
/// ([`LayerReader`](cache_core::LayerReader)): around every boundary of layers around every boundary.
pub async fn layers_of_any_length_read_as_written(subject: &TierSubject) {
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17] {
        let sample = Sample::random(len);
        let committed = fill(&*subject.tier, &sample).await;
        ranges(&committed, &sample, true).await;
        let opened = opened(&*subject.tier, &sample).await;
        assert_eq!(opened.len(), Some(sample.len()), "the length of an open layer");
        assert_eq!(opened.is_empty(), len == 0, "whether the layer is empty");
        ranges(&opened, &sample, false).await;
    }
}

/// "Dropping a stream cancels the work behind it", and nothing else ([`LayerReader`](cache_core::LayerReader)).
pub async fn a_stream_that_is_dropped_harms_nobody(subject: &TierSubject) {
    let sample = Sample::random(3 * CHUNK + 1);
    let reader = fill(&*subject.tier, &sample).await;
    dropped_streams(&reader, &sample).await;
    right(&opened(&*subject.tier, &sample).await, &sample).await;
}

/// "Any number of reads may run at once" ([`LayerReader`](cache_core::LayerReader)).
pub async fn many_read_at_once(subject: &TierSubject) {
    let sample = Sample::random(2 * CHUNK + 5);
    fill(&*subject.tier, &sample).await;
    let reader = opened(&*subject.tier, &sample).await;
    at_once(&reader, &sample).await;
}

/// Reads ranges around the boundaries of the layer; from `every` one of these, or from a few.
pub(super) async fn ranges(reader: &Arc<dyn LayerReader>, sample: &Sample, every: bool) {
    let end = sample.len();
    let chunk = CHUNK as u64;
    let boundaries = [0, chunk, 2 * chunk, end];
    let offsets: BTreeSet<u64> = boundaries
        .iter()
        .flat_map(|boundary| [boundary.saturating_sub(1), *boundary, boundary + 1])
        .filter(|offset| *offset <= end + 1)
        .chain([u64::MAX])
        .collect();
    let lens = if every {
        &[0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 1][..]
    } else {
        &[2, CHUNK + 1][..]
    };
    for offset in offsets {
        for len in lens {
            range(reader, sample, offset, *len).await;
        }
        let streamed = well(streamed(reader, offset).await, "streaming");
        equal(
            &streamed,
            &sample.range(offset, usize::MAX),
            &format!("a stream from {offset} of {end}"),
        );
    }
    right(reader, sample).await;
}

/// Reads one range.
pub(super) async fn range(reader: &Arc<dyn LayerReader>, sample: &Sample, offset: u64, len: usize) {
    let read = well(reader.read_bytes(offset, len).await, "reading");
    let what = format!(
        "a read at {offset} of {len} bytes, in a layer of {}",
        sample.len()
    );
    equal(&read, &sample.range(offset, len), &what);
}

/// Drops streams that were never polled, and streams of which a piece was had.
pub(super) async fn dropped_streams(reader: &Arc<dyn LayerReader>, sample: &Sample) {
    let mut other = Arc::clone(reader).stream(0).fuse();
    let mut seen = Vec::new();
    for offset in [0, 1, sample.len() / 2, sample.len()] {
        drop(Arc::clone(reader).stream(offset));
        let mut dropped = Arc::clone(reader).stream(offset);
        let piece = dropped.next().await.map(|piece| well(piece, "streaming"));
        drop(dropped);
        let piece = piece.unwrap_or_default();
        equal(
            &piece,
            &sample.range(offset, piece.len()),
            "the first piece of a stream",
        );
        if let Some(piece) = other.next().await {
            seen.extend_from_slice(&well(piece, "streaming beside a stream that is dropped"));
        }
    }
    while let Some(piece) = other.next().await {
        seen.extend_from_slice(&well(piece, "streaming after others were dropped"));
    }
    equal(&seen, &sample.bytes, "a stream beside others that were dropped");
    right(reader, sample).await;
}

/// Reads and streams a layer by many tasks.
pub(super) async fn at_once(reader: &Arc<dyn LayerReader>, sample: &Sample) {
    let mut tasks = JoinSet::new();
    for task in 0..8_u64 {
        let (reader, sample) = (Arc::clone(reader), sample.clone());
        tasks.spawn(async move {
            if task < 2 {
                return right(&reader, &sample).await;
            }
            for step in 0..4 {
                let offset = (task * 131_071 + step * 300_007) % sample.len().max(1);
                range(&reader, &sample, offset, 10_000).await;
            }
        });
    }
    tasks.join_all().await;
}
