//! What comes out of a blob, for every format and for every way a blob can be wrong.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cache_testkit::Recorded;
use futures_util::{StreamExt, TryStreamExt, stream};
use proptest::prelude::*;

use super::*;
use crate::{ByteStream, Digest, Error, ErrorKind, LayerDescriptor, LayerReader, LayerReaderExt, Result};

/// A blob served in pieces, with an optional failure behind the last.
#[derive(Clone, Debug)]
struct Blob {
    bytes: Vec<u8>,
    piece: usize,
    failure: Option<Error>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            piece: 1000,
            failure: None,
        }
    }
}

#[async_trait]
impl BlobReader for Blob {
    fn stream(self: Arc<Self>) -> ByteStream {
        let pieces: Vec<_> = self
            .bytes
            .chunks(self.piece)
            .map(|p| Ok(Bytes::copy_from_slice(p)))
            .collect();
        stream::iter(pieces.into_iter().chain(self.failure.clone().map(Err))).boxed()
    }

    async fn fetch(self: Arc<Self>, range: Range<u64>) -> Result<Option<Bytes>> {
        check_range(&range, Some(self.bytes.len() as u64))?;
        Ok(Some(Bytes::copy_from_slice(
            &self.bytes[range.start as usize..range.end as usize],
        )))
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// A zstd skippable frame, as seekable zstd and eStargz-like formats append them.
fn skippable(content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x53, 0x2a, 0x4d, 0x18];
    frame.extend((content.len() as u32).to_le_bytes());
    frame.extend(content);
    frame
}

fn layer_bytes(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0] & 0x1f)
        .collect()
}

fn descriptor(blob: &[u8], layer: &[u8]) -> LayerDescriptor {
    LayerDescriptor::new(Digest::sha256_of(blob))
        .with_size(blob.len() as u64)
        .with_diff_id(Digest::sha256_of(layer))
}

async fn inflated(reader: Arc<dyn LayerReader>, offset: u64) -> Result<Vec<u8>> {
    reader
        .stream(offset)
        .try_fold(
            Vec::new(),
            |all, piece| async move { Ok([&all[..], &piece].concat()) },
        )
        .await
}

async fn failure(blob: Blob, layer: &LayerDescriptor) -> Error {
    let reader = Inflater::default().reader("origin", layer, Arc::new(blob));
    let error = reader.read_bytes(0, 10).await.unwrap_err();
    assert_eq!(
        (error.tier(), error.layer()),
        (Some("origin"), Some(&layer.digest))
    );
    error
}

#[tokio::test]
async fn every_format_gives_the_same_layer() {
    let layer = layer_bytes(600_000);
    let (head, tail) = layer.split_at(250_000);
    let blobs = [
        gzip(&layer),
        [gzip(head), gzip(b""), gzip(tail)].concat(),
        zstd(&layer),
        [zstd(head), skippable(b"note"), zstd(tail)].concat(),
        [skippable(b""), zstd(&layer), skippable(&[7; 300])].concat(),
        layer.clone(),
    ];
    let inflater = Inflater::default();
    for blob in blobs {
        for piece in [1000, 97, 400_000] {
            let descriptor = descriptor(&blob, &layer);
            let reader = inflater.reader(
                "origin",
                &descriptor,
                Arc::new(Blob {
                    piece,
                    ..Blob::new(blob.clone())
                }),
            );
            assert!(inflated(Arc::clone(&reader), 0).await.unwrap() == layer);
            assert!(inflated(Arc::clone(&reader), 599_999).await.unwrap() == layer[599_999..]);
            assert!(reader.read_bytes(249_990, 20).await.unwrap() == layer[249_990..250_010]);
            assert_eq!(reader.read_bytes(600_000, 20).await.unwrap(), Bytes::new());
            assert_eq!(reader.len(), None);
        }
    }
    assert_eq!(inflater.stats().inflates(), 6 * 3 * 4);
    assert_eq!(inflater.stats().bytes(), 6 * 3 * 4 * 600_000);
}

#[tokio::test]
async fn an_empty_layer_is_a_layer() {
    for blob in [gzip(b""), zstd(b""), Vec::new()] {
        let reader = Inflater::default().reader("origin", &descriptor(&blob, b""), Arc::new(Blob::new(blob)));
        assert_eq!(reader.read_bytes(0, 1).await.unwrap(), Bytes::new());
    }
}

