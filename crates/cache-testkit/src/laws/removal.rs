//! Laws of removing a layer.

use std::sync::Arc;

use cache_core::LayerReaderExt;
use futures_util::StreamExt;

use super::sample::CHUNK;
use super::steps::{absent, claim, equal, fill, lost, opened, present, right_or_failed, well};
use super::{Sample, TierSubject};

/// "Readers that are open go on reading the right bytes or get an error" ([`Tier::remove`](cache_core::Tier::remove)), "and
/// never a short or wrong read" ([`LayerReader`](cache_core::LayerReader)).
pub async fn readers_of_a_removed_layer_read_right_or_fail(subject: &TierSubject) {
    let tier = &*subject.tier;
    let sample = Sample::random(4 * CHUNK + 11);
    let committed = fill(tier, &sample).await;
    let unread = opened(tier, &sample).await;
    let read = opened(tier, &sample).await;
    well(read.read_bytes(5, 10).await, "reading");
    let mut begun = Arc::clone(&read).stream(0);
    let first = begun.next().await.map(|piece| well(piece, "streaming"));
    let busy = tokio::spawn({
        let (reader, sample) = (opened(tier, &sample).await, sample.clone());
        async move {
            for _ in 0..5 {
                right_or_failed(&reader, &sample).await;
                tokio::task::yield_now().await;
            }
        }
    });
    tokio::task::yield_now().await;
    assert!(
        well(tier.remove(sample.digest()).await, "remove"),
        "a layer that was there"
    );
    absent(tier, &sample).await;

    let mut seen = first.expect("a layer has bytes").to_vec();
    loop {
        match begun.next().await {
            Some(Ok(piece)) => seen.extend_from_slice(&piece),
            Some(Err(error)) => {
                lost(&error, &sample);
                equal(&seen, &sample.bytes[..seen.len()], "a stream before its error");
                break;
            }
            None => {
                equal(&seen, &sample.bytes, "a stream that ended well");
                break;
            }
        }
    }
    for reader in [&committed, &unread, &read] {
        right_or_failed(reader, &sample).await;
    }
    well(
        busy.await
            .map_err(|error| cache_core::Error::invalid(error.to_string())),
        "reading during a removal",
    );

    // It comes back, and those readers are still right.
    fill(tier, &sample).await;
    present(tier, &sample).await;
    for reader in [&committed, &unread, &read] {
        right_or_failed(reader, &sample).await;
    }
}

/// `remove` "removes a layer and everything kept with it; whether there was one" ([`Tier::remove`](cache_core::Tier::remove)).
pub async fn a_removed_layer_is_gone_and_can_come_back(subject: &TierSubject) {
    let tier = &*subject.tier;
    let stays = Sample::random(CHUNK + 2);
    fill(tier, &stays).await;
    for len in [0, 1, 2 * CHUNK + 1] {
        let sample = Sample::random(len);
        for _ in 0..2 {
            drop(claim(tier, &sample).await);
            fill(tier, &sample).await;
            present(tier, &sample).await;
            assert!(
                well(tier.remove(sample.digest()).await, "remove"),
                "a layer that was there"
            );
            absent(tier, &sample).await;
            assert!(
                !well(tier.remove(sample.digest()).await, "remove"),
                "a layer that is gone"
            );
            absent(tier, &sample).await;
        }
    }
    present(tier, &stays).await;
}
