//! Cases as small as they shrink to, each with its story: of a bug that there was, or of one that was planted and that no test
//! noticed, or only by accident.
//!
//! A seed makes another case as soon as anything is added to what cases are made of; what is written down stays what it is. Each
//! of these fails again when the bug of its story is brought back, by hand or with `cargo xtask planted`.

use cache_core::{Copying, ErrorKind};
use cache_testkit::sim::{Script, Step, TierKind, Trouble};

use crate::composition::{Composition, Kind, Part};
use crate::machine::run;
use crate::operation::{Action, Operation, Reader};

const LAYER: usize = 2;

fn local() -> Part {
    Part::new(Kind::Tier(TierKind::Local))
}

fn shared() -> Part {
    Part::new(Kind::Tier(TierKind::Shared))
}

/// A shared tier with leases.
fn leased() -> Part {
    let leases = Some(Script::default());
    Part { leases, ..shared() }
}

fn origin() -> Part {
    Part::new(Kind::Origin)
}

/// The part, of which the first call of a step meets trouble.
fn meeting(mut part: Part, step: Step, trouble: Trouble) -> Part {
    part.script.troubles.insert(step, vec![Some(trouble)]);
    part
}

/// One process on each of two hosts.
fn two_hosts(parts: Vec<Part>) -> Composition {
    Composition {
        hosts: vec![0, 1],
        ..Composition::new(parts)
    }
}

/// Reads all of the layer.
fn stream() -> Action {
    Action::Stream {
        layer: LAYER,
        offset: 0,
        pieces: None,
    }
}

/// Both processes read all of the layer.
fn both() -> Operation {
    Operation::Readers(vec![Reader::new(0, stream()), Reader::new(1, stream())])
}

/// Whoever held the lease of a layer that the shared tier refused gave it back as free. Each of the workers that waited took it
/// then, fetched the layer, and was refused in its turn: the last of them waited for all the others.
#[test]
fn what_the_tier_of_the_lease_refuses_is_given_up() {
    let full = meeting(leased(), Step::Create, Trouble::FullAt(4000));
    run(&two_hosts(vec![full, origin()]), vec![both()]);
    let denied = Trouble::Fail(ErrorKind::Permanent);
    let denying = meeting(leased(), Step::Create, denied);
    run(&two_hosts(vec![denying, origin()]), vec![both()]);
}

/// An origin whose layers are copied nowhere was asked under the lease as well, by one worker after the other.
#[test]
fn what_is_copied_nowhere_needs_no_lease() {
    let aside = Part {
        fill: Copying::Off,
        ..origin()
    };
    run(&two_hosts(vec![leased(), aside]), vec![both()]);
}

/// The same behind a local tier: it is the write-back that is given up. Bug `giving-up-not-told`.
#[test]
fn a_write_back_that_is_given_up_is_told_of() {
    let denied = Trouble::Fail(ErrorKind::Permanent);
    let denying = meeting(leased(), Step::Commit, denied);
    run(&two_hosts(vec![local(), denying, origin()]), vec![both()]);
}

/// A lease was given back as soon as the layer was on the local disk; whoever waited fetched it once more, while it was on its way
/// to where all could have found it. No test noticed, but for an accident. Bug `lease-released-before-the-write-back`.
#[test]
fn a_lease_is_held_until_the_layer_is_published() {
    let slow = meeting(leased(), Step::Commit, Trouble::Delay(4));
    run(&two_hosts(vec![local(), slow, origin()]), vec![both()]);
}

/// A fetch takes longer than a lease lasts. Bug `lease-not-renewed`.
#[test]
fn a_lease_is_renewed_while_the_fetch_goes_on() {
    let slow = meeting(origin(), Step::Stream, Trouble::Delay(8));
    run(&two_hosts(vec![leased(), slow]), vec![both()]);
}

/// The worker that waits finds the layer at the first tier, and has claimed the second one before it asked for the lease. Which no
/// longer is to be filled then, and no test noticed when it was. Bug `tiers-behind-the-hit-filled`.
#[test]
fn who_has_waited_fills_nothing_behind_what_it_finds() {
    run(&two_hosts(vec![leased(), local(), origin()]), vec![both()]);
}

/// Whoever holds the lease, and the lock of its host, is killed in the middle of its fetch. Another process of the host and another
/// host take over, one of them at a time.
#[test]
fn who_is_killed_leaves_lease_and_lock_to_one_of_the_others() {
    let slow = meeting(origin(), Step::Stream, Trouble::Delay(5));
    let composition = Composition {
        hosts: vec![0, 0, 1],
        ..Composition::new(vec![local(), leased(), slow])
    };
    let late = |process, action| Reader {
        start: 20,
        ..Reader::new(process, action)
    };
    let readers = vec![
        Reader::new(0, stream()),
        late(1, stream()),
        late(2, stream()),
        late(0, Action::Restart),
    ];
    run(&composition, vec![Operation::Readers(readers), Operation::Flush]);
}

/// All sources fail in the same moment. Bug `outage-is-a-miss`.
#[test]
fn an_outage_of_all_is_no_absence() {
    let down = Trouble::Fail(ErrorKind::Unavailable);
    let parts = vec![
        meeting(shared(), Step::Open, down),
        meeting(origin(), Step::Open, down),
    ];
    let reading = Operation::Readers(vec![Reader::new(0, stream())]);
    run(&Composition::new(parts), vec![reading.clone(), reading]);
}

/// A copy to the shared tier is under way when the cache is asked to be at rest. Bug `write-backs-not-drained`.
#[test]
fn rest_waits_for_write_backs() {
    let slow = meeting(shared(), Step::Commit, Trouble::Delay(2));
    let composition = Composition::new(vec![local(), slow, origin()]);
    let reading = Operation::Readers(vec![Reader::new(0, stream())]);
    run(&composition, vec![reading, Operation::Flush]);
}

/// A fetch whose bytes are wrong is committed nowhere. Bug `diff-id-not-checked`.
#[test]
fn wrong_bytes_are_committed_nowhere() {
    let wrong = meeting(origin(), Step::Stream, Trouble::FlipAt(1000));
    let reading = Operation::Readers(vec![Reader::new(0, stream())]);
    run(&Composition::new(vec![shared(), wrong]), vec![reading]);
}
