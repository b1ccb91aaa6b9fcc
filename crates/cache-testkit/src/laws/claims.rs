//! Laws of asking for a layer that is there.

use cache_core::{Claim, Digest, LayerDescriptor, LayerSource};

use super::sample::CHUNK;
use super::steps::{fill, named, opened, present, right, well};
use super::{Sample, TierSubject};

/// `create` returns `Exists` with the layer when "somebody else has committed the layer since the caller last looked"
/// ([`Claim`]).
pub async fn a_committed_layer_is_not_claimed_again(subject: &TierSubject) {
    let tier = &*subject.tier;
    for len in [0, 1, 2 * CHUNK + 1] {
        let sample = Sample::random(len);
        fill(tier, &sample).await;
        match well(tier.create(&sample.descriptor).await, "create") {
            Claim::Exists(reader) => right(&reader, &sample).await,
            Claim::Write(_) => panic!("a layer that is there may be written again"),
        }
        present(tier, &sample).await;
    }
}

/// A descriptor's diff ID is "verified when known" ([`LayerDescriptor`]): who claims another one may get an error, nothing, or
/// the bytes that were committed, but no other bytes; and the layer stays ([`ErrorKind::Invalid`](cache_core::ErrorKind::Invalid):
/// "nothing that is stored is to be blamed for it").
pub async fn a_false_diff_id_gets_no_wrong_bytes_and_purges_nothing(subject: &TierSubject) {
    let tier = &*subject.tier;
    let sample = Sample::random(CHUNK + 10);
    fill(tier, &sample).await;
    let lying = lying(&sample);
    for _ in 0..2 {
        false_diff_id(tier, &sample, &lying).await;
        match tier.create(&lying).await {
            Ok(Claim::Exists(reader)) => right(&reader, &sample).await,
            // Given up, it was never started.
            Ok(Claim::Write(writer)) => drop(writer),
            Err(error) => named(&error, tier, Some(sample.digest())),
        }
        present(tier, &sample).await;
    }
    // Who claims nothing gets the layer, if anything.
    match tier.open(&LayerDescriptor::new(*sample.digest())).await {
        Ok(Some(reader)) => right(&reader, &sample).await,
        Ok(None) => {}
        Err(error) => named(&error, tier, Some(sample.digest())),
    }
    present(tier, &sample).await;
}

/// The layer with the diff ID of another.
pub(super) fn lying(sample: &Sample) -> LayerDescriptor {
    sample
        .descriptor
        .clone()
        .with_diff_id(Digest::sha256_of(b"another layer"))
}

/// Opens a layer with the diff ID of another.
pub(super) async fn false_diff_id(source: &dyn LayerSource, sample: &Sample, lying: &LayerDescriptor) {
    match source.open(lying).await {
        Ok(Some(reader)) => super::steps::right_or_refused(&reader, sample).await,
        Ok(None) => {}
        Err(error) => named(&error, source, Some(sample.digest())),
    }
    right(&opened(source, sample).await, sample).await;
}
