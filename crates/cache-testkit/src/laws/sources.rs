//! Laws of sources that are not filled by whoever reads them: origins, read-only tiers, caches.

use proptest::prelude::*;

use super::capabilities::{constants, wrapped};
use super::chunking::for_any;
use super::claims::{false_diff_id, lying};
use super::polls::Cut;
use super::sample::{CHUNK, random_digest};
use super::steps::{named, open, opened, right, well};
use super::{Sample, SourceSubject, cancellation, reading};

/// "Absence is `Ok(None)`" ([`LayerSource`](cache_core::LayerSource)).
pub async fn an_unknown_layer_is_absent(subject: &SourceSubject) {
    // As one of its layers is asked for: an origin needs to know where.
    let mut descriptor = subject.longest().descriptor.clone();
    descriptor.digest = random_digest();
    descriptor.size = None;
    descriptor.diff_id = None;
    let unknown = Sample::new(descriptor, &b"never there"[..]);
    for _ in 0..2 {
        assert!(
            open(&*subject.source, &unknown).await.is_none(),
            "a layer that is not there"
        );
        right(
            &opened(&*subject.source, subject.longest()).await,
            subject.longest(),
        )
        .await;
    }
}

/// `read_at` is short "only at the end", and `stream` goes "to the end of the layer"
/// ([`LayerReader`](cache_core::LayerReader)): around every boundary.
pub async fn its_layers_read_as_they_are(subject: &SourceSubject) {
    for layer in &subject.layers {
        let reader = opened(&*subject.source, layer).await;
        // Without random access, each read costs the whole layer.
        reading::ranges(&reader, layer, reader.random_access()).await;
        if let Some(len) = opened(&*subject.source, layer).await.len() {
            assert_eq!(len, layer.len(), "the length of the layer");
        }
    }
}

/// `read_at` reads "until `buf` is full or the layer ends" ([`LayerReader`](cache_core::LayerReader)): any range, and
/// ranges in any order.
pub async fn any_range_is_read(subject: &SourceSubject) {
    let layer = subject.longest();
    let ranges = prop::collection::vec((any::<prop::sample::Index>(), 0..CHUNK + 100), 4..8);
    for_any(8, ranges, async |ranges| {
        let reader = opened(&*subject.source, layer).await;
        for (offset, len) in ranges {
            let offset = offset.index(layer.bytes.len() + 2) as u64;
            reading::range(&reader, layer, offset, len).await;
        }
    });
}

/// "Dropping a stream cancels the work behind it", and nothing else ([`LayerReader`](cache_core::LayerReader)).
pub async fn a_stream_that_is_dropped_harms_nobody(subject: &SourceSubject) {
    let layer = subject.longest();
    reading::dropped_streams(&opened(&*subject.source, layer).await, layer).await;
    right(&opened(&*subject.source, layer).await, layer).await;
}

/// "Any number of reads may run at once" ([`LayerReader`](cache_core::LayerReader)).
pub async fn many_read_at_once(subject: &SourceSubject) {
    let layer = subject.longest();
    reading::at_once(&opened(&*subject.source, layer).await, layer).await;
}

/// "A wrapper has the role of the source inside, and a cache the role of the nearest of its sources"
/// ([`LayerSource::role`](cache_core::LayerSource::role)).
pub async fn every_wrapper_has_its_role(subject: &SourceSubject) {
    let layer = subject.longest();
    // From here on it is as near as it gets.
    right(&opened(&*subject.source, layer).await, layer).await;
    wrapped(&subject.source, layer).await;
}

/// `role` and `capabilities` are "constant over its life", and `name` is "a short, constant name"
/// ([`LayerSource`](cache_core::LayerSource)).
pub async fn capabilities_and_name_are_constant(subject: &SourceSubject) {
    let before = constants(&*subject.source);
    for layer in &subject.layers {
        right(&opened(&*subject.source, layer).await, layer).await;
        assert_eq!(constants(&*subject.source), before);
    }
}

/// A descriptor's diff ID is "verified when known" ([`LayerDescriptor`](cache_core::LayerDescriptor)): who claims another one may
/// get an error, nothing, or the right bytes, but no other bytes; and the layer stays.
pub async fn a_false_diff_id_gets_no_wrong_bytes_and_purges_nothing(subject: &SourceSubject) {
    for layer in &subject.layers {
        let lying = lying(layer);
        for _ in 0..2 {
            false_diff_id(&*subject.source, layer, &lying).await;
        }
    }
}

/// "An error names the tier, the operation and the layer it concerns" ([`Error`](cache_core::Error)): what is asked for under
/// a false diff ID, wherever it is refused.
pub async fn errors_name_source_operation_and_layer(subject: &SourceSubject) {
    let layer = subject.longest();
    let name = |error: &cache_core::Error| named(error, &*subject.source, Some(layer.digest()));
    match subject.source.open(&lying(layer)).await {
        Err(error) => name(&error),
        Ok(None) => {}
        Ok(Some(reader)) => {
            if let Err(error) = super::steps::streamed(&reader, 0).await {
                name(&error);
            }
            if let Err(error) = reader.read_at(0, &mut [0; 10]).await {
                name(&error);
            }
        }
    }
    well(subject.source.open(&layer.descriptor).await, "opening");
}

/// "Dropping a future of any method cancels it and leaves the source as it was before the call"
/// ([`LayerSource`](cache_core::LayerSource)).
pub async fn cancelled_reading_changes_nothing(subject: &SourceSubject) {
    // The first time that a layer is opened may be when it is fetched.
    for (polls, layer) in subject.layers.iter().enumerate() {
        let _ = Cut::at_once(polls)
            .run(subject.source.open(&layer.descriptor))
            .await;
        right(&opened(&*subject.source, layer).await, layer).await;
    }
    cancellation::reading(&*subject.source, subject.longest()).await;
}
