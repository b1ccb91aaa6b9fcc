//! Laws of layers that are given up.

use super::sample::CHUNK;
use super::steps::{absent, claim, fill, present, well, write};
use super::{Sample, TierSubject};

/// How much is written before a writer is given up, of a layer of two chunks and a bit.
const WRITTEN: [Option<usize>; 6] = [
    None,
    Some(0),
    Some(1),
    Some(CHUNK),
    Some(CHUNK + 1),
    Some(2 * CHUNK + 10),
];

/// "Dropping it, at any time, means it was never started" ([`LayerWriter`](cache_core::LayerWriter)).
pub async fn a_writer_that_is_dropped_was_never_started(subject: &TierSubject) {
    let tier = &*subject.tier;
    for written in WRITTEN {
        let sample = Sample::random(2 * CHUNK + 10);
        let mut writer = claim(tier, &sample).await;
        if let Some(written) = written {
            well(write(&mut *writer, &sample.bytes.slice(..written)).await, "write");
        }
        drop(writer);
        absent(tier, &sample).await;
        // The claim is not left behind either: whoever is next writes, and all of the layer.
        fill_anew(tier, &sample).await;
    }
}

/// `abort` "gives the layer up, and returns when nothing of it is left" ([`LayerWriter`](cache_core::LayerWriter)).
pub async fn an_aborted_layer_is_gone_when_abort_returns(subject: &TierSubject) {
    let tier = &*subject.tier;
    for written in WRITTEN {
        let sample = Sample::random(2 * CHUNK + 10);
        let mut writer = claim(tier, &sample).await;
        if let Some(written) = written {
            well(write(&mut *writer, &sample.bytes.slice(..written)).await, "write");
        }
        well(writer.abort().await, "abort");
        absent(tier, &sample).await;
        assert!(
            !well(tier.remove(sample.digest()).await, "remove"),
            "an aborted layer was there to remove"
        );
        fill_anew(tier, &sample).await;
    }
}

async fn fill_anew(tier: &dyn cache_core::Tier, sample: &Sample) {
    drop(claim(tier, sample).await);
    fill(tier, sample).await;
    present(tier, sample).await;
}
