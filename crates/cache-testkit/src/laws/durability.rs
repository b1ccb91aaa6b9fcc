//! Laws of tiers whose layers outlive the handle on them.

use super::sample::CHUNK;
use super::steps::{absent, claim, fill, present, well, write};
use super::{Sample, TierSubject};

/// `commit` "makes the layer durable and visible" ([`LayerWriter`](cache_core::LayerWriter)): to whoever opens the same
/// store, which sees nothing of what was only written, and removes what the first handle has.
pub async fn another_handle_has_what_was_committed(subject: &TierSubject) {
    let samples = [0, 1, 2 * CHUNK + 7].map(Sample::random);
    let uncommitted = Sample::random(CHUNK + 7);
    for sample in &samples {
        fill(&*subject.tier, sample).await;
    }
    let mut writer = claim(&*subject.tier, &uncommitted).await;
    well(write(&mut *writer, &uncommitted.bytes).await, "write");
    let again = subject.reopened().await;
    for sample in &samples {
        present(&*again, sample).await;
    }
    absent(&*again, &uncommitted).await;
    drop(writer);
    let again = subject.reopened().await;
    absent(&*again, &uncommitted).await;
    fill(&*again, &uncommitted).await;
    present(&*subject.tier, &uncommitted).await;
    for sample in &samples {
        assert!(
            well(again.remove(sample.digest()).await, "remove"),
            "a layer of another handle"
        );
        absent(&*subject.tier, sample).await;
    }
}

/// A store that is opened again leaves alone what somebody is writing: "dropping it", and nothing else, "means it was never
/// started" ([`LayerWriter`](cache_core::LayerWriter)).
pub async fn another_handle_leaves_a_writer_alone(subject: &TierSubject) {
    let sample = Sample::random(2 * CHUNK + 7);
    let mut writer = claim(&*subject.tier, &sample).await;
    well(
        write(&mut *writer, &sample.bytes.slice(..CHUNK + 3)).await,
        "write",
    );
    let again = subject.reopened().await;
    // Its first fill is when a tier may look for what others have left.
    fill(&*again, &Sample::random(10)).await;
    well(
        write(&mut *writer, &sample.bytes.slice(CHUNK + 3..)).await,
        "write",
    );
    well(writer.commit(&sample.index).await, "commit");
    present(&*again, &sample).await;
    present(&*subject.tier, &sample).await;
}
