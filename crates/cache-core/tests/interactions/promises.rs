//! What must hold, with the numbers that the design gives its promises.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::{Copying, Digest, Error, ErrorKind};
use cache_testkit::sim::{Process, Scope, TierKind, Trouble};

use crate::cluster::Cluster;
use crate::composition::{Composition, HOSTS, Kind, LAYERS, Part, bytes_of};
use crate::sources::Source;

/// The longest that anything may take: each trouble costs at most the half minute that a source stalls.
pub(crate) const BOUND: Duration = Duration::from_secs(30 * 60);

/// Promise 1: the right bytes.
pub(crate) fn bytes_are_right(layer: usize, offset: u64, read: &[u8], wanted: Option<usize>) {
    let bytes = bytes_of(layer);
    let start = bytes.len().min(offset as usize);
    let end = match wanted {
        Some(len) => bytes.len().min(start + len),
        None => start + read.len(),
    };
    assert!(
        end <= bytes.len() && read == &bytes[start..end],
        "promise 1: wrong bytes of layer {layer} at {offset}"
    );
}

/// Promises 3 and 7: an error only where nothing else was possible, and an absence only where it is one.
pub(crate) fn error_is_fair(composition: &Composition, layer: usize, streamed: bool, error: &Error) {
    let is_origin = |part: &&Part| part.kind == Kind::Origin;
    let mut origins = composition.parts.iter().filter(is_origin);
    assert!(
        error.kind() != ErrorKind::NotFound || origins.clone().next().is_none(),
        "promise 7: an origin has layer {layer}, but: {error:?}"
    );
    // A panic is a bug of a source: it reaches everybody who waits for the same fill, as an error.
    let panics = composition.any_trouble(|trouble| *trouble == Trouble::Panic);
    let excused = panics || (streamed && streams_unproven(composition));
    assert!(
        excused || origins.all(|origin| origin.script.has_trouble()),
        "promise 3: a faultless source has layer {layer}, but: {error:?}"
    );
}

/// Whether a stream may come from a source that proves its bytes only at the end, and then fails: what was handed out cannot be taken
/// back, so the error is final.
fn streams_unproven(composition: &Composition) -> bool {
    let mut kept = false;
    composition.parts.iter().any(|part| {
        kept |= is_reliable(part);
        let proves = matches!(part.kind, Kind::Tier(TierKind::Local | TierKind::Shared));
        let copied = kept && part.fill != Copying::Off;
        !copied && !proves && part.script.has_trouble()
    })
}

/// A tier that keeps what is found behind it, whatever happens.
fn is_reliable(part: &Part) -> bool {
    part.takes_layers() && is_faultless(part)
}

/// Bytes of a stream that ended with an error were not proven right where a source verifies nothing in a stream.
pub(crate) fn proves_pieces(composition: &Composition) -> bool {
    let unproven = |part: &Part| {
        part.kind != Kind::Tier(TierKind::Local)
            && part.kind != Kind::Tier(TierKind::Shared)
            && part.script.any(|trouble| matches!(trouble, Trouble::FlipAt(_)))
    };
    !composition.parts.iter().any(unproven)
}

/// How long whoever fills a local tier is waited for, and whoever holds a lease; less than it takes.
const PATIENCE_WITH_HOST: Duration = Duration::from_secs(45);
const PATIENCE_WITH_LEASE: Duration = Duration::from_secs(10);

/// Promise 2: one fetch of a layer at a time, in a process where a tier in front of the origin keeps what is fetched, on a host where
/// a local tier does, and in the cluster where a tier with leases does. And one fetch in all, unless one failed or somebody died.
pub(crate) fn fetches_are_single(cluster: &Cluster) {
    let parts = &cluster.composition.parts;
    if cluster.past.disturbed.load(Ordering::Relaxed) {
        return;
    }
    let slowness = cluster.composition.slowness();
    for (position, source) in cluster.sources.iter().enumerate() {
        let (Source::Origin(origin), false) = (source, parts[position].fill == Copying::Off) else {
            continue;
        };
        let front = &parts[..position];
        for (scope, single) in [
            (Scope::Process, front.iter().any(is_reliable)),
            (Scope::Host, slowness < PATIENCE_WITH_HOST && is_locked(front)),
            (
                Scope::Cluster,
                slowness < PATIENCE_WITH_LEASE && is_leased(front) && is_never_given_up(parts),
            ),
        ] {
            let most = origin.most_streams(scope);
            assert!(
                !single || most <= 1,
                "promise 2: {most} fetches of one layer at once: {scope:?}"
            );
            let lasting = !cluster.past.lost.load(Ordering::Relaxed);
            if single && lasting && is_passable(front) && is_faultless(&parts[position]) {
                let deaths = cluster.past.deaths.load(Ordering::Relaxed);
                let fetches = most_in_all(&origin.streams_so_far(), scope);
                assert!(
                    fetches <= 1 + deaths,
                    "promise 2: {fetches} fetches of one layer, {deaths} deaths: {scope:?}"
                );
            }
        }
    }
}

/// How many streams of one layer there were at most, of all that share them.
fn most_in_all(streams: &[(Process, Digest)], scope: Scope) -> usize {
    let shared = |(process, layer): &(Process, Digest)| {
        let same = |(other, of): &&(Process, Digest)| {
            of == layer
                && match scope {
                    Scope::Process => other == process,
                    Scope::Host => other.host() == process.host(),
                    Scope::Cluster => true,
                }
        };
        streams.iter().filter(same).count()
    };
    streams.iter().map(shared).max().unwrap_or(0)
}

