//! A law of all ways to write and to read a layer.

use bytes::Bytes;
use cache_core::LayerWriter;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::reading::range;
use super::sample::CHUNK;
use super::steps::{claim, opened, right, well};
use super::{Sample, TierSubject};

/// `write` "appends the next bytes of the layer" ([`LayerWriter`]), and what was committed is read "complete"
/// ([`Tier`](cache_core::Tier)): for any lengths of what is written and read.
pub async fn any_pieces_make_the_layer_and_any_range_is_read(subject: &TierSubject) {
    // The edges are always tried: ten cases of chance miss a bug at one of them every few dozen runs.
    written(subject, &[0, 1, 0, CHUNK - 2, 1, CHUNK, 0]).await;

    let piece = prop_oneof![Just(0), Just(1), Just(CHUNK), 0..CHUNK / 8, CHUNK - 2..CHUNK + 2];
    let pieces = prop::collection::vec(piece, 0..6);
    let ranges = prop::collection::vec((any::<prop::sample::Index>(), 0..2 * CHUNK), 3);
    for_any(10, (pieces, ranges), async |(pieces, ranges)| {
        let sample = written(subject, &pieces).await;
        let reader = opened(&*subject.tier, &sample).await;
        for (offset, read) in ranges {
            let offset = offset.index(sample.bytes.len() + 2) as u64;
            range(&reader, &sample, offset, read).await;
        }
    });
}

/// A layer written in `pieces` of these lengths, in bytes, and read back.
async fn written(subject: &TierSubject, pieces: &[usize]) -> Sample {
    let sample = Sample::random(pieces.iter().sum());
    let mut writer = claim(&*subject.tier, &sample).await;
    write_pieces(&mut *writer, &sample.bytes, pieces).await;
    let committed = well(writer.commit(&sample.index).await, "commit");
    right(&committed, &sample).await;
    sample
}

async fn write_pieces(writer: &mut dyn LayerWriter, bytes: &Bytes, pieces: &[usize]) {
    let mut rest = bytes.clone();
    for piece in pieces {
        well(writer.write(rest.split_to(*piece)).await, "write");
    }
}

/// Runs `law` for generated cases, from within a runtime; a case that fails is shrunk.
pub(super) fn for_any<S: Strategy>(cases: u32, strategy: S, law: impl AsyncFn(S::Value)) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 100,
        ..ProptestConfig::default()
    };
    let tried = TestRunner::new(config).run(&strategy, |case| {
        block_in_place(|| Handle::current().block_on(law(case)));
        Ok(())
    });
    match tried {
        Ok(()) => {}
        Err(TestError::Fail(why, case)) => panic!("{why}; the smallest case is {case:?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
