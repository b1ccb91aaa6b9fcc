//! What a read of a layer costs that only a shared tier has.

use cache_testkit::{FaultProxy, RedisServer};
use layercache::core::LayerReaderExt;
use layercache::registry::Platform;
use layercache::{Config, Kinds, Stack};

use super::share::{REGISTRY, disk, prefix, redis, redis_at, s3, s3_address, s3_at};
use crate::environment::debian;
use crate::sandbox::Sandbox;

const CHUNK: u64 = 524_288;

/// The first read of the largest layer of a real image, far from its beginning, through a proxy that counts.
async fn first_read_moves_little(shared: &str, through_proxy: &str, proxy: &FaultProxy) {
    let sandbox = Sandbox::new();
    let location = debian("gzip").parse().unwrap();
    let assemble = |name: &str, shared: &str| {
        let config = Config::parse(&(disk(&sandbox, name) + shared + REGISTRY)).unwrap();
        Stack::assemble(&config, &Kinds::builtin()).unwrap()
    };
    let first = assemble("first", shared);
    let image = first.resolve(&location, &Platform::host()).await.unwrap();
    let mut lengths = Vec::new();
    for layer in &image.layers {
        lengths.push(first.open(layer).await.unwrap().len().unwrap());
    }
    let largest = (0..lengths.len()).max_by_key(|&layer| lengths[layer]).unwrap();
    let (layer, offset) = (&image.layers[largest], lengths[largest] / 10 * 9);
    assert!(lengths[largest] > 500_000_000);
    let expected = first
        .open(layer)
        .await
        .unwrap()
        .read_bytes(offset, 4096)
        .await
        .unwrap();
    first.cache().close().await;

    let second = assemble("second", through_proxy);
    let before = proxy.traffic().from_upstream;
    let reader = second.open(layer).await.unwrap();
    let read = reader.read_bytes(offset, 4096).await.unwrap();
    let moved = proxy.traffic().from_upstream - before;
    assert_eq!(read, expected);
    assert!(moved < 3 * CHUNK, "{moved} bytes");
    drop(reader);

    // And then the disk catches up.
    second.cache().close().await;
    let disk = second
        .sources()
        .into_iter()
        .find(|source| source.name == "disk")
        .unwrap();
    assert_eq!(disk.counts.filled_bytes, lengths[largest]);
    assert_eq!(second.inflate_stats().inflates(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_read_of_a_layer_in_redis_moves_less_than_three_chunks() {
    let server = RedisServer::start(&[]);
    let proxy = FaultProxy::start(server.address()).await;
    first_read_moves_little(&redis(&server.url()), &redis_at(proxy.address()), &proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_read_of_a_layer_in_s3_moves_less_than_three_chunks() {
    let proxy = FaultProxy::start(s3_address()).await;
    let prefix = prefix();
    let endpoint = format!("http://{}", proxy.address());
    first_read_moves_little(&s3(&prefix), &s3_at(&endpoint, &prefix), &proxy).await;
}
