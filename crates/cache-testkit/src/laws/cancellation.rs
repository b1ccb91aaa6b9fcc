//! Laws of calls that are cancelled, at every await.
//!
//! All of them check: "Dropping a future of any method leaves the tier in the state before or after the call"
//! ([`Tier`]), and everything goes on working.

use std::sync::Arc;

use bytes::Bytes;
use cache_core::{LayerReader, LayerReaderExt, LayerSource, Tier};
use futures_util::TryStreamExt;

use super::polls::Cut;
use super::sample::CHUNK;
use super::steps::{absent, claim, equal, fill, open, opened, present, right, right_or_failed, well, write};
use super::{Sample, TierSubject};

const LEN: usize = CHUNK + 1000;

/// A claim that was cancelled holds up nobody.
pub async fn a_cancelled_create_changes_nothing(subject: &TierSubject) {
    let tier = &*subject.tier;
    Cut::each(async |cut| {
        let sample = Sample::random(LEN);
        let claimed = cut.run(tier.create(&sample.descriptor)).await;
        let done = claimed.is_some();
        drop(claimed.map(|claimed| well(claimed, "create")));
        assert!(
            open(tier, &sample).await.is_none(),
            "create {cut:?} made the layer visible"
        );
        works_on(tier, &sample).await;
        done
    })
    .await;
}

/// "Once a call failed or was cancelled, the writer can only be dropped" ([`LayerWriter`](cache_core::LayerWriter)).
pub async fn a_cancelled_write_leaves_a_writer_to_drop(subject: &TierSubject) {
    let tier = &*subject.tier;
    Cut::each(async |cut| {
        let sample = Sample::random(2 * LEN);
        let mut writer = claim(tier, &sample).await;
        well(writer.write(sample.bytes.slice(..1000)).await, "write");
        let partial = writer.partial();
        let written = cut.run(writer.write(sample.bytes.slice(1000..))).await;
        let done = written.map(|written| well(written, "write")).is_some();
        if let Some(partial) = partial {
            let read = well(
                partial.read_bytes(0, sample.bytes.len()).await,
                "reading what was written",
            );
            assert!(
                read.len() >= 1000,
                "a cancelled write took away what was written before"
            );
            equal(
                &read,
                &sample.range(0, read.len()),
                "what is readable after a cancelled write",
            );
        }
        assert!(
            open(tier, &sample).await.is_none(),
            "write {cut:?} made the layer visible"
        );
        drop(writer);
        works_on(tier, &sample).await;
        done
    })
    .await;
}

/// A commit that was cancelled has happened, or it has not.
pub async fn a_cancelled_commit_is_all_or_nothing(subject: &TierSubject) {
    let tier = &*subject.tier;
    Cut::each(async |cut| {
        let sample = Sample::random(LEN);
        let mut writer = claim(tier, &sample).await;
        well(write(&mut *writer, &sample.bytes).await, "write");
        let committed = cut.run(writer.commit(&sample.index)).await;
        let done = committed.is_some();
        if let Some(committed) = committed {
            right(&well(committed, "commit"), &sample).await;
        }
        // What goes on in the background may end meanwhile.
        match open(tier, &sample).await {
            Some(reader) => right(&reader, &sample).await,
            None => assert!(!done, "commit has returned, and the layer is not there"),
        }
        works_on(tier, &sample).await;
        done
    })
    .await;
}

/// Giving up is not given up.
pub async fn a_cancelled_abort_is_an_abort(subject: &TierSubject) {
    let tier = &*subject.tier;
    Cut::each(async |cut| {
        let sample = Sample::random(LEN);
        let mut writer = claim(tier, &sample).await;
        well(write(&mut *writer, &sample.bytes).await, "write");
        let aborted = cut.run(writer.abort()).await;
        let done = aborted.map(|aborted| well(aborted, "abort")).is_some();
        assert!(
            open(tier, &sample).await.is_none(),
            "abort {cut:?} made the layer visible"
        );
        works_on(tier, &sample).await;
        done
    })
    .await;
}