#[tokio::test]
async fn a_wrong_blob_is_corrupt_and_says_how() {
    let layer = layer_bytes(700_000);
    for blob in [gzip(&layer), zstd(&layer), layer.clone()] {
        let right = descriptor(&blob, &layer);

        let mut other = right.clone();
        other.digest = Digest::sha256_of(b"other");
        let error = failure(Blob::new(blob.clone()), &other).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains(&right.digest.to_string()), "{error}");

        let mut other = right.clone();
        other.diff_id = Some(Digest::sha256_of(b"other"));
        let error = failure(Blob::new(blob.clone()), &other).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains("diff ID"), "{error}");

        let cut = Blob::new(blob[..blob.len() - 5].to_vec());
        let error = failure(cut.clone(), &right).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains("ends after"), "{error}");

        let longer = [&blob[..], b"garbage"].concat();
        let error = failure(Blob::new(longer), &right).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains("longer than"), "{error}");
    }
}

#[tokio::test]
async fn a_blob_that_is_named_rightly_but_does_not_inflate_is_corrupt() {
    let layer = layer_bytes(700_000);
    let (gzip, zstd) = (gzip(&layer), zstd(&layer));
    let mut flipped = gzip.clone();
    flipped[gzip.len() - 6] ^= 1;
    let wrong = [
        gzip[..gzip.len() - 1].to_vec(),
        gzip[..5].to_vec(),
        [&gzip[..], b"trailing garbage"].concat(),
        flipped,
        zstd[..zstd.len() - 1].to_vec(),
        [&zstd[..], b"trailing garbage"].concat(),
    ];
    for blob in wrong {
        let format = if blob.starts_with(&[0x1f, 0x8b]) {
            "gzip"
        } else {
            "zstd"
        };
        let error = failure(Blob::new(blob.clone()), &descriptor(&blob, &layer)).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let words = format!("is not a valid {format} stream");
        assert!(error.message().contains(&words), "{error}");
    }
}

#[tokio::test]
async fn formats_that_no_layer_has_are_refused_by_name() {
    for (blob, name) in [(&b"BZh9..."[..], "bzip2"), (b"\xfd7zXZ\0...", "xz")] {
        let error = failure(Blob::new(blob.to_vec()), &descriptor(blob, b"")).await;
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(error.message().contains(name), "{error}");
    }
}

#[tokio::test]
async fn a_zstd_window_beyond_the_limit_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.write_all(&layer_bytes(100)).unwrap();
    let blob = encoder.finish().unwrap();
    let error = failure(Blob::new(blob.clone()), &descriptor(&blob, &layer_bytes(100))).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn a_layer_comes_in_pieces_as_long_as_its_decoder_leaves_room_for() {
    let layer = layer_bytes(2 << 20);
    for (blob, piece) in [
        (gzip(&layer), PIECE),
        (zstd(&layer), PIECE / 2),
        (layer.clone(), PIECE),
    ] {
        let reader =
            Inflater::default().reader("origin", &descriptor(&blob, &layer), Arc::new(Blob::new(blob)));
        let pieces: Vec<_> = reader.stream(0).try_collect().await.unwrap();
        assert!(pieces.iter().all(|inflated| inflated.len() == piece));
    }
}

