//! One file of a layer, whole or in part.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{ByteStream, Error, ErrorKind, LayerReader, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use image_tree::FileReader;
use proptest::prelude::*;
use support::*;
use tar::EntryType;

/// A layer with one sparse file of these regions, and the content of the file.
fn sparse(regions: &[(usize, usize)], size: usize) -> (Vec<u8>, Vec<u8>) {
    let mut file = vec![0; size];
    let mut stored = Vec::new();
    for (n, &(start, len)) in regions.iter().enumerate() {
        let data: Vec<u8> = (0..len).map(|i| (i + n) as u8 | 1).collect();
        file[start..start + len].copy_from_slice(&data);
        stored.extend(data);
    }
    let map: Vec<String> = regions
        .iter()
        .map(|(start, len)| format!("{start},{len}"))
        .collect();
    let records = [
        ("GNU.sparse.size", &*size.to_string()),
        ("GNU.sparse.map", &map.join(",")),
    ];
    let layer = [
        pax(&records),
        member(header("f", EntryType::Regular, stored.len() as u64), &stored),
    ]
    .concat();
    (layer, file)
}

#[test]
fn a_stream_takes_one_stream_of_the_layer_whatever_the_holes() {
    let (layer, file) = sparse(&[(100, 3000), (10_000, 2000), (200_000, 1)], 300_000);
    let reader = MemoryReader::new(&layer);
    let entry = tree_of(&layer).unwrap().entries()[0].clone();
    let pieces: Vec<Bytes> = block_on(
        FileReader::new(reader.clone(), &entry)
            .unwrap()
            .stream(0, u64::MAX)
            .try_collect(),
    )
    .unwrap();
    assert_eq!(pieces.concat(), file);
    assert!(
        pieces
            .iter()
            .all(|piece| !piece.is_empty() && piece.len() <= 64 * 1024)
    );
    assert_eq!((reader.streams.load(Relaxed), reader.reads.load(Relaxed)), (1, 0));
}

#[test]
fn a_hole_is_read_without_the_layer() {
    let (layer, _) = sparse(&[(0, 10)], 1 << 20);
    let reader = MemoryReader::new(&layer);
    let entry = tree_of(&layer).unwrap().entries()[0].clone();
    let file = FileReader::new(reader.clone(), &entry).unwrap();
    let mut buf = [1; 5000];
    assert_eq!(block_on(file.read_at(600_000, &mut buf)).unwrap(), 5000);
    assert_eq!(buf, [0; 5000]);
    let pieces: Vec<Bytes> = block_on(file.stream(600_000, 70_000).try_collect()).unwrap();
    assert_eq!(pieces.concat(), [0; 70_000]);
    assert_eq!((reader.streams.load(Relaxed), reader.reads.load(Relaxed)), (0, 0));
}

#[test]
fn what_is_beyond_the_end_is_empty() {
    let layer = member(header("f", EntryType::Regular, 5), b"hello");
    let file = FileReader::new(MemoryReader::new(&layer), &tree_of(&layer).unwrap().entries()[0]).unwrap();
    for offset in [5, 6, u64::MAX] {
        assert_eq!(block_on(file.read_at(offset, &mut [0; 8])).unwrap(), 0);
        assert!(block_on(file.stream(offset, u64::MAX).next()).is_none());
    }
    assert!(block_on(file.stream(0, 0).next()).is_none());
    assert_eq!((file.len(), file.is_empty()), (5, false));
}

#[test]
fn a_layer_that_ends_before_its_file_is_corrupt_and_ends_the_stream() {
    let layer = member(header("f", EntryType::Regular, 5000), &[1; 5000]);
    let entry = tree_of(&layer).unwrap().entries()[0].clone();
    let file = FileReader::new(MemoryReader::new(&layer[..3000]), &entry).unwrap();
    assert_eq!(
        block_on(file.read_at(0, &mut [0; 5000])).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    let pieces = block_on(file.stream(0, u64::MAX).collect::<Vec<_>>());
    let (last, before) = pieces.split_last().unwrap();
    assert_eq!(last.as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(before.iter().all(Result::is_ok));
}

/// A layer whose bytes turn out wrong at its very end, as an origin finds out.
#[derive(Debug)]
struct Unproven(Arc<MemoryReader>);

#[async_trait]
impl LayerReader for Unproven {
    fn len(&self) -> Option<u64> {
        None
    }

    fn random_access(&self) -> bool {
        false
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.0.read_at(offset, buf).await
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let end = stream::once(async { Err(Error::corrupt("wrong diff ID")) });
        Arc::clone(&self.0).stream(offset).chain(end).boxed()
    }
}

#[test]
fn a_file_of_a_layer_that_is_not_verified_yet_ends_where_the_layer_does() {
    let layer = member(header("f", EntryType::Regular, 5000), &[1; 5000]);
    let entry = tree_of(&layer).unwrap().entries()[0].clone();
    let file = FileReader::new(Arc::new(Unproven(MemoryReader::new(&layer))), &entry).unwrap();
    let pieces = block_on(file.stream(10, 100).collect::<Vec<_>>());
    let (last, before) = pieces.split_last().unwrap();
    assert_eq!(last.as_ref().unwrap_err().message(), "wrong diff ID");
    let before: Vec<_> = before.iter().map(|piece| piece.clone().unwrap()).collect();
    assert_eq!(before.concat(), [1; 100]);
}

#[test]
fn only_regular_files_have_bytes() {
    let layer = member(header("d", EntryType::Directory, 0), &[]);
    let error =
        FileReader::new(MemoryReader::new(&layer), &tree_of(&layer).unwrap().entries()[0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

proptest! {
    #[test]
    fn every_part_of_a_sparse_file_is_the_same_part_of_its_content(
        gaps in prop::collection::vec((0usize..700, 0usize..700), 0..6), tail in 0usize..2000, offset in 0usize..8000,
        len in 0usize..4000, piece in 1usize..900,
    ) {
        let mut at = 0;
        let regions: Vec<_> = gaps.iter().map(|&(gap, len)| { let start = at + gap; at = start + len; (start, len) }).collect();
        let (layer, content) = sparse(&regions, at + tail);
        let entry = tree_of(&layer).unwrap().entries()[0].clone();
        let file = FileReader::new(MemoryReader::with_pieces_of(piece, &layer), &entry).unwrap();
        let expected = &content[offset.min(content.len())..(offset + len).min(content.len())];
        let mut buf = vec![0xaa; len];
        let read = block_on(file.read_at(offset as u64, &mut buf)).unwrap();
        prop_assert_eq!(&buf[..read], expected);
        let pieces: Vec<Bytes> = block_on(file.stream(offset as u64, len as u64).try_collect()).unwrap();
        prop_assert_eq!(pieces.concat(), expected);
    }
}