/// A removal that was cancelled has happened, or it has not.
pub async fn a_cancelled_remove_is_all_or_nothing(subject: &TierSubject) {
    let tier = &*subject.tier;
    Cut::each(async |cut| {
        let sample = Sample::random(LEN);
        fill(tier, &sample).await;
        let removed = cut.run(tier.remove(sample.digest())).await;
        let done = removed.is_some();
        if let Some(removed) = removed {
            assert!(well(removed, "remove"), "a layer that was there");
        }
        // It may be on its way out.
        if let Some(reader) = open(tier, &sample).await {
            assert!(!done, "remove has returned, and the layer is there");
            right_or_failed(&reader, &sample).await;
        }
        well(tier.remove(sample.digest()).await, "remove");
        absent(tier, &sample).await;
        works_on(tier, &sample).await;
        done
    })
    .await;
}

/// "Dropping a future cancels it and leaves the source as it was" ([`LayerSource`]), and "cancels the work behind it"
/// ([`LayerReader`]).
pub async fn cancelled_reading_changes_nothing(subject: &TierSubject) {
    let tier = &*subject.tier;
    let sample = Sample::random(4 * CHUNK + 1);
    fill(tier, &sample).await;
    reading(tier, &sample).await;
    present(tier, &sample).await;
}

/// Cancels opening, reading and streaming.
pub(super) async fn reading(source: &dyn LayerSource, sample: &Sample) {
    Cut::each(async |cut| {
        let done = cut.run(source.open(&sample.descriptor)).await.is_some();
        right(&opened(source, sample).await, sample).await;
        done
    })
    .await;
    let kept = opened(source, sample).await;
    Cut::each(async |cut| {
        let mut buf = vec![0; sample.bytes.len()];
        let done = cut.run(kept.read_at(0, &mut buf)).await.is_some();
        let begun = cut.run(async {
            // Read in part, then dropped: the stream itself goes as well.
            Arc::clone(&kept).stream(1).try_collect::<Vec<Bytes>>().await
        });
        let done = begun.await.is_some() && done;
        right(&kept, sample).await;
        done
    })
    .await;
    Cut::each(async |cut| {
        let mut stream = Arc::clone(&kept).stream(0);
        let mut seen = Vec::new();
        let first = cut.run(stream.try_next()).await;
        let done = first.is_some();
        if let Some(first) = first {
            seen.extend(well(first, "streaming"));
        }
        // Only the wait was given up, not the stream.
        let rest: Vec<Bytes> = well(stream.try_collect().await, "streaming on");
        seen.extend(rest);
        equal(
            &seen.concat(),
            &sample.bytes,
            &format!("a stream whose first piece was awaited anew ({cut:?})"),
        );
        done
    })
    .await;
    right(&kept, sample).await;
    right(&opened(source, sample).await, sample).await;
}

/// A list that is not read to its end changes nothing.
pub async fn a_cancelled_list_changes_nothing(subject: &TierSubject) {
    let tier = &*subject.tier;
    let sample = Sample::random(LEN);
    fill(tier, &sample).await;
    Cut::each(async |cut| {
        let done = cut.run(tier.list().try_next()).await.is_some();
        present(tier, &sample).await;
        done
    })
    .await;
    works_on(tier, &Sample::random(LEN)).await;
}

/// Asserts that the layer can be filled, read and removed, whatever happened before.
async fn works_on(tier: &dyn Tier, sample: &Sample) {
    let filled: Arc<dyn LayerReader> = fill(tier, sample).await;
    right(&filled, sample).await;
    present(tier, sample).await;
    assert!(
        well(tier.remove(sample.digest()).await, "remove"),
        "the layer was there to remove"
    );
    assert!(
        open(tier, sample).await.is_none(),
        "the layer is there after it was removed"
    );
}
