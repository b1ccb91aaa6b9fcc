//! What a read costs when the page cache has the bytes.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use cache_core::index::IndexBuilder;
use cache_core::{Claim, Digest, LayerDescriptor, LayerReader, LayerSource, Tier};
use cache_disk::{DiskConfig, DiskTier};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const LAYER_LEN: usize = 16 << 20;

async fn tier_with_a_layer(root: &std::path::Path) -> (DiskTier, LayerDescriptor, Arc<dyn LayerReader>) {
    let tier = DiskTier::open(DiskConfig::new(root.join("cache"))).unwrap();
    let bytes = Bytes::from(vec![7; LAYER_LEN]);
    let layer = LayerDescriptor::new(Digest::sha256_of(b"blob"));
    let Claim::Write(mut writer) = tier.create(&layer).await.unwrap() else {
        panic!("an empty directory has the layer");
    };
    let mut index = IndexBuilder::new(layer.digest.algorithm());
    index.update(&bytes);
    writer.write(bytes).await.unwrap();
    let reader = writer.commit(&index.finish(layer.digest)).await.unwrap();
    (tier, layer, reader)
}

fn reads(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let root = tempfile::tempdir().unwrap();
    let (tier, layer, reader) = runtime.block_on(tier_with_a_layer(root.path()));

    let mut group = criterion.benchmark_group("read_at");
    for len in [4 << 10, 64 << 10, 1 << 20] {
        let mut buf = vec![0; len];
        let mut offset = 0;
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("{} KiB", len >> 10), |bencher| {
            bencher.iter(|| {
                offset = (offset + len as u64) % LAYER_LEN as u64;
                black_box(runtime.block_on(reader.read_at(offset, &mut buf)).unwrap())
            });
        });
    }
    group.finish();
    criterion.bench_function("open", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(tier.open(&layer)).unwrap()));
    });
}

criterion_group!(benches, reads);
criterion_main!(benches);