fn is_faultless(part: &Part) -> bool {
    part.guards.is_empty() && !part.script.has_trouble()
}

/// Whether only one process of a host gets past these: the local tier that is claimed is the nearest.
fn is_locked(front: &[Part]) -> bool {
    let local = |part: &&Part| part.kind == Kind::Tier(TierKind::Local) && part.write_back != Copying::Off;
    front.iter().find(local).is_some_and(is_reliable)
}

/// Whether only one process of the cluster gets past these.
fn is_leased(front: &[Part]) -> bool {
    leased(front).is_some_and(|tier| {
        let leases = front[tier].leases.as_ref();
        is_reliable(&front[tier])
            && leases.is_some_and(|leases| !leases.has_trouble())
            && is_passable(&front[..tier])
    })
}

/// Whether no holder of a lease gives it up: as one does that fails to fetch and finds the layer only where it is copied nowhere. Then
/// all others fetch at once.
fn is_never_given_up(parts: &[Part]) -> bool {
    let copied = |part: &&Part| part.fill != Copying::Off;
    let mut origins = parts.iter().filter(|part| part.kind == Kind::Origin);
    parts.iter().all(|part| copied(&part)) || origins.all(|origin| !copied(&origin) || is_faultless(origin))
}

/// The tier whose leases are asked for.
fn leased(front: &[Part]) -> Option<usize> {
    let leases = |part: &Part| part.leases.is_some() && part.write_back != Copying::Off;
    front.iter().position(leases)
}

/// Whether what is filled in front of a tier is at hand for filling that one.
fn is_passable(front: &[Part]) -> bool {
    let mut filled = front.iter().filter(|part| part.write_back != Copying::Off);
    filled.all(|part| part.kind != Kind::Origin && is_reliable(part))
}

/// A lease is given back as free once the layer is published, and as given up where it was fetched and cannot be.
pub(crate) fn giving_up_is_told(cluster: &Cluster) {
    let parts = &cluster.composition.parts;
    let panics = cluster
        .composition
        .any_trouble(|trouble| *trouble == Trouble::Panic);
    let Some(tier) = leased(parts).filter(|_| !panics) else {
        return;
    };
    let fetched =
        |part: &Part| part.kind == Kind::Origin && part.guards.is_empty() && !part.script.has_trouble();
    if !is_passable(&parts[..tier]) || !parts[tier..].iter().any(fetched) {
        return;
    }
    for tier in cluster.sources[tier].tiers() {
        assert_eq!(
            tier.freed_unpublished(),
            [],
            "a lease that was given up is not told of"
        );
    }
}

/// A tier gets what was found behind it, and nothing else.
pub(crate) fn what_is_behind_is_left_alone(cluster: &Cluster) {
    // A tier that was rid of wrong bytes is filled afresh, wherever the right ones are found.
    let wrong = |trouble: &Trouble| match trouble {
        Trouble::FlipAt(_) => true,
        Trouble::Fail(kind) => matches!(kind, ErrorKind::Corrupt | ErrorKind::Disputed),
        _ => false,
    };
    if cluster.composition.any_trouble(wrong) || cluster.past.published.load(Ordering::Relaxed) {
        return;
    }
    for (position, source) in cluster.sources.iter().enumerate() {
        for (process, digest) in source.tiers().iter().flat_map(|tier| tier.commits()) {
            let mut behind = cluster.sources[position + 1..].iter();
            assert!(
                behind.any(|source| source.streams_so_far().contains(&(process.clone(), digest))),
                "{digest} was written at {position}, and not found behind"
            );
        }
    }
}

/// Promise 4: nothing is left over at rest.
pub(crate) fn nothing_is_left_over(sources: &[Source]) {
    for source in sources {
        for tier in source.tiers() {
            assert_eq!(tier.writers(), 0, "promise 4: writers at rest");
            assert_eq!(tier.leases_in_hands(), 0, "promise 4: leases at rest");
        }
        if let Source::Origin(origin) = source {
            assert_eq!(origin.streams(), 0, "promise 4: streams at rest");
        }
    }
}

/// When nothing goes wrong, every tier in front of where a layer is found has it once it was read and the cache is at rest.
pub(crate) fn nearer_tiers_are_filled(
    composition: &Composition,
    sources: &[Source],
    host: usize,
    layer: usize,
) {
    let mut held = sources.iter().map(|source| source.holds(host, layer).is_some());
    let Some(found) = held.position(|held| held) else {
        return;
    };
    if composition.parts[found].fill == Copying::Off {
        return;
    }
    let lacking = composition.parts[..found].iter().position(Part::takes_layers);
    assert_eq!(
        lacking, None,
        "layer {layer} is found at {found}, and was not copied in front"
    );
}

/// Promise 1 again: what tiers have committed is right, and was written.
pub(crate) fn committed_is_right(sources: &[Source]) {
    for tier in sources.iter().flat_map(Source::tiers) {
        assert_eq!(tier.wrong_commits(), 0, "a commit of what was not written");
    }
    for (layer, host) in (0..LAYERS.len()).flat_map(|layer| (0..HOSTS).map(move |host| (layer, host))) {
        for held in sources.iter().filter_map(|source| source.holds(host, layer)) {
            assert_eq!(held, bytes_of(layer), "promise 1: a tier holds wrong bytes");
        }
    }
}
