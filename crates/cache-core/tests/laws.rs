//! The laws of sources and tiers, for all that this crate has of them.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::guard::{
    Breaker, BreakerConfig, Limit, Metered, ReadOnly, Retry, RetryConfig, Timeout, TimeoutConfig,
};
use cache_core::inflate::{BlobReader, InflateLimits, Inflater, check_range};
use cache_core::{
    ByteStream, Capabilities, Claim, Digest, LayerCache, LayerDescriptor, LayerReader, LayerSource,
    MemoryTier, Result, Role, Tier,
};
use cache_testkit::laws::{Sample, SourceSubject};
use cache_testkit::{source_laws, tier_laws};
use futures_util::{StreamExt, stream};

fn memory() -> MemoryTier {
    MemoryTier::new("memory", 1 << 30)
}

tier_laws!(memory_tier, || async { memory() });
tier_laws!(timeout, || async {
    Timeout::new(memory(), TimeoutConfig::default())
});
tier_laws!(retry, || async { Retry::new(memory(), RetryConfig::default()) });
tier_laws!(breaker, || async {
    Breaker::new(memory(), BreakerConfig::default())
});
tier_laws!(limit, || async { Limit::new(memory(), 2) });
tier_laws!(limit_of_one, || async { Limit::new(memory(), 1) });
tier_laws!(metered, || async { Metered::new(memory()) });
// In the order that serves best, and in the reverse.
tier_laws!(all_guards, || async {
    let tier = Timeout::new(memory(), TimeoutConfig::default());
    let tier = Breaker::new(tier, BreakerConfig::default());
    let tier = Limit::new(tier, 4);
    let tier = Retry::new(tier, RetryConfig::default());
    Metered::new(tier)
});
tier_laws!(all_guards_reversed, || async {
    let tier = Retry::new(Metered::new(memory()), RetryConfig::default());
    let tier = Limit::new(tier, 4);
    let tier = Breaker::new(tier, BreakerConfig::default());
    Timeout::new(tier, TimeoutConfig::default())
});

/// Layers around the boundaries of a chunk.
fn layers() -> Vec<Sample> {
    const CHUNK: usize = cache_core::index::CHUNK_LEN as usize;
    [0, 1, CHUNK, 2 * CHUNK + 77].map(Sample::random).into()
}

async fn holding(name: &str, layers: &[Sample]) -> MemoryTier {
    let tier = MemoryTier::new(name, 1 << 30);
    for layer in layers {
        let Claim::Write(mut writer) = tier.create(&layer.descriptor).await.unwrap() else {
            panic!("the tier is empty")
        };
        writer.write(layer.bytes.clone()).await.unwrap();
        writer.commit(&layer.index).await.unwrap();
    }
    tier
}

source_laws!(read_only, || async {
    let layers = layers();
    SourceSubject::new(ReadOnly::new(holding("memory", &layers).await), layers)
});

// What a cache serves: from its nearest tier, from a far one that fills a near one, and from nested caches.
source_laws!(cache_that_has_it, || async {
    let layers = layers();
    let near = Arc::new(holding("near", &layers).await);
    SourceSubject::new(LayerCache::builder().tier(near).build().unwrap(), layers)
});
source_laws!(cache_that_fills, || async {
    let layers = layers();
    let far = Arc::new(holding("far", &layers).await);
    let near = Arc::new(MemoryTier::new("near", 1 << 30));
    let cache = LayerCache::builder().tier(near).tier(far);
    SourceSubject::new(cache.build().unwrap(), layers)
});
source_laws!(cache_of_a_tier_too_small, || async {
    let layers = layers();
    let far = Arc::new(holding("far", &layers).await);
    let near = Arc::new(MemoryTier::new("near", 1000));
    let cache = LayerCache::builder().tier(near).source(far);
    SourceSubject::new(cache.build().unwrap(), layers)
});
source_laws!(cache_of_an_origin, || async {
    let (origin, layers) = Origin::new();
    let near = Arc::new(MemoryTier::new("near", 1 << 30));
    let remote = Arc::new(MemoryTier::new("remote", 1 << 30));
    let cache = LayerCache::builder()
        .tier(near)
        .tier(remote)
        .source(Arc::new(origin));
    SourceSubject::new(cache.build().unwrap(), layers)
});
source_laws!(cache_that_reads_early, || async {
    let (origin, layers) = Origin::new();
    let near = Arc::new(MemoryTier::new("near", 1 << 30));
    let cache = LayerCache::builder()
        .tier(near)
        .source(Arc::new(origin))
        .early_reads(true);
    SourceSubject::new(cache.build().unwrap(), layers)
});
source_laws!(cache_of_caches, || async {
    let (origin, layers) = Origin::new();
    let inner_tier = Arc::new(MemoryTier::new("inner", 1 << 30));
    let inner = LayerCache::builder()
        .tier(inner_tier)
        .source(Arc::new(origin))
        .build()
        .unwrap();
    let outer_tier = Arc::new(MemoryTier::new("outer", 1 << 30));
    let outer = LayerCache::builder().tier(outer_tier).source(Arc::new(inner));
    SourceSubject::new(outer.build().unwrap(), layers)
});
source_laws!(cache_without_a_tier, || async {
    let (origin, layers) = Origin::new();
    SourceSubject::new(
        LayerCache::builder().source(Arc::new(origin)).build().unwrap(),
        layers,
    )
});
source_laws!(inflated_origin, || async {
    let (origin, layers) = Origin::new();
    SourceSubject::new(origin, layers)
});

/// An origin whose blobs are in memory.
#[derive(Debug)]
struct Origin {
    blobs: Vec<(Digest, Arc<Blob>)>,
    inflater: Inflater,
}

impl Origin {
    /// An origin, and its layers.
    fn new() -> (Self, Vec<Sample>) {
        const CHUNK: usize = cache_core::index::CHUNK_LEN as usize;
        let (blobs, layers) = [1, CHUNK, 2 * CHUNK + 77]
            .map(|len| {
                let bytes = Sample::random(len).bytes;
                let blob = zstd::encode_all(&bytes[..], 1).unwrap();
                let descriptor = LayerDescriptor::new(Digest::sha256_of(&blob)).with_size(blob.len() as u64);
                let layer = Sample::new(descriptor, bytes);
                ((layer.descriptor.digest, Arc::new(Blob(blob.into()))), layer)
            })
            .into_iter()
            .unzip();
        let inflater = Inflater::new(InflateLimits::default());
        (Self { blobs, inflater }, layers)
    }
}

#[async_trait]
impl LayerSource for Origin {
    fn name(&self) -> &str {
        "origin"
    }

    fn role(&self) -> Role {
        Role::Origin
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let blob = self.blobs.iter().find(|(digest, _)| *digest == layer.digest);
        Ok(blob.map(|(_, blob)| self.inflater.reader("origin", layer, Arc::clone(blob) as _)))
    }
}

#[derive(Debug)]
struct Blob(Bytes);

#[async_trait]
impl BlobReader for Blob {
    fn stream(self: Arc<Self>) -> ByteStream {
        let pieces: Vec<_> = self
            .0
            .chunks(100_000)
            .map(|piece| Ok(self.0.slice_ref(piece)))
            .collect();
        stream::iter(pieces).boxed()
    }

    async fn fetch(self: Arc<Self>, range: Range<u64>) -> Result<Option<Bytes>> {
        check_range(&range, Some(self.0.len() as u64))?;
        Ok(Some(self.0.slice(range.start as usize..range.end as usize)))
    }
}
