//! What applications run into.

use std::sync::Arc;

use layercache::core::guard::ReadOnly;
use layercache::core::{
    Claim, Digest, Error, LayerCache, LayerDescriptor, LayerSource, LayerSourceExt, MemoryTier, Tier,
};
use layercache::{Config, Kinds, Stack};

use super::Row;
use crate::image::Image;
use crate::registry::{Registry, with};
use crate::remote::share::{REGISTRY, disk, redis};
use crate::sandbox::Sandbox;

fn assemble(toml: &str) -> Stack {
    Stack::assemble(&Config::parse(toml).unwrap(), &Kinds::builtin()).unwrap()
}

pub(super) fn rows() -> Vec<Row> {
    let sandbox = Sandbox::new();
    let gone = Registry::start(|_| with(404, &[], ""));
    let broken = Registry::of_image(Image::of_files(&[("etc/motd", b"hello")]), |asked| {
        (!asked.is_for_manifest()).then(|| with(503, &[], ""))
    });
    let layer = LayerDescriptor::new(Digest::sha256_of(b"blob")).with_diff_id(Digest::sha256_of(b"tar"));
    let of_team = |registry: &Registry| {
        layer
            .clone()
            .with_repository(format!("{}/team/app", registry.host()))
    };
    let (of_gone, of_broken) = (of_team(&gone), of_team(&broken));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let get = async |stack: &Stack, layer: &LayerDescriptor| stack.open(layer).await.unwrap_err();
        let both = assemble(&(disk(&sandbox, "disk") + &redis("redis://127.0.0.1:1") + REGISTRY));
        let closed = assemble(REGISTRY);
        closed.cache().close().await;
        let without_registry = assemble(&disk(&sandbox, "other"));
        let platform = layercache::registry::Platform::host();
        let unresolved = without_registry
            .resolve(&"debian:12".parse().unwrap(), &platform)
            .await;
        let memory = Arc::new(MemoryTier::new("memory", 10));
        let read_only = ReadOnly::new(Arc::clone(&memory));
        vec![
            Row::of_layer(
                "no source has the layer",
                &get(&assemble(REGISTRY), &of_gone).await,
            ),
            Row::of_layer(
                "one source is down, and none behind it has the layer",
                &get(&both, &of_gone).await,
            ),
            Row::of_layer("several sources are down", &get(&both, &of_broken).await),
            Row::of_layer(
                "a layer without a repository",
                &get(&assemble(REGISTRY), &layer).await,
            ),
            Row::of_layer("a cache that is closed", &get(&closed, &of_gone).await),
            Row::of_layer(
                "a layer is published that no tier holds",
                &published(&without_registry, &of_gone).await,
            ),
            Row::of_layer(
                "a layer is published, and a tier that may hold it is down",
                &published(&both, &of_gone).await,
            ),
            Row::of_error(
                "an image of a registry, and no registry is configured",
                &unresolved.unwrap_err(),
            ),
            Row::of_error(
                "a cache without sources",
                &LayerCache::builder().build().unwrap_err(),
            ),
            Row::of_layer(
                "a tier that is only read is written to",
                &read_only.create(&layer).await.unwrap_err(),
            ),
            Row::of_layer(
                "a layer that does not fit into a tier in memory",
                &too_long(&memory, &layer).await,
            ),
            Row::of_layer(
                "a source that has no such layer is asked for it",
                &memory.get(&layer).await.unwrap_err(),
            ),
        ]
    })
}

async fn published(stack: &Stack, layer: &LayerDescriptor) -> Error {
    stack.cache().publish(layer).await.unwrap_err()
}

async fn too_long(memory: &MemoryTier, layer: &LayerDescriptor) -> Error {
    assert_eq!(memory.name(), "memory");
    let Claim::Write(mut writer) = memory.create(layer).await.unwrap() else {
        panic!("it is empty")
    };
    writer.write(b"more than ten bytes"[..].into()).await.unwrap_err()
}
