//! What proving bytes costs: hashes of chunks, digests, and the index that has the hashes.

use std::hint::black_box;

use cache_core::digest::DigestHasher;
use cache_core::index::{CHUNK_LEN, IndexBuilder};
use cache_core::{Algorithm, Digest, LayerIndex};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn proofs(criterion: &mut Criterion) {
    let layer: Vec<u8> = (0..8 * CHUNK_LEN).map(|at| (at * 31 % 251) as u8).collect();
    let indexed = || {
        let mut index = IndexBuilder::new(Algorithm::Sha256);
        index.update(&layer);
        index.finish(Digest::sha256_of(b"blob"))
    };
    let index = indexed();
    let encoded = index.encode();

    let mut group = criterion.benchmark_group("prove");
    group.throughput(Throughput::Bytes(layer.len() as u64));
    group.bench_function("digest", |bencher| {
        bencher.iter(|| {
            let mut hasher = DigestHasher::new(Algorithm::Sha256);
            hasher.update(&layer);
            black_box(hasher.finish())
        });
    });
    group.bench_function("digest and hashes of chunks", |bencher| {
        bencher.iter(|| black_box(indexed()));
    });
    group.throughput(Throughput::Bytes(CHUNK_LEN as u64));
    group.bench_function("one chunk", |bencher| {
        bencher.iter(|| assert!(black_box(&index).verify_chunk(0, &layer[..CHUNK_LEN as usize])));
    });
    group.finish();
    criterion.bench_function("decode an index", |bencher| {
        bencher.iter(|| black_box(LayerIndex::decode(&encoded)).unwrap());
    });
}

criterion_group!(benches, proofs);
criterion_main!(benches);
