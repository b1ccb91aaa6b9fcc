//! A source of last resort.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use cache_core::{Capabilities, Digest, LayerDescriptor, LayerReader, LayerSource, Result, Role};

use super::ledger::Ledger;
use super::process::Process;
use super::reader::{Content, SimReader};
use super::script::{Play, Script, Step, answer};

/// Has layers that never go away, and counts how many streams of one are read at once. Like an origin it verifies nothing in a
/// stream. Clones are the same origin.
#[derive(Clone, Debug)]
pub struct SimOrigin {
    inner: Arc<Inner>,
    process: Process,
}

#[derive(Debug)]
struct Inner {
    name: &'static str,
    layers: HashMap<Digest, Bytes>,
    play: Arc<Play>,
    streams: Arc<Ledger>,
    /// The most streams of one layer at once: of one process, of one host, of all.
    most: [AtomicUsize; 3],
}

/// Who shares what is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The readers of one process.
    Process,
    /// The processes of one host.
    Host,
    /// All hosts.
    Cluster,
}

impl SimOrigin {
    /// An origin of these layers.
    pub fn new(
        name: &'static str,
        layers: impl IntoIterator<Item = (Digest, Bytes)>,
        script: Script,
    ) -> Self {
        let inner = Inner {
            name,
            layers: layers.into_iter().collect(),
            play: Arc::new(Play::new(script)),
            streams: Arc::default(),
            most: Default::default(),
        };
        Self {
            inner: Arc::new(inner),
            process: Process::on(0),
        }
    }

    /// The same origin, as this process uses it.
    #[must_use]
    pub fn used_by(&self, process: &Process) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            process: process.clone(),
        }
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        self.inner.play.heal();
    }

    /// The most streams of one layer that were open at once, for all that share them.
    pub fn most_streams(&self, scope: Scope) -> usize {
        self.inner.most[scope as usize].load(Ordering::Relaxed)
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        self.inner.streams.count(|_, _| true)
    }

    /// Who has begun to stream which layer so far.
    pub fn streams_so_far(&self) -> Vec<(Process, Digest)> {
        self.inner.streams.past()
    }
}

#[async_trait]
impl LayerSource for SimOrigin {
    fn name(&self) -> &str {
        self.inner.name
    }

    fn role(&self) -> Role {
        Role::Origin
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        let inner = &self.inner;
        let place = |error: cache_core::Error| error.at(inner.name, "open").of_layer(&layer.digest);
        let trouble = inner.play.call(Step::Open, &self.process).await.map_err(place)?;
        let Some(bytes) = inner.layers.get(&layer.digest) else {
            return answer(trouble, None).map_err(place);
        };
        let reader: Arc<dyn LayerReader> = Arc::new(SimReader {
            name: inner.name,
            digest: layer.digest,
            play: Arc::clone(&inner.play),
            process: self.process.clone(),
            content: Blob {
                digest: layer.digest,
                bytes: bytes.clone(),
                origin: self.clone(),
            },
            len: None,
            verified: false,
            random_access: false,
        });
        answer(trouble, Some(reader)).map_err(place)
    }
}

#[derive(Debug)]
struct Blob {
    digest: Digest,
    bytes: Bytes,
    origin: SimOrigin,
}

impl Content for Blob {
    fn bytes(&self) -> Option<Bytes> {
        Some(self.bytes.clone())
    }

    fn vanish(&self) {}

    fn streaming(&self) -> Box<dyn Send> {
        let SimOrigin { inner, process } = &self.origin;
        let entered = inner.streams.enter(self.digest, process);
        for (scope, most) in [Scope::Process, Scope::Host, Scope::Cluster]
            .into_iter()
            .zip(&inner.most)
        {
            let open = inner.streams.count(|layer, other| {
                *layer == self.digest
                    && match scope {
                        Scope::Process => other == process,
                        Scope::Host => other.host() == process.host(),
                        Scope::Cluster => true,
                    }
            });
            most.fetch_max(open, Ordering::Relaxed);
        }
        Box::new(entered)
    }
}
