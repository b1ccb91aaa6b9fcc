//! What the laws do to a tier, and what they say when it does not go as it should.

use std::sync::Arc;

use bytes::Bytes;
use cache_core::{
    Claim, Digest, Error, ErrorKind, LayerReader, LayerReaderExt, LayerSource, LayerWriter, Result, Tier,
};
use futures_util::{StreamExt, TryStreamExt};

use super::Sample;

/// How much is written at once where it does not matter: no divisor of anything.
const PIECE: usize = 200_003;

/// Asserts that `done` went well.
pub(super) fn well<T>(done: Result<T>, what: &str) -> T {
    done.unwrap_or_else(|error| panic!("{what} failed: {error:?}"))
}

pub(super) async fn open(source: &dyn LayerSource, sample: &Sample) -> Option<Arc<dyn LayerReader>> {
    well(source.open(&sample.descriptor).await, "opening")
}

/// Opens a layer that has to be there.
pub(super) async fn opened(source: &dyn LayerSource, sample: &Sample) -> Arc<dyn LayerReader> {
    open(source, sample).await.expect("the layer is there")
}

/// Claims a layer that nobody has or fills.
pub(super) async fn claim(tier: &dyn Tier, sample: &Sample) -> Box<dyn LayerWriter> {
    match well(tier.create(&sample.descriptor).await, "create") {
        Claim::Write(writer) => writer,
        Claim::Exists(_) => panic!("create says Exists of a layer that was never committed"),
    }
}

/// Writes all of `bytes` in pieces.
pub(super) async fn write(writer: &mut dyn LayerWriter, bytes: &Bytes) -> Result<()> {
    for piece in bytes.chunks(PIECE) {
        writer.write(bytes.slice_ref(piece)).await?;
        // Lets others in, also where a tier never waits.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Claims a layer, writes it and commits it, unless it is there.
pub(super) async fn try_fill(tier: &dyn Tier, sample: &Sample) -> Result<Arc<dyn LayerReader>> {
    match tier.create(&sample.descriptor).await? {
        Claim::Exists(reader) => Ok(reader),
        Claim::Write(mut writer) => {
            write(&mut *writer, &sample.bytes).await?;
            writer.commit(&sample.index).await
        }
    }
}

pub(super) async fn fill(tier: &dyn Tier, sample: &Sample) -> Arc<dyn LayerReader> {
    well(try_fill(tier, sample).await, "filling")
}

/// The lengths the tier lists of these layers, in their order; `None` for those it does not list. All `None` where it
/// cannot list.
pub(super) async fn listed(tier: &dyn Tier, samples: &[&Sample]) -> Vec<Option<u64>> {
    if !tier.capabilities().list {
        return vec![None; samples.len()];
    }
    let stats: Vec<_> = well(tier.list().try_collect().await, "listing");
    let len_of = |sample: &&Sample| {
        let mut lens = stats
            .iter()
            .filter(|stat| stat.digest == *sample.digest())
            .map(|stat| stat.len);
        let len = lens.next();
        assert!(lens.next().is_none(), "a layer is listed twice");
        len
    };
    samples.iter().map(len_of).collect()
}

/// Asserts that the tier does not have the layer.
pub(super) async fn absent(tier: &dyn Tier, sample: &Sample) {
    assert!(open(tier, sample).await.is_none(), "the layer can be opened");
    assert_eq!(listed(tier, &[sample]).await, [None], "the layer is listed");
}

/// Asserts that the tier has the layer, all of it.
pub(super) async fn present(tier: &dyn Tier, sample: &Sample) {
    right(&opened(tier, sample).await, sample).await;
    if tier.capabilities().list {
        let listed = listed(tier, &[sample]).await;
        assert_eq!(listed, [Some(sample.len())], "the list");
    }
}

/// Asserts that a reader of a committed layer reads all of it, and nothing beyond.
pub(super) async fn right(reader: &Arc<dyn LayerReader>, sample: &Sample) {
    if let Some(len) = reader.len() {
        assert_eq!(len, sample.len(), "the length of the layer");
    }
    assert_eq!(
        reader.is_empty(),
        reader.len() == Some(0),
        "whether the layer is empty"
    );
    let read = reader.read_bytes(0, sample.bytes.len() + 1).await;
    equal(&well(read, "reading"), &sample.bytes, "a read of the layer");
    let streamed = streamed(reader, 0).await;
    equal(
        &well(streamed, "streaming"),
        &sample.bytes,
        "a stream of the layer",
    );
}

/// Asserts that a reader reads the right bytes, or says that it cannot: never others, and never fewer.
pub(super) async fn right_or_failed(reader: &Arc<dyn LayerReader>, sample: &Sample) {
    for (offset, len) in [(0, sample.bytes.len() + 1), (sample.len() / 2, 1000)] {
        match reader.read_bytes(offset, len).await {
            Ok(read) => equal(&read, &sample.range(offset, len), "a read"),
            Err(error) => lost(&error, sample),
        }
    }
    match streamed(reader, 0).await {
        Ok(streamed) => equal(&streamed, &sample.bytes, "a stream that ended well"),
        Err(error) => lost(&error, sample),
    }
}

/// Asserts that a reader of a layer whose diff ID is claimed to be another hands out no wrong bytes as right ones. A source that
/// has nothing to compare with yet finds out at the end.
pub(super) async fn right_or_refused(reader: &Arc<dyn LayerReader>, sample: &Sample) {
    if let Ok(read) = reader.read_bytes(0, sample.bytes.len() + 1).await {
        equal(&read, &sample.bytes, "a read under a false diff ID");
    }
    if let Ok(streamed) = streamed(reader, 0).await {
        equal(&streamed, &sample.bytes, "a stream under a false diff ID");
    }
}

/// Asserts that the error is one of a layer that cannot be had any more.
pub(super) fn lost(error: &Error, sample: &Sample) {
    let lost = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Corrupt);
    assert!(
        lost,
        "bytes that are lost are Unavailable or Corrupt, not {error:?}"
    );
    assert_eq!(error.layer(), Some(sample.digest()), "the layer in {error:?}");
}

/// All that a stream from `offset` gives. Asserts that no piece is empty and that nothing follows an error.
pub(super) async fn streamed(reader: &Arc<dyn LayerReader>, offset: u64) -> Result<Bytes> {
    let mut stream = Arc::clone(reader).stream(offset);
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => {
                assert!(!piece.is_empty(), "a piece of a stream is empty");
                bytes.extend_from_slice(&piece);
            }
            Err(error) => {
                assert!(stream.next().await.is_none(), "a stream goes on after {error:?}");
                return Err(error);
            }
        }
    }
    Ok(bytes.into())
}

