//! Laws of what was never there.

use super::sample::random_digest;
use super::steps::{absent, well};
use super::{Sample, TierSubject};

/// "Absence is `Ok(None)`" ([`LayerSource`](cache_core::LayerSource)); `remove` tells "whether there was one", and `list`
/// has "every committed layer" and no other ([`Tier`](cache_core::Tier)).
pub async fn an_unknown_layer_is_absent(subject: &TierSubject) {
    let tier = &*subject.tier;
    let unknown = Sample::random(10);
    absent(tier, &unknown).await;
    assert!(!well(
        tier.remove(&random_digest()).await,
        "removing what is not there"
    ));
    absent(tier, &unknown).await;
}
