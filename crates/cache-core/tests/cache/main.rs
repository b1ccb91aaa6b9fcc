//! Stories of a composed cache: who is asked, who is filled, and what a reader gets when something fails.
// Under `--cfg shuttle` nothing runs without a scheduler.
#![cfg(not(shuttle))]

mod any_composition;
mod arrival;
mod disputes;
mod early;
mod faults;
mod flaky;
mod invalid;
mod leases;
mod meters;
mod proof;
mod repair;
mod script;
mod serving;
mod single_flight;
mod streams;
mod terms;
mod tiers;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use proptest::prelude::*;

use self::script::{Act, Faulty, PIECE, Script, descriptor, layer_bytes};
use cache_core::guard::Metered;
use cache_core::index::IndexBuilder;
use cache_core::{
    Algorithm, Claim, Error, ErrorKind, LayerCache, LayerDescriptor, LayerReader, LayerReaderExt,
    LayerSource, LayerSourceExt, MemoryTier, Result, Tier,
};

fn memory(name: &str) -> Arc<MemoryTier> {
    Arc::new(MemoryTier::new(name, 1 << 30))
}

fn cut() -> Error {
    Error::unavailable("the connection was cut")
}

async fn all(reader: Arc<dyn LayerReader>) -> Result<Vec<u8>> {
    reader
        .stream(0)
        .try_fold(
            Vec::new(),
            |all, piece| async move { Ok([&all[..], &piece].concat()) },
        )
        .await
}

async fn listed(tier: &dyn Tier) -> usize {
    tier.list().count().await
}

/// Puts `bytes` into a tier as if `index` described them, which only a broken or lying tier would have.
async fn put(tier: &dyn Tier, layer: &LayerDescriptor, bytes: &Bytes, index: &[u8]) {
    let mut builder = IndexBuilder::new(Algorithm::Sha256);
    builder.update(index);
    let Claim::Write(mut writer) = tier.create(layer).await.unwrap() else {
        panic!("it is there already")
    };
    writer.write(bytes.clone()).await.unwrap();
    writer.commit(&builder.finish(layer.digest)).await.unwrap();
}
