//! The library: configurations, kinds and stacks put together by an application.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use layercache::core::{Digest, LayerReaderExt, MemoryTier};
use layercache::registry::Platform;
use layercache::{Config, ConfigError, Kinds, Part, Stack};

use crate::image::{Image, noise};
use crate::registry::Registry;
use crate::sandbox::Sandbox;

const LAYER_LEN: usize = 3_000_000;

/// The kinds of this build, and `memory`, which keeps up to `max_bytes` bytes.
fn kinds() -> Kinds {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        max_bytes: u64,
    }
    let mut kinds = Kinds::builtin();
    kinds.register("memory", |tier, _shared| {
        let Settings { max_bytes } = tier.settings()?;
        Ok(Part::tier(Arc::new(MemoryTier::new(tier.name(), max_bytes))))
    });
    kinds
}

fn assemble(toml: &str) -> Result<Stack, ConfigError> {
    Stack::assemble(&Config::parse(toml)?, &kinds())
}

fn refusal(toml: &str) -> ConfigError {
    assemble(toml).expect_err(toml)
}

const REGISTRY: &str = "[[tier]]\nkind = \"registry\"\n";

fn memory(name: &str, max_bytes: usize) -> String {
    format!("[[tier]]\nkind = \"memory\"\nname = {name:?}\nmax_bytes = {max_bytes}\n")
}

fn disk(sandbox: &Sandbox, name: &str) -> String {
    format!("[[tier]]\nkind = \"disk\"\nname = {name:?}\ndir = {:?}\n", sandbox.path(name))
}

/// Reads a layer twice through a stack: all of it and, through another handle, a range in its middle.
async fn read_twice(stack: &Stack, registry: &Registry) -> layercache::core::Result<()> {
    let location = registry.image().parse()?;
    let image = stack.resolve(&location, &Platform::host()).await?;
    let whole = stack.open(&image.layers[0]).await?.read_bytes(0, usize::MAX >> 16).await;
    drop(whole);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_of_any_sources_gives_the_same_bytes() {
    let mut image = Image::default();
    let layer = noise(LAYER_LEN);
    image.add_tar(&layer);
    let registry = tokio::task::spawn_blocking(|| Registry::of_image(image, |_| None)).await.unwrap();
    let location = registry.image().parse().unwrap();
    let sandbox = Sandbox::new();
    let large = LAYER_LEN * 2;
    let stacks = [
        REGISTRY.to_owned(),
        memory("m", large) + REGISTRY,
        disk(&sandbox, "d1") + REGISTRY,
        // In front of the disk, nothing is read that the disk could keep.
        REGISTRY.to_owned() + &disk(&sandbox, "d2"),
        memory("m", large) + &disk(&sandbox, "d3") + REGISTRY,
        disk(&sandbox, "d4") + &memory("m", large) + REGISTRY,
        memory("near", large) + &memory("far", large) + REGISTRY,
        // Too small to keep it: passed over, and never in the way.
        memory("small", LAYER_LEN / 2) + REGISTRY,
        memory("small", LAYER_LEN / 2) + &disk(&sandbox, "d5") + REGISTRY,
        disk(&sandbox, "d6") + &disk(&sandbox, "d7") + REGISTRY,
    ];
    for toml in stacks {
        for early_reads in [false, true] {
            let toml = format!("early_reads = {early_reads}\n{toml}");
            let stack = assemble(&toml).unwrap();
            let image = stack.resolve(&location, &Platform::host()).await.unwrap();
            for (offset, len) in [(0, LAYER_LEN), (1_234_567, 100_000), (LAYER_LEN - 10, 100), (LAYER_LEN + 5, 7)] {
                let reader = stack.open(&image.layers[0]).await.unwrap();
                let bytes = reader.read_bytes(offset as u64, len).await.unwrap();
                let end = (offset + len).min(LAYER_LEN);
                assert!(bytes == layer[offset.min(LAYER_LEN)..end], "{len} bytes at {offset} through {toml}");
            }
            stack.cache().close().await;
        }
    }
    tokio::task::spawn_blocking(move || drop(registry)).await.unwrap();
}