/// Asserts that both are the same, and prints neither: they may be long.
pub(super) fn equal(seen: &[u8], expected: &[u8], what: &str) {
    if seen == expected {
        return;
    }
    assert_eq!(seen.len(), expected.len(), "the length of {what}");
    let differs = seen
        .iter()
        .zip(expected)
        .position(|(seen, expected)| seen != expected);
    assert_eq!(differs, None, "the first wrong byte of {what}");
}

/// Asserts that an error names the tier, the operation and, if it is of one, the layer.
pub(super) fn named(error: &Error, source: &dyn LayerSource, layer: Option<&Digest>) {
    let tier = error.tier().unwrap_or_else(|| panic!("no tier in {error:?}"));
    // A composition names the part where it happened.
    assert!(!tier.is_empty(), "{error:?}");
    let shown = error.to_string();
    let rest = shown.strip_prefix(&format!("{tier}: "));
    let rest = rest.unwrap_or_else(|| panic!("{shown:?} does not begin with the tier"));
    if let Some(layer) = layer {
        assert_eq!(error.layer(), Some(layer), "the layer in {shown:?} of {source:?}");
        let (operation, _) = rest
            .split_once(&format!(" {layer}: "))
            .unwrap_or_else(|| panic!("{shown:?} does not name operation and layer"));
        assert!(
            !operation.is_empty() && operation != "layer",
            "no operation in {shown:?}"
        );
    } else {
        let operation = rest.split_once(": ").map(|(operation, _)| operation);
        assert!(
            operation.is_some_and(|operation| !operation.is_empty()),
            "no operation in {shown:?}"
        );
    }
}
