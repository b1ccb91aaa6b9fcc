//! What is told of the bytes that a read moves is what a proxy counts.

use std::net::SocketAddr;
use std::time::Duration;

use cache_testkit::{FaultProxy, RedisServer};
use layercache::core::{Copying, LayerDescriptor};
use layercache::registry::Platform;
use layercache::tree::{Entry, FileReader, Follow};
use layercache::{Config, Explanation, Kinds, KnownTree, Reading, Stack};

use crate::image::{Image, noise, tar};
use crate::registry::Registry;
use crate::remote::share::{REGISTRY, disk, prefix, redis_at, s3_address, s3_at};
use crate::sandbox::Sandbox;

/// What a protocol adds to an answer at most.
const OVERHEAD: u64 = 4096;
const CHUNK: u64 = 524_288;

/// An image of one layer, with files that are in one chunk and in several.
fn image() -> Registry {
    let (large, larger) = (noise(1_300_001), noise(700_003));
    let files: [(&str, &[u8]); 4] = [
        ("small", b"a few bytes"),
        ("large", &large),
        ("empty", b""),
        ("larger", &larger),
    ];
    let mut image = Image::default();
    // No other run has this layer.
    let mark = format!("{}-{}", std::process::id(), prefix());
    let files: Vec<_> = files.into_iter().chain([("mark", mark.as_bytes())]).collect();
    image.add_tar(&tar(&files));
    Registry::of_image(image, |_| None)
}

async fn worker(toml: &str, registry: &Registry) -> (Stack, Vec<LayerDescriptor>) {
    let stack = Stack::assemble(&Config::parse(toml).unwrap(), &Kinds::builtin()).unwrap();
    let location = registry.image().parse().unwrap();
    let image = stack.resolve(&location, &Platform::host()).await.unwrap();
    (stack, image.layers)
}

async fn entry(stack: &Stack, explained: &[Explanation], path: &str) -> Entry {
    let KnownTree::Whole(tree) = stack.known_tree(explained).await.unwrap() else {
        panic!("the layer is at hand")
    };
    let node = tree.resolve(path.as_bytes(), Follow::All).unwrap().unwrap();
    node.entry().clone()
}

/// Bytes that the proxy has passed on since it had counted `before`: it counts what it has handed on, which may be read a moment
/// earlier. What was told is waited for.
async fn moved(proxy: &FaultProxy, before: u64, told: u64) -> u64 {
    let enough = async {
        while proxy.traffic().from_upstream - before < told {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), enough).await;
    let moved = proxy.traffic().from_upstream - before;
    assert!(waited.is_ok(), "{moved} bytes instead of {told}");
    moved
}

/// What is told of, and what the protocol adds to each chunk and to an answer before it that was counted late.
fn most(told: u64) -> u64 {
    told + (told.div_ceil(CHUNK) + 1) * OVERHEAD
}

async fn what_is_told_is_moved(
    registry: &Registry,
    shared: impl Fn(SocketAddr) -> String,
    server: SocketAddr,
) {
    let proxy = FaultProxy::start(server).await;
    let shared = shared(proxy.address());
    let (first, layers) = worker(&(shared.clone() + REGISTRY), registry).await;
    first.bring(&layers[0]).await.unwrap();
    first.cache().close().await;

    for path in ["small", "large", "empty", "larger"] {
        // Each time a worker that has no chunk in memory, and no disk that fetches more than was asked for.
        let (second, layers) = worker(&(shared.clone() + REGISTRY), registry).await;
        let explained = second.explain_all(&layers).await;
        let plan = explained[0].plan.as_ref().unwrap();
        assert_eq!(plan.reading, Reading::InPlace(CHUNK.try_into().unwrap()));
        let entry = entry(&second, &explained, path).await;
        let ranges = entry.file().unwrap().extents().iter();
        let cost = explained[0].read_cost(ranges.map(|extent| extent.offset..extent.offset + extent.len));
        assert_eq!(cost.asked, entry.size());

        let (third, layers) = worker(&(shared.clone() + REGISTRY), registry).await;
        let reader = third.open(&layers[0]).await.unwrap();
        let before = proxy.traffic().from_upstream;
        let mut bytes = vec![0; usize::try_from(entry.size()).unwrap()];
        let read = FileReader::new(reader, &entry)
            .unwrap()
            .read_at(0, &mut bytes)
            .await
            .unwrap();
        assert_eq!(read as u64, cost.asked);
        let told = cost.moved.unwrap();
        let moved = moved(&proxy, before, told).await;
        assert!(moved <= most(told), "{path}: {moved} bytes instead of {told}");
    }
}

/// The tests do their own waiting: a [`Registry`] brings a runtime, which cannot be dropped inside of another.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(test);
}

#[test]
fn what_is_told_of_redis_is_what_it_moves() {
    let (registry, server) = (image(), RedisServer::start(&[]));
    run(what_is_told_is_moved(&registry, redis_at, server.address()));
}

#[test]
fn what_is_told_of_s3_is_what_it_moves() {
    let (registry, prefix) = (image(), prefix());
    let s3 = |proxy| s3_at(&format!("http://{proxy}"), &prefix);
    run(what_is_told_is_moved(&registry, s3, s3_address()));
}

/// With `fill = "inline"` the first read waits for the whole layer, and from an origin for the whole blob.
#[test]
fn what_has_to_be_copied_first_moves_all_of_it() {
    let (registry, server) = (image(), RedisServer::start(&[]));
    run(all_of_it_is_moved(&registry, &server));
}

async fn all_of_it_is_moved(registry: &Registry, server: &RedisServer) {
    let sandbox = Sandbox::new();
    let proxy = FaultProxy::start(server.address()).await;
    let redis = redis_at(proxy.address()) + "fill = \"inline\"\n";

    let (first, layers) = worker(&(disk(&sandbox, "first") + &redis + REGISTRY), registry).await;
    let explanation = first.explain(&layers[0]).await;
    let plan = explanation.plan.as_ref().unwrap();
    assert_eq!(
        (plan.source.as_str(), plan.reading),
        ("registry", Reading::Inflated)
    );
    let copies: Vec<_> = plan
        .copies
        .iter()
        .map(|copy| (copy.tier.as_str(), copy.when))
        .collect();
    assert_eq!(
        copies,
        [("disk", Copying::Inline), ("redis", Copying::Background)]
    );
    assert_eq!(plan.lease.as_deref(), Some("redis"));
    let (_, before) = first.origin_cost();
    first.bring(&layers[0]).await.unwrap();
    let (_, after) = first.origin_cost();
    assert_eq!(explanation.read_cost(Some(0..1)).moved, Some(after - before));
    first.cache().close().await;

    let (second, layers) = worker(&(disk(&sandbox, "second") + &redis + REGISTRY), registry).await;
    let explanation = second.explain(&layers[0]).await;
    let plan = explanation.plan.as_ref().unwrap();
    assert_eq!((plan.source.as_str(), plan.reading), ("redis", Reading::Copied));
    let before = proxy.traffic().from_upstream;
    let arrival = second.bring(&layers[0]).await.unwrap();
    assert_eq!(
        (arrival.came_from(), arrival.held_by()),
        (Some("redis"), Some("disk"))
    );
    let told = explanation.read_cost(Some(0..1)).moved.unwrap();
    assert_eq!(Some(told), plan.len);
    let moved = moved(&proxy, before, told).await;
    assert!(moved <= most(told), "{moved} bytes instead of {told}");
}
