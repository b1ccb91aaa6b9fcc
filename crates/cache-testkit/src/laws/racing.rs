//! Laws of several writers of one layer.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Claim, ErrorKind, LayerWriter, Tier};
use futures_util::future::join;
use tokio::task::JoinSet;

use super::sample::CHUNK;
use super::steps::{absent, claim, fill, listed, named, present, right, try_fill, well, write};
use super::{Sample, TierSubject};

/// How long a second claim is tried beside a first. A tier whose claims are exclusive keeps it waiting; how long does not
/// matter to what is right, only to what is tried.
const SECOND_CLAIM: Duration = Duration::from_millis(300);

/// "Of several writers of one layer any may win; all of them write the same bytes" ([`Tier`]).
pub async fn racing_writers_leave_the_right_layer(subject: &TierSubject) {
    for (round, len) in [1, CHUNK + 1, 2 * CHUNK + 9, 300_000, 0].into_iter().enumerate() {
        let sample = Sample::random(len);
        let mut writers = JoinSet::new();
        for _ in 0..=round % 3 + 1 {
            let (tier, sample) = (Arc::clone(&subject.tier), sample.clone());
            writers.spawn(async move { try_fill(&*tier, &sample).await });
        }
        judge(&*subject.tier, &sample, writers.join_all().await).await;

        // In turns on one thread, for tiers that never wait.
        let sample = Sample::random(len);
        let (one, other) = join(
            try_fill(&*subject.tier, &sample),
            try_fill(&*subject.tier, &sample),
        )
        .await;
        judge(&*subject.tier, &sample, vec![one, other]).await;
    }
}

type Filled = cache_core::Result<Arc<dyn cache_core::LayerReader>>;

async fn judge(tier: &dyn Tier, sample: &Sample, filled: Vec<Filled>) {
    assert!(filled.iter().any(Result::is_ok), "all writers failed: {filled:?}");
    present(tier, sample).await;
    for filled in filled {
        match filled {
            Ok(reader) => right(&reader, sample).await,
            Err(error) => named(&error, tier, Some(sample.digest())),
        }
    }
}

/// "Dropping it means it was never started" ([`LayerWriter`]), also for what another writer of the same layer has committed:
/// whichever way it is given up, and whenever. One that is yet to commit commits all of the layer, or gets an error.
pub async fn a_writer_that_gives_up_takes_nothing_from_the_others(subject: &TierSubject) {
    let tier = &*subject.tier;
    for (written, committed_before, dropped) in [
        (0, true, true),
        (CHUNK + 1, true, true),
        (CHUNK + 1, true, false),
        (2 * CHUNK + 10, true, false),
        (CHUNK + 1, false, true),
        (2 * CHUNK + 10, false, false),
    ] {
        let sample = Sample::random(2 * CHUNK + 10);
        let mut winner = claim(tier, &sample).await;
        let Some(mut loser) = second_claim(tier, &sample).await else {
            // Exclusive: the second was cancelled while it waited, which is all the giving up there is.
            well(write(&mut *winner, &sample.bytes).await, "write");
            well(winner.commit(&sample.index).await, "commit");
            present(tier, &sample).await;
            continue;
        };
        well(write(&mut *loser, &sample.bytes.slice(..written)).await, "write");
        well(write(&mut *winner, &sample.bytes).await, "write");
        if committed_before {
            let committed = well(winner.commit(&sample.index).await, "commit");
            give_up(loser, dropped).await;
            right(&committed, &sample).await;
        } else {
            give_up(loser, dropped).await;
            assert_eq!(
                listed(tier, &[&sample]).await,
                [None],
                "a layer that is being written is listed"
            );
            match winner.commit(&sample.index).await {
                Ok(committed) => right(&committed, &sample).await,
                // Where writers share what they write, it may be gone; then the commit has to notice.
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                    named(&error, tier, Some(sample.digest()));
                    absent(tier, &sample).await;
                    fill(tier, &sample).await;
                }
            }
        }
        present(tier, &sample).await;
    }
}

/// A second writer of a layer that is claimed already, unless claims are exclusive.
async fn second_claim(tier: &dyn Tier, sample: &Sample) -> Option<Box<dyn LayerWriter>> {
    let claimed = tokio::time::timeout(SECOND_CLAIM, tier.create(&sample.descriptor)).await;
    match well(claimed.ok()?, "a second create") {
        Claim::Write(writer) => Some(writer),
        Claim::Exists(_) => panic!("create says Exists of a layer that is being written"),
    }
}

async fn give_up(writer: Box<dyn LayerWriter>, dropped: bool) {
    if dropped {
        drop(writer);
    } else {
        well(writer.abort().await, "abort");
    }
}
