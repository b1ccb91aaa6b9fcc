//! The law of errors.

use cache_core::{Error, LayerSource};
use futures_util::StreamExt;

use super::claims::lying;
use super::polls::Cut;
use super::sample::CHUNK;
use super::steps::{absent, claim, fill, named, present};
use super::{Sample, TierSubject};

/// "An error names the tier, the operation and the layer it concerns" ([`Error`]): each that can be had of any tier.
pub async fn errors_name_tier_operation_and_layer(subject: &TierSubject) {
    let tier = &*subject.tier;
    let sample = Sample::random(CHUNK + 5);
    let other = Sample::random(7);

    // An index of another layer, of too few bytes, and of none: a tier that looks refuses them.
    for (written, index) in [(&sample.bytes, &other.index), (&other.bytes, &sample.index)] {
        let mut writer = claim(tier, &sample).await;
        let failed = match writer.write(written.clone()).await {
            Ok(()) => writer.commit(index).await.err(),
            failed => failed.err(),
        };
        match failed {
            Some(error) => {
                named_here(&error, tier, &sample);
                absent(tier, &sample).await;
            }
            // The caller has broken the contract; it cleans up.
            None => drop(tier.remove(sample.digest()).await),
        }
        drop(tier.remove(other.digest()).await);
    }

    // A writer that goes on after a write was cancelled.
    let mut writer = claim(tier, &sample).await;
    let _ = Cut::at_once(1).run(writer.write(sample.bytes.clone())).await;
    for _ in 0..2 {
        if let Err(error) = writer.write(sample.bytes.slice(..1)).await {
            named_here(&error, tier, &sample);
        }
    }
    drop(writer);
    absent(tier, &sample).await;

    fill(tier, &sample).await;
    let lying = lying(&sample);
    let refused = [tier.open(&lying).await.err(), tier.create(&lying).await.err()];
    for error in refused.into_iter().flatten() {
        named_here(&error, tier, &sample);
    }
    present(tier, &sample).await;
    if !tier.capabilities().list {
        let error = tier
            .list()
            .next()
            .await
            .expect("one error")
            .expect_err("it cannot list");
        named(&error, tier, None);
    }
}

fn named_here(error: &Error, tier: &dyn cache_core::Tier, sample: &Sample) {
    named(error, tier, Some(sample.digest()));
    assert_eq!(
        error.tier(),
        Some(LayerSource::name(tier)),
        "the tier in {error:?}"
    );
}
