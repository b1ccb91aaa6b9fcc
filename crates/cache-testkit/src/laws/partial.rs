//! The law of reading a layer while it is written.

use std::sync::Arc;

use cache_core::{LayerReader, LayerReaderExt};
use futures_util::StreamExt;

use super::sample::CHUNK;
use super::steps::{claim, equal, lost, right, right_or_failed, well};
use super::{Sample, TierSubject};

/// A partial reader "reads short at the end of what is written; its `len` is `None`; after a commit it reads the whole layer"
/// ([`LayerWriter::partial`](cache_core::LayerWriter::partial)). Where [`read_while_write`](cache_core::Capabilities::read_while_write)
/// is not claimed, there is none at any time.
pub async fn a_partial_reader_follows_the_writer(subject: &TierSubject) {
    let tier = &*subject.tier;
    for committed in [true, false] {
        let sample = Sample::random(2 * CHUNK + 100);
        let mut writer = claim(tier, &sample).await;
        let partial = writer.partial();
        assert_eq!(
            partial.is_some(),
            tier.capabilities().read_while_write,
            "whether it can be read"
        );
        let mut written = 0;
        for piece in [1, 1000, CHUNK - 1001, 1, CHUNK, 99] {
            well(
                writer.write(sample.bytes.slice(written..written + piece)).await,
                "write",
            );
            written += piece;
            let Some(partial) = &partial else {
                assert!(writer.partial().is_none(), "it cannot be read after all");
                continue;
            };
            let anew = writer.partial().expect("a reader for everybody who asks");
            for reader in [partial, &anew] {
                prefix(reader, &sample, written).await;
            }
        }
        if committed {
            well(writer.commit(&sample.index).await, "commit");
        } else {
            drop(writer);
        }
        match &partial {
            Some(partial) if committed => {
                assert_eq!(
                    partial.len(),
                    Some(sample.len()),
                    "after the commit the length is known"
                );
                right(partial, &sample).await;
            }
            Some(partial) => still_prefix(partial, &sample).await,
            None => {}
        }
    }
}

/// Asserts that the first `written` bytes are read, and nothing else.
async fn prefix(reader: &Arc<dyn LayerReader>, sample: &Sample, written: usize) {
    assert_eq!(reader.len(), None, "the length is not known before the commit");
    assert!(!reader.is_empty(), "nor is whether there are bytes");
    let end = written as u64;
    for (offset, len) in [
        (0, written),
        (0, written + 10),
        (end - 1, 2),
        (end, 5),
        (end + 7, 5),
        (u64::MAX, 1),
    ] {
        let read = well(reader.read_bytes(offset, len).await, "reading what was written");
        let start = written.min(usize::try_from(offset).unwrap_or(usize::MAX));
        equal(
            &read,
            &sample.bytes[start..written.min(start.saturating_add(len))],
            "a read of what was written",
        );
    }
    still_prefix(reader, sample).await;
}

/// Asserts that whatever is read is the layer's, also after the writer is gone.
async fn still_prefix(reader: &Arc<dyn LayerReader>, sample: &Sample) {
    match reader.read_bytes(0, sample.bytes.len() + 1).await {
        Ok(read) => equal(
            &read,
            &sample.range(0, read.len()),
            "what an unfinished layer reads",
        ),
        Err(error) => lost(&error, sample),
    }
    let mut stream = Arc::clone(reader).stream(0);
    let mut at = 0;
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => {
                equal(
                    &piece,
                    &sample.range(at, piece.len()),
                    "what an unfinished layer streams",
                );
                at += piece.len() as u64;
            }
            Err(error) => {
                lost(&error, sample);
                break;
            }
        }
    }
    if reader.len().is_some() {
        right_or_failed(reader, sample).await;
    }
}
