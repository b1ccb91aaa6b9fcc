//! A cache directory and layers to put into it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cache_core::index::IndexBuilder;
use cache_core::{
    Algorithm, Claim, Digest, LayerDescriptor, LayerIndex, LayerReader, LayerReaderExt, LayerSource,
    LayerWriter, Tier,
};
use cache_disk::{DiskConfig, DiskTier, GcOptions, GcReport};
use tempfile::TempDir;

/// A layer as an image would describe it. Different seeds make different layers.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) bytes: Bytes,
    pub(crate) descriptor: LayerDescriptor,
    pub(crate) index: LayerIndex,
}

impl Layer {
    pub(crate) fn new(seed: u64, len: usize) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(len)
        .collect();
        let digest = Digest::sha256_of(format!("blob {seed} {len}").as_bytes());
        let mut builder = IndexBuilder::new(Algorithm::Sha256);
        builder.update(&bytes);
        let index = builder.finish(digest);
        let descriptor = LayerDescriptor::new(digest).with_diff_id(*index.diff_id());
        Self {
            bytes: bytes.into(),
            descriptor,
            index,
        }
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.descriptor.digest
    }

    /// Bytes that the layer and its index take on the disk.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        self.bytes.len() as u64 + LayerIndex::encoded_len(self.bytes.len() as u64)
    }
}

/// A cache directory that goes when this does.
#[derive(Debug)]
pub(crate) struct Cache {
    root: TempDir,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    /// In memory where there is a file system for that: to be synced thousands of times, and not to last.
    pub(crate) fn in_memory() -> Self {
        let root = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
        Self { root: root.unwrap() }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root.path().join("clip")
    }

    pub(crate) fn config(&self) -> DiskConfig {
        DiskConfig::new(self.dir()).with_min_free_bytes(0)
    }

    pub(crate) fn tier(&self) -> DiskTier {
        self.config().open().unwrap()
    }

    pub(crate) fn path(&self, layer: &Layer, kind: &str) -> PathBuf {
        self.dir().join(format!("layer-{}.{kind}", layer.digest().hex()))
    }

    pub(crate) fn lock_path(&self, layer: &Layer) -> PathBuf {
        self.dir().join("lock").join(layer.digest().hex())
    }

    /// All files below the directory, by their relative paths.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = [self.dir(), self.dir().join("lock"), self.dir().join("staging")]
            .iter()
            .filter_map(|dir| fs::read_dir(dir).ok())
            .flatten()
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.is_dir())
            .map(|path| {
                path.strip_prefix(self.dir())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        files.sort();
        files
    }

    /// The files that a directory with exactly these layers has.
    pub(crate) fn files_of(layers: &[&Layer]) -> Vec<String> {
        let files = |layer: &&Layer| {
            ["decompressed", "index"].map(|kind| format!("layer-{}.{kind}", layer.digest().hex()))
        };
        let mut files: Vec<String> = layers.iter().flat_map(files).collect();
        files.sort();
        files
    }

    /// Makes the layer look as if it was filled so many seconds ago.
    pub(crate) fn filled_before(&self, layer: &Layer, seconds: u64) {
        set_age(&self.path(layer, "index"), seconds);
    }

    /// Makes the layer look as if it was last used so many seconds ago.
    pub(crate) fn age(&self, layer: &Layer, seconds: u64) {
        set_age(&self.path(layer, "decompressed"), seconds);
    }
}

pub(crate) fn set_age(path: &Path, seconds: u64) {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// Claims a layer that nobody has or fills.
pub(crate) async fn claim(tier: &DiskTier, layer: &Layer) -> Box<dyn LayerWriter> {
    match tier.create(&layer.descriptor).await.unwrap() {
        Claim::Write(writer) => writer,
        Claim::Exists(_) => panic!("the layer is there already"),
    }
}

/// Writes all of a layer in uneven pieces.
pub(crate) async fn write(writer: &mut dyn LayerWriter, layer: &Layer) -> cache_core::Result<()> {
    let mut rest = layer.bytes.clone();
    while !rest.is_empty() {
        let piece = rest.split_to(rest.len().min(100_003));
        writer.write(piece).await?;
    }
    Ok(())
}

/// Fills a layer.
pub(crate) async fn try_fill(tier: &DiskTier, layer: &Layer) -> cache_core::Result<Arc<dyn LayerReader>> {
    match tier.create(&layer.descriptor).await? {
        Claim::Exists(reader) => Ok(reader),
        Claim::Write(mut writer) => {
            write(&mut *writer, layer).await?;
            writer.commit(&layer.index).await
        }
    }
}

pub(crate) async fn fill(tier: &DiskTier, layer: &Layer) -> Arc<dyn LayerReader> {
    try_fill(tier, layer).await.unwrap()
}

pub(crate) async fn try_open(
    tier: &DiskTier,
    layer: &Layer,
) -> cache_core::Result<Option<Arc<dyn LayerReader>>> {
    tier.open(&layer.descriptor).await
}

pub(crate) async fn open(tier: &DiskTier, layer: &Layer) -> Option<Arc<dyn LayerReader>> {
    try_open(tier, layer).await.unwrap()
}

/// Evicts until the layers take no more than `max_bytes`, or, without, until the limits are kept.
pub(crate) async fn gc(tier: &DiskTier, max_bytes: impl Into<Option<u64>>) -> cache_core::Result<GcReport> {
    tier.gc(GcOptions::default().with_max_bytes(max_bytes)).await
}

pub(crate) async fn is_cached(tier: &DiskTier, layer: &Layer) -> bool {
    open(tier, layer).await.is_some()
}

pub(crate) async fn read_all(reader: &Arc<dyn LayerReader>) -> Bytes {
    let len = usize::try_from(reader.len().unwrap()).unwrap();
    // One more than there is: the end is where it should be.
    reader.read_bytes(0, len + 1).await.unwrap()
}
