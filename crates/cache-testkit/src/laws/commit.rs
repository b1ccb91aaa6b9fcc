//! Laws of the moment a layer becomes visible.

use super::sample::CHUNK;
use super::steps::{absent, claim, present, right, well, write};
use super::{Sample, TierSubject};

/// "A layer is visible to `open` and `list` from the moment its writer's `commit` returns, and not a moment before"
/// ([`Tier`](cache_core::Tier)).
pub async fn nothing_is_visible_before_the_commit(subject: &TierSubject) {
    let tier = &*subject.tier;
    for len in [0, 1, CHUNK, 2 * CHUNK + 3] {
        let sample = Sample::random(len);
        let mut writer = claim(tier, &sample).await;
        absent(tier, &sample).await;
        for half in [sample.bytes.slice(..len / 2), sample.bytes.slice(len / 2..)] {
            well(write(&mut *writer, &half).await, "write");
            absent(tier, &sample).await;
        }
        well(writer.commit(&sample.index).await, "commit");
        present(tier, &sample).await;
    }
}

/// "A layer is visible from the moment its writer's `commit` returns, complete" ([`Tier`](cache_core::Tier)): by the reader
/// that it returns, by any other, and in the list.
pub async fn a_layer_is_visible_and_complete_once_commit_returns(subject: &TierSubject) {
    let tier = &*subject.tier;
    let mut samples = Vec::new();
    for len in [0, 1, CHUNK + 1, 3 * CHUNK] {
        let sample = Sample::random(len);
        let mut writer = claim(tier, &sample).await;
        well(write(&mut *writer, &sample.bytes).await, "write");
        let committed = well(writer.commit(&sample.index).await, "commit");
        present(tier, &sample).await;
        assert_eq!(
            committed.len(),
            Some(sample.len()),
            "the length that commit's reader knows"
        );
        right(&committed, &sample).await;
        samples.push(sample);
    }
    for sample in &samples {
        present(tier, sample).await;
    }
}
