//! A tier of your own, in the middle of a stack. The map stands for any store that workers share.
//! `cargo run -p layercache --example custom_tier`; `cargo test` runs it as well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use layercache::core::index::IndexBuilder;
use layercache::core::*;
use layercache::{Config, Key, Kinds, Part, Stack};

/// Layers by digest, each with the diff ID that its bytes were verified against.
#[derive(Clone, Debug, Default)]
struct Shelf(Arc<Mutex<HashMap<Digest, (Digest, Bytes)>>>);

#[async_trait]
impl LayerSource for Shelf {
    fn name(&self) -> &str {
        "shelf"
    }

    fn role(&self) -> Role {
        // Workers share it: the cache writes to it behind what is on this machine.
        Role::Shared
    }

    fn capabilities(&self) -> Capabilities {
        // Not `verified`: nothing hashes what comes out, so the cache does before it keeps any of it.
        Capabilities::NONE.with_list()
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        // `None` says that the layer is not there. A store that does not answer is `Error::unavailable`.
        let Some((diff_id, bytes)) = self.0.lock().unwrap().get(&layer.digest).cloned() else {
            return Ok(None);
        };
        match layer.diff_id {
            Some(claim) if claim != diff_id => Err(Error::disputed("the image claims another diff ID")),
            _ => Ok(Some(Arc::new(Book(bytes)))),
        }
    }
}

#[async_trait]
impl Tier for Shelf {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        Ok(match self.open(layer).await? {
            Some(reader) => Claim::Exists(reader),
            None => Claim::Write(Box::new(Writer(self.clone(), BytesMut::new()))),
        })
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        Ok(self.0.lock().unwrap().remove(digest).is_some())
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        let stat = |(digest, (_, bytes)): (&Digest, &(_, Bytes))| LayerStat::new(*digest, bytes.len() as u64);
        let layers: Vec<_> = self.0.lock().unwrap().iter().map(stat).map(Ok).collect();
        stream::iter(layers).boxed()
    }
}

/// A layer being written. Nobody sees it before the commit, and dropping it leaves nothing.
#[derive(Debug)]
struct Writer(Shelf, BytesMut);

#[async_trait]
impl LayerWriter for Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.1.extend_from_slice(&bytes);
        Ok(())
    }

    fn partial(&self) -> Option<Arc<dyn LayerReader>> {
        None
    }

    async fn commit(self: Box<Self>, index: &LayerIndex) -> Result<Arc<dyn LayerReader>> {
        let bytes = self.1.freeze();
        let layer = (*index.diff_id(), bytes.clone());
        self.0.0.lock().unwrap().insert(*index.digest(), layer);
        Ok(Arc::new(Book(bytes)))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// A layer that is open: it can be read even when it is removed meanwhile.
#[derive(Debug)]
struct Book(Bytes);

#[async_trait]
impl LayerReader for Book {
    fn len(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }

    fn random_access(&self) -> bool {
        true
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let rest = &self.0[self.0.len().min(offset as usize)..];
        let read = rest.len().min(buf.len());
        buf[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let rest = self.0.slice(self.0.len().min(offset as usize)..);
        stream::iter(Some(rest).filter(|rest| !rest.is_empty()).map(Ok)).boxed()
    }
}

/// The keys of a kind that keeps layers in memory, with their defaults.
struct Memory {
    max_bytes: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self { max_bytes: 64 << 20 }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tar = b"the bytes of a tar".repeat(100_000);
    let layer = LayerDescriptor::new(Digest::sha256_of(b"blob")).with_diff_id(Digest::sha256_of(&tar));
    // Stands for a registry.
    let origin = Arc::new(MemoryTier::new("origin", 1 << 30));
    if let Claim::Write(mut writer) = origin.create(&layer).await? {
        let mut index = IndexBuilder::new(layer.digest.algorithm());
        index.update(&tar);
        writer.write(tar.clone().into()).await?;
        writer.commit(&index.finish(layer.digest)).await?;
    }
    let near = || Arc::new(MemoryTier::new("near", 1 << 30));
    let shelf = Shelf::default();

    // The first worker finds the layer at the origin: it fills its own memory, and from there the shelf.
    let first = LayerCache::builder()
        .tier(near())
        .tier(Arc::new(shelf.clone()))
        .source(origin)
        .build()?;
    assert_eq!(first.get(&layer).await?.read_bytes(4, 5).await?, "bytes");
    first.close().await;
    let kept: Vec<LayerStat> = shelf.list().try_collect().await?;
    assert_eq!(kept, [LayerStat::new(layer.digest, tar.len() as u64)]);

    // The second has no origin, and needs none. It names its tiers in a configuration.
    let mut kinds = Kinds::builtin();
    let keys = [Key::size(
        "max_bytes",
        "How much is kept.",
        |memory: &mut Memory| &mut memory.max_bytes,
    )];
    kinds.register_with_keys("memory", keys, |memory, tier, _| {
        Ok(Part::tier(Arc::new(MemoryTier::new(
            tier.name(),
            memory.max_bytes,
        ))))
    });
    let shared = shelf.clone();
    kinds.register("shelf", move |_, _| {
        Ok(Part::tier(Arc::new(shared.clone())).with_description("a map"))
    });
    let config =
        Config::parse("[[tier]]\nkind = \"memory\"\nmax_bytes = \"1GiB\"\n[[tier]]\nkind = \"shelf\"")?;
    let second = Stack::assemble(&config, &kinds)?;
    assert_eq!(second.open(&layer).await?.read_bytes(0, tar.len()).await?, tar);
    assert_eq!(second.sources()[1].counts.hits, 1);

    // A writer that goes away has never been.
    let other = LayerDescriptor::new(Digest::sha256_of(b"another blob"));
    if let Claim::Write(mut writer) = shelf.create(&other).await? {
        writer.write(b"half of a".as_slice().into()).await?;
    }
    assert!(shelf.open(&other).await?.is_none());
    println!("the shelf has served the layer");
    Ok(())
}