#[tokio::test]
async fn a_bomb_stops_at_the_limit() {
    let layer = vec![0; 64 << 20];
    for (blob, piece) in [(gzip(&layer), PIECE), (zstd(&layer), PIECE / 2)] {
        assert!(blob.len() < 1 << 20);
        let inflater = Inflater::new(InflateLimits::default().with_max_layer_bytes(1 << 20));
        let reader = inflater.reader("origin", &descriptor(&blob, &layer), Arc::new(Blob::new(blob)));
        let error = reader.read_bytes(0, 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(error.message().contains("max_layer_bytes (1048576)"), "{error}");
        assert!(inflater.stats().bytes() <= ((1 << 20) + piece) as u64);
    }
}

#[tokio::test]
async fn a_layer_as_long_as_the_limit_is_inflated_and_counted_and_one_byte_more_is_refused() {
    // Neither ends with a piece.
    for len in [1000, 700_000] {
        let layer = layer_bytes(len);
        let blob = gzip(&layer);
        let recorded = Recorded::default();
        let _listening = recorded.listen();
        for (limit, fits) in [(len as u64, true), (len as u64 - 1, false), (1, false)] {
            let inflater = Inflater::new(InflateLimits::default().with_max_layer_bytes(limit));
            let blob = Arc::new(Blob::new(blob.clone()));
            let reader = inflater.reader("origin", &descriptor(&blob.bytes, &layer), blob);
            assert_eq!(inflated(reader, 0).await.is_ok(), fits, "{len} of {limit}");
            let stats = inflater.stats();
            assert!(
                stats.inflates() == 1 && stats.busy() > Duration::ZERO,
                "{stats:?}"
            );
        }
        assert_eq!(recorded.value("layercache_inflates_total", &[]), 3.0);
        assert_eq!(recorded.samples("layercache_inflate_seconds", &[]).len(), 3);
    }
}

#[tokio::test]
async fn an_error_of_the_origin_comes_through_as_it_is() {
    let layer = layer_bytes(700_000);
    let blob = gzip(&layer);
    let cut = Blob {
        failure: Some(Error::unavailable("the connection was cut").at("mirror", "read")),
        ..Blob::new(blob[..blob.len() / 2].to_vec())
    };
    let reader = Inflater::default().reader("origin", &descriptor(&blob, &layer), Arc::new(cut));
    let error = reader.read_bytes(0, 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().starts_with("mirror: read sha256:"), "{error}");
}

/// A blob that never ends, and tells when its stream is dropped.
#[derive(Debug)]
struct Endless(tokio::sync::mpsc::UnboundedSender<()>);

#[async_trait]
impl BlobReader for Endless {
    fn stream(self: Arc<Self>) -> ByteStream {
        struct Dropped(tokio::sync::mpsc::UnboundedSender<()>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let dropped = Dropped(self.0.clone());
        let start = stream::iter([Ok(Bytes::from(vec![b'a'; PIECE + 1]))]);
        start
            .chain(stream::pending().map(move |never: Result<Bytes>| {
                let _ = &dropped;
                never
            }))
            .boxed()
    }

    async fn fetch(self: Arc<Self>, _: Range<u64>) -> Result<Option<Bytes>> {
        Ok(None)
    }
}

#[tokio::test]
async fn dropping_the_stream_stops_the_origin_and_frees_the_place() {
    let (sender, mut dropped) = tokio::sync::mpsc::unbounded_channel();
    let inflater = Inflater::new(InflateLimits::default().with_max_concurrent(1));
    let layer = LayerDescriptor::new(Digest::sha256_of(b"endless"));
    let endless = inflater.reader("origin", &layer, Arc::new(Endless(sender)));
    for _ in 0..3 {
        let mut stream = Arc::clone(&endless).stream(0);
        assert_eq!(stream.next().await.unwrap().unwrap().len(), PIECE);
        drop(stream);
        dropped.recv().await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_is_left_unread_gives_up_its_place() {
    let layer = layer_bytes(20_000_000);
    let descriptor = descriptor(&layer, &layer);
    let limits = InflateLimits::default()
        .with_max_concurrent(1)
        .with_max_idle(Duration::from_millis(10));
    let reader = Inflater::new(limits).reader(
        "origin",
        &descriptor,
        Arc::new(Blob {
            piece: 300_000,
            ..Blob::new(layer)
        }),
    );
    let mut unread = Arc::clone(&reader).stream(0);
    unread.next().await.unwrap().unwrap();
    // Waits for the place of the first.
    let mut next = reader.stream(0);
    next.next().await.unwrap().unwrap();
    let left: Vec<_> = unread.collect().await;
    let error = left.last().unwrap().as_ref().unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (
            ErrorKind::Unavailable,
            "the layer's stream was left unread for too long"
        )
    );
}

#[tokio::test]
async fn waiting_for_a_place_has_an_end() {
    let layer = layer_bytes(20_000_000);
    let descriptor = descriptor(&layer, &layer);
    let limits = InflateLimits::default()
        .with_max_concurrent(1)
        .with_max_queued(Duration::from_millis(10));
    let reader = Inflater::new(limits).reader(
        "origin",
        &descriptor,
        Arc::new(Blob {
            piece: 300_000,
            ..Blob::new(layer)
        }),
    );
    let mut first = Arc::clone(&reader).stream(0);
    first.next().await.unwrap().unwrap();
    assert_eq!(
        reader.read_bytes(0, 1).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

const PIECE: usize = 512 * 1024;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_blob_ends_and_damage_never_passes(
        members in prop::collection::vec(0usize..200_000, 1..4), zstd_format: bool,
        piece in 1usize..100_000, at: prop::sample::Index, bit in 0u8..8,
    ) {
        let encode = if zstd_format { zstd } else { gzip };
        let blob: Vec<u8> = members.iter().flat_map(|&len| encode(&layer_bytes(len))).collect();
        let layer: Vec<u8> = members.iter().flat_map(|&len| layer_bytes(len)).collect();
        let descriptor = descriptor(&blob, &layer);
        let mut damaged = blob.clone();
        let at = at.index(blob.len());
        damaged[at] ^= 1 << bit;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let inflater = Inflater::default();
            let reader = inflater.reader("origin", &descriptor, Arc::new(Blob { piece, ..Blob::new(blob) }));
            assert!(inflated(reader, 0).await.unwrap() == layer);
            let reader = inflater.reader("origin", &descriptor, Arc::new(Blob { piece, ..Blob::new(damaged) }));
            assert!(inflated(reader, 0).await.is_err());
        });
    }
}
