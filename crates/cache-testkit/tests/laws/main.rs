//! Laws can fail: each of the bugs that a tier may have is caught by the law that is meant for it.

mod leases;
mod simulated;
mod toy;

use cache_core::{Claim, Tier};
use cache_testkit::laws::{Sample, SourceSubject, TierSubject, check, durable, source, tier};
use cache_testkit::tier_laws;

use crate::toy::{Bug, Toy};

// Without a bug it keeps every law, so it is the bug that is caught.
tier_laws!(durable toy_tier, || async { subject(Toy::default()) });

fn subject(toy: Toy) -> TierSubject {
    let again = toy.clone();
    TierSubject::new(toy).reopened_by(move || std::future::ready(again.reopened()))
}

macro_rules! caught {
    ($($name:ident: $bug:ident by $list:ident::$law:ident, $says:literal;)*) => { $(
        #[test]
        #[should_panic(expected = $says)]
        fn $name() {
            check(async { subject(Toy::with(Bug::$bug)) }, $list::$law);
        }
    )* };
}

caught! {
    an_outage_for_an_absence: AbsentIsAnError by tier::an_unknown_layer_is_absent, "opening failed";
    short_at_a_chunk: ShortAtAChunk by tier::layers_of_any_length_read_as_written, "the length of a read at 0";
    a_stream_from_the_start: StreamFromTheStart by tier::layers_of_any_length_read_as_written, "a stream from 1";
    an_empty_piece: EmptyPiece by tier::a_stream_that_is_dropped_harms_nobody, "a piece of a stream is empty";
    visible_while_written: VisibleWhileWritten by tier::nothing_is_visible_before_the_commit, "can be opened";
    a_write_of_nothing_is_lost: RepeatsAfterAnEmptyWrite by tier::any_pieces_make_the_layer_and_any_range_is_read, "commit failed";
    committed_when_dropped: CommittedWhenDropped by tier::a_writer_that_is_dropped_was_never_started, "can be opened";
    a_claim_that_stays: ClaimStaysWhenDropped by tier::a_writer_that_is_dropped_was_never_started, "create failed";
    aborted_and_committed: CommittedWhenDropped by tier::an_aborted_layer_is_gone_when_abort_returns, "can be opened";
    // Which of them notices is a matter of the schedule.
    racing_writers_share_a_buffer: SharedBuffer by tier::racing_writers_leave_the_right_layer, "";
    a_loser_removes_the_layer: RemovedWhenDropped by tier::a_writer_that_gives_up_takes_nothing_from_the_others, "the layer is there";
    removal_cuts_open_readers: RemoveCutsReaders by tier::readers_of_a_removed_layer_read_right_or_fail, "the length of a";
    removed_and_listed: RemovedIsListed by tier::a_removed_layer_is_gone_and_can_come_back, "the layer is listed";
    listed_while_written: ListedWhileWritten by tier::the_list_is_what_is_committed, "what is not";
    lists_what_it_does_not_claim: ListIsNotClaimed by tier::what_is_not_claimed_says_so, "a list that is not claimed";
    partial_ahead_of_the_data: PartialAhead by tier::a_partial_reader_follows_the_writer, "a read of what was written";
    partial_knows_its_length: PartialHasLength by tier::a_partial_reader_follows_the_writer, "not known before the commit";
    claimed_again: ClaimedAgain by tier::a_committed_layer_is_not_claimed_again, "may be written again";
    a_false_diff_id_purges: FalseDiffIdPurges by tier::a_false_diff_id_gets_no_wrong_bytes_and_purges_nothing, "the layer is there";
    an_error_without_tier: ErrorWithoutTier by tier::errors_name_tier_operation_and_layer, "no tier in";
    a_cancelled_claim_stays: CancelledClaimStays by tier::a_cancelled_create_changes_nothing, "filling failed";
    a_cancelled_commit_is_half: HalfCommitted by tier::a_cancelled_commit_is_all_or_nothing, "the length of";
    a_cancelled_removal_is_half: HalfRemoved by tier::a_cancelled_remove_is_all_or_nothing, "the length of a";
    a_name_that_changes: NameChanges by tier::capabilities_and_name_are_constant, "while a layer is written";
    a_role_that_changes: RoleChanges by tier::capabilities_and_name_are_constant, "while a layer is written";
    a_tier_that_is_an_origin: IsAnOrigin by tier::every_wrapper_has_its_role, "the role of a tier";
    gone_when_reopened: GoneWhenReopened by durable::another_handle_has_what_was_committed, "the layer is there";
    reopening_commits: VisibleWhileWritten by durable::another_handle_has_what_was_committed, "can be opened";
}

macro_rules! caught_at_a_source {
    ($($name:ident: $bug:ident by $law:ident, $says:literal;)*) => { mod at_a_source {
        use super::*;
        $(
            #[test]
            #[should_panic(expected = $says)]
            fn $name() {
                check(async { holding(Toy::with(Bug::$bug)).await }, source::$law);
            }
        )*
    } };
}

caught_at_a_source! {
    an_outage_for_an_absence: AbsentIsAnError by an_unknown_layer_is_absent, "opening failed";
    short_at_a_chunk: ShortAtAChunk by its_layers_read_as_they_are, "the length of a read at";
    short_at_any_range: ShortAtAChunk by any_range_is_read, "the smallest case";
    an_empty_piece: EmptyPiece by a_stream_that_is_dropped_harms_nobody, "a piece of a stream is empty";
    a_false_diff_id_purges: FalseDiffIdPurges by a_false_diff_id_gets_no_wrong_bytes_and_purges_nothing, "the layer is there";
    an_error_without_tier: ErrorWithoutTier by errors_name_source_operation_and_layer, "no tier in";
}

/// The toy as a source of layers.
async fn holding(toy: Toy) -> SourceSubject {
    let layers: Vec<_> = [3, 1_500_000].map(Sample::random).into();
    for layer in &layers {
        let Claim::Write(mut writer) = toy.create(&layer.descriptor).await.unwrap() else {
            panic!("it is empty")
        };
        writer.write(layer.bytes.clone()).await.unwrap();
        writer.commit(&layer.index).await.unwrap();
    }
    SourceSubject::new(toy, layers)
}
