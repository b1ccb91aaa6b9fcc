//! What must hold, with the numbers that the design gives its promises.

use std::time::Duration;

use cache_core::{Copying, Error, ErrorKind};
use cache_testkit::sim::{TierKind, Trouble};

use crate::composition::{Composition, Kind, LAYERS, Part, Source, bytes_of};

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
pub(crate) fn error_is_fair(
    composition: &Composition,
    sources: &[Source],
    layer: usize,
    streamed: bool,
    error: &Error,
) {
    let faultless = |(part, source): (&Part, &Source)| {
        part.kind == Kind::Origin && !part.script.has_trouble() && source.holds(layer).is_some()
    };
    let mut parts = composition.parts.iter().zip(sources);
    // A panic is a bug of a source: it reaches everybody who waits for the same fill, as an error.
    let panics = composition.any_trouble(|trouble| *trouble == Trouble::Panic);
    let excused = panics || (streamed && streams_unproven(composition));
    assert!(
        excused || !parts.any(faultless),
        "promise 3: a faultless source has layer {layer}, but: {error:?}"
    );
    if error.kind() == ErrorKind::NotFound {
        let held = sources.iter().any(|source| matches!(source, Source::Origin(_)));
        assert!(!held, "promise 7: an origin has layer {layer}, but: {error:?}");
    }
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
    part.takes_layers() && part.guards.is_empty() && !part.script.has_trouble()
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

/// Promise 2: one fetch of a layer at a time, where a tier in front of the origin keeps what is fetched.
pub(crate) fn fetches_are_single(composition: &Composition, sources: &[Source]) {
    let mut keeps = false;
    for (part, source) in composition.parts.iter().zip(sources) {
        keeps |= is_reliable(part);
        if let (Source::Origin(origin), Copying::Background | Copying::Inline) = (source, part.fill) {
            let most = origin.most_streams();
            assert!(
                !keeps || most <= 1,
                "promise 2: {most} fetches of one layer at once"
            );
        }
    }
}

/// Promise 4: nothing is left over at rest.
pub(crate) fn nothing_is_left_over(sources: &[Source]) {
    for tier in sources.iter().filter_map(Source::tier) {
        assert_eq!(tier.writers(), 0, "promise 4: writers at rest");
    }
}

/// When nothing goes wrong, every tier in front of where a layer is found has it once it was read and the cache is at rest.
pub(crate) fn nearer_tiers_are_filled(composition: &Composition, sources: &[Source], layer: usize) {
    let mut parts = composition.parts.iter().zip(sources);
    let found = parts.position(|(_, source)| source.holds(layer).is_some());
    let Some(found) = found else { return };
    if composition.parts[found].fill == Copying::Off {
        return;
    }
    let lacking = composition.parts[..found].iter().position(Part::takes_layers);
    assert_eq!(
        lacking, None,
        "layer {layer} is found at {found}, and was not copied in front"
    );
}

/// Promise 1 again: what tiers have committed is right.
pub(crate) fn committed_is_right(sources: &[Source]) {
    for layer in 0..LAYERS.len() {
        for held in sources.iter().filter_map(|source| source.holds(layer)) {
            assert_eq!(held, bytes_of(layer), "promise 1: a tier holds wrong bytes");
        }
    }
}
