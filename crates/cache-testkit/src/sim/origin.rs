//! A source of last resort.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{Capabilities, Digest, LayerDescriptor, LayerReader, LayerSource, Result};

use super::reader::{Content, SimReader};
use super::script::{Play, Script, Step, answer};

/// Has layers that never go away, and counts how many streams of one are read at once. Like an origin it verifies nothing in a stream.
#[derive(Debug)]
pub struct SimOrigin {
    name: &'static str,
    layers: HashMap<Digest, Bytes>,
    play: Arc<Play>,
    streams: Arc<Streams>,
}

#[derive(Debug, Default)]
struct Streams {
    open: Mutex<HashMap<Digest, usize>>,
    most: AtomicUsize,
}

impl SimOrigin {
    /// An origin of these layers.
    pub fn new(
        name: &'static str,
        layers: impl IntoIterator<Item = (Digest, Bytes)>,
        script: Script,
    ) -> Self {
        Self {
            name,
            layers: layers.into_iter().collect(),
            play: Arc::new(Play::new(script)),
            streams: Arc::default(),
        }
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        self.play.heal();
    }

    /// The most streams of one layer that were open at once.
    pub fn most_streams(&self) -> usize {
        self.streams.most.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl LayerSource for SimOrigin {
    fn name(&self) -> &str {
        self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let place = |error: cache_core::Error| error.at(self.name, "open").of_layer(&layer.digest);
        let trouble = self.play.call(Step::Open).await.map_err(place)?;
        let Some(bytes) = self.layers.get(&layer.digest) else {
            return answer(trouble, None).map_err(place);
        };
        let reader: Arc<dyn LayerReader> = Arc::new(SimReader {
            name: self.name,
            digest: layer.digest,
            play: Arc::clone(&self.play),
            content: Blob {
                digest: layer.digest,
                bytes: bytes.clone(),
                streams: Arc::clone(&self.streams),
            },
            len: None,
            verified: false,
        });
        answer(trouble, Some(reader)).map_err(place)
    }
}

#[derive(Debug)]
struct Blob {
    digest: Digest,
    bytes: Bytes,
    streams: Arc<Streams>,
}

impl Content for Blob {
    fn bytes(&self) -> Option<Bytes> {
        Some(self.bytes.clone())
    }

    fn vanish(&self) {}

    fn streaming(&self) -> Box<dyn Send> {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(self.digest).or_insert(0);
        *count += 1;
        self.streams.most.fetch_max(*count, Ordering::Relaxed);
        Box::new(Streaming(self.digest, Arc::clone(&self.streams)))
    }
}

/// One stream for as long as it lives.
struct Streaming(Digest, Arc<Streams>);

impl Drop for Streaming {
    fn drop(&mut self) {
        let mut open = self.1.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.0) {
            *count -= 1;
        }
    }
}
