//! The law of the list.

use super::sample::CHUNK;
use super::steps::{claim, fill, listed, well, write};
use super::{Sample, TierSubject};

/// "Every committed layer once" ([`Tier::list`](cache_core::Tier::list)), with its length, and no layer that is being
/// written, was given up, or was removed. (Of a tier that cannot list, that it lists nothing.)
pub async fn the_list_is_what_is_committed(subject: &TierSubject) {
    let tier = &*subject.tier;
    let can = tier.capabilities().list;
    let samples: Vec<_> = [0, 1, CHUNK, CHUNK + 1, 1000, 1000, 1000]
        .map(Sample::random)
        .into();
    let [empty, one, even, odd, removed, given_up, written] = &samples[..] else {
        unreachable!("seven samples")
    };
    let all: Vec<_> = samples.iter().collect();
    assert_eq!(listed(tier, &all).await, [None; 7], "before anything was written");
    for sample in [empty, one, even, odd, removed] {
        fill(tier, sample).await;
    }
    let mut writer = claim(tier, given_up).await;
    well(write(&mut *writer, &given_up.bytes).await, "write");
    drop(writer);
    let mut writer = claim(tier, written).await;
    well(write(&mut *writer, &written.bytes).await, "write");

    let len = |sample: &Sample| can.then(|| sample.len());
    let four = [len(empty), len(one), len(even), len(odd)];
    assert_eq!(listed(tier, &all[..4]).await, four, "what is committed");
    assert_eq!(
        listed(tier, &all[4..]).await,
        [len(removed), None, None],
        "what is not"
    );
    well(tier.remove(removed.digest()).await, "remove");
    well(writer.commit(&written.index).await, "commit");
    assert_eq!(listed(tier, &all[..4]).await, four, "after others came and went");
    assert_eq!(
        listed(tier, &all[4..]).await,
        [None, None, len(written)],
        "those that came and went"
    );
}
