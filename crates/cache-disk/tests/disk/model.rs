//! Any sequence of operations leaves the directory as a set of layers would be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use cache_core::{Claim, LayerWriter, Tier};
use futures_util::TryStreamExt;
use proptest::prelude::*;

use crate::support::{Cache, Layer, gc, is_cached, open, read_all};

const LAYERS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Op {
    Create(usize),
    Write(usize),
    Commit(usize),
    Drop(usize),
    Remove(usize),
    Quarantine(usize),
    Unlink(usize),
    UnlinkIndex(usize),
    Cut(usize),
    Open(usize),
    Gc,
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let layer = 0..LAYERS;
    prop_oneof![
        4 => layer.clone().prop_map(Op::Create),
        4 => layer.clone().prop_map(Op::Write),
        3 => layer.clone().prop_map(Op::Commit),
        1 => layer.clone().prop_map(Op::Drop),
        1 => layer.clone().prop_map(Op::Remove),
        1 => layer.clone().prop_map(Op::Quarantine),
        1 => layer.clone().prop_map(Op::Unlink),
        1 => layer.clone().prop_map(Op::UnlinkIndex),
        1 => layer.clone().prop_map(Op::Cut),
        2 => layer.prop_map(Op::Open),
        1 => Just(Op::Gc),
        1 => Just(Op::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn the_directory_is_the_set_of_committed_layers(
        ops in prop::collection::vec(op(), 1..40), staging: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(&ops, staging));
    }
}

async fn run(ops: &[Op], staging: bool) {
    let layers: Vec<Layer> = (0..LAYERS).map(|n| Layer::new(n as u64, 700 * n)).collect();
    let cache = Cache::new();
    let config = cache.config().with_force_staging(staging);
    let mut tier = config.clone().open().unwrap();
    // The model: what is committed, what of that is damaged, and how much of the layers being filled is written.
    let mut committed = BTreeSet::new();
    let mut damaged = BTreeSet::new();
    let mut filling: BTreeMap<usize, (Box<dyn LayerWriter>, usize)> = BTreeMap::new();
    for op in ops {
        match *op {
            Op::Create(n) if filling.contains_key(&n) => {}
            Op::Create(n) => match tier.create(&layers[n].descriptor).await.unwrap() {
                Claim::Exists(reader) => {
                    assert!(committed.contains(&n) && !damaged.contains(&n));
                    assert_eq!(read_all(&reader).await, layers[n].bytes);
                }
                Claim::Write(writer) => {
                    assert!(!committed.contains(&n) || damaged.contains(&n));
                    committed.remove(&n);
                    damaged.remove(&n);
                    filling.insert(n, (writer, 0));
                }
            },
            Op::Write(n) => {
                let Some((writer, written)) = filling.get_mut(&n) else {
                    continue;
                };
                let rest = layers[n].bytes.slice(*written..);
                let piece = rest.slice(..rest.len().min(400));
                *written += piece.len();
                writer.write(piece).await.unwrap();
            }
            Op::Commit(n) => {
                let Some((writer, written)) = filling.remove(&n) else {
                    continue;
                };
                let done = writer.commit(&layers[n].index).await;
                assert_eq!(done.is_ok(), written == layers[n].bytes.len());
                if done.is_ok() {
                    committed.insert(n);
                }
            }
            Op::Drop(n) => drop(filling.remove(&n)),
            Op::Remove(n) => {
                assert_eq!(
                    tier.remove(layers[n].digest()).await.unwrap(),
                    committed.remove(&n)
                );
                damaged.remove(&n);
            }
            Op::Quarantine(n) => {
                assert_eq!(
                    tier.quarantine(layers[n].digest()).await.unwrap(),
                    committed.remove(&n)
                );
                damaged.remove(&n);
            }
            Op::Unlink(n) => {
                let unlinked = fs::remove_file(cache.path(&layers[n], "decompressed")).is_ok();
                assert_eq!(unlinked, committed.remove(&n));
                damaged.remove(&n);
            }
            Op::UnlinkIndex(n) => drop(fs::remove_file(cache.path(&layers[n], "index"))),
            Op::Cut(n) => {
                if !layers[n].bytes.is_empty() && committed.contains(&n) {
                    let path = cache.path(&layers[n], "decompressed");
                    fs::remove_file(&path).unwrap();
                    fs::write(&path, &layers[n].bytes[1..]).unwrap();
                    damaged.insert(n);
                }
            }
            Op::Open(n) if damaged.contains(&n) => {
                assert!(
                    cache_core::LayerSource::open(&tier, &layers[n].descriptor)
                        .await
                        .is_err()
                );
            }
            Op::Open(n) => match open(&tier, &layers[n]).await {
                Some(reader) => {
                    assert!(committed.contains(&n));
                    assert_eq!(read_all(&reader).await, layers[n].bytes);
                }
                None => assert!(!committed.contains(&n)),
            },
            Op::Gc => drop(gc(&tier, None).await.unwrap()),
            Op::Reopen => tier = config.clone().open().unwrap(),
        }
    }
    for (_, (writer, _)) in std::mem::take(&mut filling) {
        writer.abort().await.unwrap();
    }
    let listed: Vec<_> = tier
        .list()
        .map_ok(|stat| stat.digest)
        .try_collect()
        .await
        .unwrap();
    let expected: BTreeSet<_> = committed.iter().map(|n| *layers[*n].digest()).collect();
    assert_eq!(BTreeSet::from_iter(listed), expected);
    for n in &damaged {
        tier.remove(layers[*n].digest()).await.unwrap();
        committed.remove(n);
    }
    // Opening rebuilds what index was lost; then the directory holds the layers and nothing else.
    for n in &committed {
        assert!(is_cached(&tier, &layers[*n]).await);
    }
    // A dropped writer goes in the background: claiming its layer waits for that.
    for layer in &layers {
        if let Claim::Write(writer) = tier.create(&layer.descriptor).await.unwrap() {
            writer.abort().await.unwrap();
        }
    }
    gc(&tier, None).await.unwrap();
    assert_eq!(
        cache.files(),
        Cache::files_of(&committed.iter().map(|n| &layers[*n]).collect::<Vec<_>>())
    );
}
