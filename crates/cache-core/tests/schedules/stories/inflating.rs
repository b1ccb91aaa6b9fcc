//! An origin's blob on its way through the inflating thread, of which there is one at a time.

use std::io::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use super::*;
use cache_core::inflate::{BlobReader, InflateLimits, Inflater, check_range};
use cache_core::{ByteStream, Capabilities, Digest, LayerReader, Result, Role};
use scheduled::PlannedPanic;

#[derive(Clone, Debug)]
struct Registry {
    inflater: Inflater,
    blob: Bytes,
    /// Whether the next transfer panics in the middle.
    panics: Arc<AtomicBool>,
}

impl Registry {
    fn new(panics: bool) -> (Self, LayerDescriptor) {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(LAYER).unwrap();
        let blob = Bytes::from(encoder.finish().unwrap());
        let layer = LayerDescriptor::new(Digest::sha256_of(&blob)).with_diff_id(Digest::sha256_of(LAYER));
        let registry = Self {
            inflater: Inflater::new(InflateLimits::default().with_max_concurrent(1)),
            blob,
            panics: Arc::new(panics.into()),
        };
        (registry, layer)
    }
}

#[async_trait]
impl BlobReader for Registry {
    fn stream(self: Arc<Self>) -> ByteStream {
        let panics = self.panics.swap(false, Ordering::SeqCst);
        let (head, tail) = (self.blob.slice(..12), self.blob.slice(12..));
        let tail = stream::once(async move {
            if panics {
                PlannedPanic::throw();
            }
            Ok(tail)
        });
        stream::once(async { Ok(head) }).chain(tail).boxed()
    }

    async fn fetch(self: Arc<Self>, range: Range<u64>) -> Result<Option<Bytes>> {
        check_range(&range, Some(self.blob.len() as u64))?;
        Ok(Some(self.blob.slice(range.start as usize..range.end as usize)))
    }
}

#[async_trait]
impl LayerSource for Registry {
    fn name(&self) -> &str {
        "registry"
    }

    fn role(&self) -> Role {
        Role::Origin
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let blob = Arc::new(self.clone());
        Ok(Some(self.inflater.reader("registry", layer, blob)))
    }
}

#[test]
fn a_stream_that_is_dropped_gives_its_place_to_the_next() {
    explore(|| async {
        let (registry, layer) = Registry::new(false);
        let cache = LayerCache::builder()
            .source(Arc::new(registry.clone()))
            .build()
            .unwrap();
        let leaving = spawn(read(cache.clone(), layer.clone()));
        let staying = spawn(read(cache.clone(), layer.clone()));
        leaving.abort();
        assert_eq!(staying.await.unwrap().unwrap(), LAYER);
        let _ = leaving.await;
        assert_eq!(read(cache.clone(), layer.clone()).await.unwrap(), LAYER);
        at_rest(&cache, &layer).await;
    });
}

#[test]
fn a_transfer_that_panics_gives_its_place_to_the_next() {
    explore(|| async {
        let (registry, layer) = Registry::new(true);
        let cache = LayerCache::builder()
            .tier(memory("near"))
            .source(Arc::new(registry.clone()))
            .build()
            .unwrap();
        for result in read_at_once(&cache, &layer, 2).await {
            assert!(result.is_err() || result.is_ok_and(|bytes| bytes == LAYER));
        }
        assert_eq!(read(cache.clone(), layer.clone()).await.unwrap(), LAYER);
        at_rest(&cache, &layer).await;
        assert_eq!(registry.inflater.stats().inflates(), 2);
    });
}
