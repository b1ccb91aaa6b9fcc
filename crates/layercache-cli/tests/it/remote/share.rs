//! What workers share, and the configuration of a worker.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::TryStreamExt;
use layercache::core::{LayerDescriptor, LayerReaderExt};
use layercache::registry::Platform;
use layercache::{Config, Kinds, SourceReport, Stack};

use crate::environment;
use crate::image::{Image, noise};
use crate::registry::Registry;
use crate::sandbox::Sandbox;

/// A `[[tier]]` table: a local disk of a worker's own.
pub(crate) fn disk(sandbox: &Sandbox, name: &str) -> String {
    let dir = sandbox.path(name);
    format!("[[tier]]\nkind = \"disk\"\ndir = {dir:?}\n")
}

pub(crate) const REGISTRY: &str = "[[tier]]\nkind = \"registry\"\n";

/// Time-outs of the tests: what stalls should not hold them up, and what is alive on a busy machine should not fail them.
pub(crate) const TIMEOUT: &str = "timeout = \"2s\"\n";

pub(crate) fn redis(url: &str) -> String {
    format!("[[tier]]\nkind = \"redis\"\nurl = {url:?}\n")
}

pub(crate) fn redis_at(address: SocketAddr) -> String {
    redis(&format!("redis://{address}"))
}

/// The bucket of the tests, through `endpoint`, with a prefix for one test alone.
pub(crate) fn s3_at(endpoint: &str, prefix: &str) -> String {
    let s3 = environment::s3();
    format!(
        "[[tier]]\nkind = \"s3\"\nendpoint = {endpoint:?}\nprefix = {prefix:?}\nbucket = {:?}\nregion = {:?}\n\
         access_key_id = {:?}\nsecret_access_key = {:?}\n",
        s3.bucket, s3.region, s3.access_key_id, s3.secret_access_key
    )
}

pub(crate) fn s3(prefix: &str) -> String {
    s3_at(&environment::s3().endpoint, prefix)
}

/// Where the bucket of the tests is served.
pub(crate) fn s3_address() -> SocketAddr {
    let endpoint = environment::s3().endpoint;
    endpoint.strip_prefix("http://").unwrap().parse().unwrap()
}

/// A prefix that no other test and no earlier run has.
pub(crate) fn prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("it-{}-{number}/", std::process::id())
}

/// An image of several layers in a registry that counts what is fetched.
pub(crate) struct SmallImage {
    pub(crate) registry: Registry,
    /// The layers, the base first.
    pub(crate) layers: Vec<Vec<u8>>,
    fetched: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl SmallImage {
    /// Lengths around the boundaries of chunks, and one of many chunks. No other image has these layers.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let layers: Vec<Vec<u8>> = [3_000_000, 2 * 524_288, 100]
            .map(|len| {
                let mut layer = noise(len);
                let mark = format!("image {number} of {}", std::process::id());
                layer[..mark.len()].copy_from_slice(mark.as_bytes());
                layer
            })
            .into();
        let mut image = Image::default();
        layers.iter().for_each(|layer| image.add_tar(layer));
        let digests: Vec<_> = (0..layers.len())
            .map(|layer| image.digest(layer).to_owned())
            .collect();
        let fetched = Arc::new(Mutex::new(BTreeMap::new()));
        let counts = Arc::clone(&fetched);
        let registry = Registry::of_image(image, move |asked| {
            if digests.iter().any(|digest| digest == asked.name()) {
                *counts.lock().unwrap().entry(asked.name().to_owned()).or_insert(0) += 1;
            }
            None
        });
        Self {
            registry,
            layers,
            fetched,
        }
    }

    /// How often each layer was asked for.
    pub(crate) fn fetches(&self) -> Vec<u32> {
        self.fetched.lock().unwrap().values().copied().collect()
    }

    /// A worker composed as `toml` says, and the layers of the image as it knows them.
    pub(crate) async fn worker(&self, toml: &str) -> Worker {
        let config = Config::parse(toml).unwrap();
        let stack = Stack::assemble(&config, &Kinds::builtin()).unwrap();
        let location = self.registry.image().parse().unwrap();
        let image = stack.resolve(&location, &Platform::host()).await.unwrap();
        Worker {
            stack,
            layers: image.layers,
        }
    }
}

/// One worker in this process.
pub(crate) struct Worker {
    pub(crate) stack: Stack,
    pub(crate) layers: Vec<LayerDescriptor>,
}

impl Worker {
    /// Reads each layer at some offsets and from beginning to end: all of it must be right.
    pub(crate) async fn reads_right(&self, image: &SmallImage) {
        for (layer, expected) in self.layers.iter().zip(&image.layers) {
            let reader = self.stack.open(layer).await.unwrap();
            let len = expected.len();
            for (offset, wanted) in [(len / 10 * 9, 4096), (0, 512), (len / 2, 600_000), (len, 10)] {
                let read = reader.read_bytes(offset as u64, wanted).await.unwrap();
                assert!(
                    read == expected[offset..len.min(offset + wanted)],
                    "{wanted} at {offset}"
                );
            }
            let mut streamed = reader.stream(0);
            let mut at = 0;
            while let Some(piece) = streamed.try_next().await.unwrap() {
                assert!(piece == expected[at..at + piece.len()], "{} at {at}", piece.len());
                at += piece.len();
            }
            assert_eq!(at, len);
        }
    }

    pub(crate) fn report(&self, name: &str) -> SourceReport {
        let mut sources = self.stack.sources().into_iter();
        sources.find(|source| source.name == name).unwrap()
    }

    pub(crate) fn inflates(&self) -> u64 {
        self.stack.inflate_stats().inflates()
    }

    pub(crate) async fn close(&self) {
        self.stack.cache().close().await;
    }
}

/// A worker that comes and goes: it reads the image, and leaves it where `toml` says.
pub(crate) async fn publish(image: &SmallImage, toml: &str) {
    let worker = image.worker(toml).await;
    worker.reads_right(image).await;
    worker.close().await;
}
