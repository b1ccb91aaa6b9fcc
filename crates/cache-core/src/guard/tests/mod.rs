//! Stories of each guard, and what holds for all of them.

mod breaker;
mod limit;
mod metered;
mod model;
mod read_only;
mod retry;
mod script;
mod timeout;
mod transparent;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_testkit::Recorded;
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use tokio::time::{Instant, advance};

use self::script::{Act, Script};
use super::{
    Answer, Breaker, BreakerConfig, BreakerHandle, BreakerState, Guarded, Limit, Operation, Policy, ReadOnly,
    Retry, RetryConfig, Timeout, TimeoutConfig,
};
use crate::index::IndexBuilder;
use crate::{
    Claim, Digest, Error, ErrorKind, LayerDescriptor, LayerIndex, LayerReader, LayerReaderExt, LayerSource,
    LayerWriter, MemoryTier, Result, Tier,
};

const PIECE: usize = 1000;
const HOUR: Duration = Duration::from_secs(3600);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn layer() -> LayerDescriptor {
    LayerDescriptor::new(Digest::sha256_of(b"blob"))
}

/// Ten pieces.
fn layer_bytes() -> Bytes {
    (0..10 * PIECE as u32).map(|i| ((i * i) >> 5) as u8).collect()
}

fn index() -> LayerIndex {
    let mut builder = IndexBuilder::new(layer().digest.algorithm());
    builder.update(&layer_bytes());
    builder.finish(layer().digest)
}

async fn writer(tier: &dyn Tier) -> Box<dyn LayerWriter> {
    match tier.create(&layer()).await.unwrap() {
        Claim::Write(writer) => writer,
        Claim::Exists(_) => panic!("it is there already"),
    }
}

/// Writes the layer in pieces; these are the pieces of its streams.
async fn fill(tier: &dyn Tier) -> Result<Arc<dyn LayerReader>> {
    let mut writer = writer(tier).await;
    let bytes = layer_bytes();
    for piece in bytes.chunks(PIECE) {
        writer.write(bytes.slice_ref(piece)).await?;
    }
    writer.commit(&index()).await
}

type Far = Guarded<MemoryTier, Script>;

/// A tier that holds the layer and does what the script says.
async fn far() -> (Far, Script) {
    let tier = MemoryTier::new("far", 1 << 20);
    fill(&tier).await.unwrap();
    scripted(tier)
}

/// The same without the layer.
fn empty() -> (Far, Script) {
    scripted(MemoryTier::new("far", 1 << 20))
}

fn scripted(tier: MemoryTier) -> (Far, Script) {
    let script = Script::default();
    (Guarded::with_policy(tier, script.clone()), script)
}

async fn opened(source: &dyn LayerSource) -> Arc<dyn LayerReader> {
    source.open(&layer()).await.unwrap().expect("it has the layer")
}

async fn all(reader: Arc<dyn LayerReader>, offset: u64) -> Result<Vec<u8>> {
    let pieces: Vec<Bytes> = reader.stream(offset).try_collect().await?;
    Ok(pieces.concat())
}

/// The error, which names where it happened.
fn failed<T: std::fmt::Debug>(result: Result<T>, operation: &str) -> Error {
    let error = result.expect_err("it fails");
    let place = format!("far: {operation} {}: ", layer().digest);
    assert!(error.to_string().starts_with(&place), "{error}");
    error
}
