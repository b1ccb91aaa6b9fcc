//! Layers in memory and headers made by hand.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]

pub(crate) mod images;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{ByteStream, Error, LayerReader, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use image_tree::{Entry, FileReader, LayerTree, LayerTreeBuilder, TreeLimits};

/// A layer in memory that counts what is read of it.
#[derive(Debug)]
pub(crate) struct MemoryReader {
    layer: Bytes,
    piece: usize,
    random_access: bool,
    pub(crate) reads: AtomicU64,
    pub(crate) read_bytes: AtomicU64,
    pub(crate) streams: AtomicU64,
}

impl MemoryReader {
    pub(crate) fn new(layer: &[u8]) -> Arc<Self> {
        Self::with_pieces_of(1000, layer)
    }

    /// Says that a read at an offset costs everything in front of it.
    pub(crate) fn to_be_streamed(layer: &[u8]) -> Arc<Self> {
        let mut reader = Arc::into_inner(Self::new(layer)).unwrap();
        reader.random_access = false;
        Arc::new(reader)
    }

    /// Streams in pieces of `piece` bytes.
    pub(crate) fn with_pieces_of(piece: usize, layer: &[u8]) -> Arc<Self> {
        Arc::new(Self {
            layer: Bytes::copy_from_slice(layer),
            piece,
            random_access: true,
            reads: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
            streams: AtomicU64::new(0),
        })
    }
}

#[async_trait]
impl LayerReader for MemoryReader {
    fn len(&self) -> Option<u64> {
        Some(self.layer.len() as u64)
    }

    fn random_access(&self) -> bool {
        self.random_access
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let rest = self
            .layer
            .get(usize::try_from(offset).unwrap()..)
            .unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.read_bytes.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        self.streams.fetch_add(1, Ordering::Relaxed);
        let rest = self.layer.slice((offset as usize).min(self.layer.len())..);
        let piece = self.piece;
        let pieces: Vec<_> = rest
            .chunks(piece)
            .map(|part| Ok::<_, Error>(rest.slice_ref(part)))
            .collect();
        stream::iter(pieces).boxed()
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

pub(crate) fn tree_of(layer: &[u8]) -> Result<LayerTree> {
    LayerTree::from_bytes(layer, &TreeLimits::default())
}

/// The same, pushed in pieces whose lengths are taken from `lens` in turn.
pub(crate) fn tree_of_pieces(mut layer: &[u8], lens: &[usize]) -> Result<LayerTree> {
    let mut builder = LayerTreeBuilder::new(TreeLimits::default());
    for len in lens.iter().cycle() {
        if layer.is_empty() {
            break;
        }
        let (piece, rest) = layer.split_at(*len.min(&layer.len()));
        builder.push(piece)?;
        layer = rest;
    }
    builder.finish()
}

/// The whole file, read as a stream, after checking that reads at offsets agree with it.
pub(crate) fn content(layer: &[u8], entry: &Entry) -> Vec<u8> {
    let file = FileReader::new(MemoryReader::new(layer), entry).unwrap();
    block_on(async {
        let pieces: Vec<Bytes> = file.stream(0, u64::MAX).try_collect().await.unwrap();
        let whole = pieces.concat();
        assert_eq!(whole.len() as u64, file.len());
        for (offset, len) in [
            (0, whole.len() + 1),
            (1, 700),
            (511, 1025),
            (whole.len() / 2, 4096),
        ] {
            let mut buf = vec![0xaa; len];
            let read = file.read_at(offset as u64, &mut buf).await.unwrap();
            let expected = &whole[offset.min(whole.len())..(offset + len).min(whole.len())];
            assert_eq!(&buf[..read], expected, "{len} bytes at {offset}");
            let part: Vec<Bytes> = file
                .stream(offset as u64, len as u64)
                .try_collect()
                .await
                .unwrap();
            assert_eq!(part.concat(), expected, "a stream of {len} bytes at {offset}");
        }
        whole
    })
}

/// A GNU header with the checksum left to [`finish`].
pub(crate) fn header(name: &str, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// The header with its checksum, and `body` padded to whole blocks.
pub(crate) fn member(mut header: tar::Header, body: &[u8]) -> Vec<u8> {
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(body);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// A PAX header with these records, to stand in front of a member.
pub(crate) fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let body: String = records
        .iter()
        .map(|(key, value)| {
            let rest = format!(" {key}={value}\n");
            let len = (1..)
                .find(|len: &usize| len.to_string().len() + rest.len() == *len)
                .unwrap();
            format!("{len}{rest}")
        })
        .collect();
    let mut header = tar::Header::new_ustar();
    header.set_path("pax").unwrap();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(body.len() as u64);
    member(header, body.as_bytes())
}

pub(crate) const END: [u8; 1024] = [0; 1024];
