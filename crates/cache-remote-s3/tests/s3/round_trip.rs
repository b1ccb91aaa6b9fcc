//! What was written is read back, listed, and gone when it was removed.

use cache_core::{Claim, Digest, LayerReaderExt, LayerSource, Tier};
use futures_util::TryStreamExt;

use crate::support::{CHUNK, Layer, PART, Raw, claim, fill, open, prefix, read_all, server, tier_at};

#[tokio::test]
async fn a_layer_of_any_length_goes_there_and_back() {
    for (seed, len) in [
        0,
        1,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        PART - 1,
        PART,
        PART + 1,
        3 * PART + 5,
    ]
    .into_iter()
    .enumerate()
    {
        let prefix = prefix();
        let tier = tier_at(server(), &prefix);
        let layer = Layer::new(seed as u64, len);
        assert!(tier.open(&layer.descriptor).await.unwrap().is_none());

        let committed = fill(&tier, &layer).await;
        let opened = open(&tier, &layer).await;
        for reader in [committed, opened] {
            assert_eq!(reader.len(), Some(len as u64));
            assert!(
                read_all(&reader).await.unwrap() == layer.bytes,
                "{len} bytes, streamed"
            );
            for at in [0, len / 2, len.saturating_sub(3), len, len + 1] {
                let read = reader.read_bytes(at as u64, 10).await.unwrap();
                assert_eq!(read, layer.bytes[at.min(len)..(at + 10).min(len)]);
            }
        }
        let Claim::Exists(found) = tier.create(&layer.descriptor).await.unwrap() else {
            panic!("a layer that is there was to be written again");
        };
        assert_eq!(found.len(), Some(len as u64));

        assert!(tier.remove(layer.digest()).await.unwrap());
        assert!(tier.open(&layer.descriptor).await.unwrap().is_none());
        assert!(!tier.remove(layer.digest()).await.unwrap());
        assert!(Raw::new(&prefix).names().await.is_empty());
    }
}

#[tokio::test]
async fn what_is_stored_is_the_layer_and_its_index_under_their_keys() {
    let prefix = prefix();
    let raw = Raw::new(&prefix);
    let layer = Layer::new(1, PART + 100);
    fill(&tier_at(server(), &prefix), &layer).await;
    let key = format!("clip:oci:layer:decompressed:{}", layer.digest());
    assert_eq!(raw.names().await, [key.clone(), format!("{key}:index")]);
    assert!(raw.get(layer.digest(), "").await == layer.bytes);
    assert_eq!(raw.get(layer.digest(), ":index").await, layer.sealed());
}

#[tokio::test]
async fn a_list_has_what_is_committed_and_nothing_else() {
    let prefix = prefix();
    let (tier, raw) = (tier_at(server(), &prefix), Raw::new(&prefix));
    let layers: Vec<_> = (0..5).map(|seed| Layer::new(seed, 100 * seed as usize)).collect();
    for layer in &layers {
        fill(&tier, layer).await;
    }
    let (alone, orphan) = (Digest::sha256_of(b"alone"), Digest::sha256_of(b"orphan"));
    raw.put(&alone, "", "no index").await;
    raw.put(&orphan, ":index", layers[0].sealed()).await;
    raw.put(layers[0].digest(), ":tree", "of somebody else").await;
    let uncommitted = claim(&tier, &Layer::new(9, 10)).await;

    let mut stats: Vec<_> = tier
        .list()
        .map_ok(|stat| (stat.digest, stat.len))
        .try_collect()
        .await
        .unwrap();
    let mut expected: Vec<_> = layers
        .iter()
        .map(|layer| (*layer.digest(), layer.index.len()))
        .collect();
    stats.sort();
    expected.sort();
    assert_eq!(stats, expected);
    drop(uncommitted);
}

#[tokio::test]
async fn what_was_committed_by_another_tier_is_found() {
    let prefix = prefix();
    let layer = Layer::new(1, 2 * CHUNK + 1);
    fill(&tier_at(server(), &prefix), &layer).await;
    let reader = open(&tier_at(server(), &prefix), &layer).await;
    assert_eq!(read_all(&reader).await.unwrap(), layer.bytes);
}
