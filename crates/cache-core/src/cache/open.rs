//! Opening a layer: at the first source right away, otherwise through a fill that readers share.

use std::sync::Arc;

use super::fill_task::FillTask;
use super::hit::Hit;
use super::in_flight::{InFlight, Opened};
use super::inner::Inner;
use super::single_flight::{Joined, Key, Lookup};
use super::source_set::SourceSet;
use crate::runtime::spawn;
use crate::{ErrorKind, LayerDescriptor, Result};

/// Opens `layer` at the sources that are not in `skip`; `apart` from fills for other repositories, whose failure tells nothing
/// about this one.
pub(super) async fn open(
    cache: &Arc<Inner>,
    layer: &LayerDescriptor,
    skip: SourceSet,
    apart: bool,
) -> Result<Option<Opened>> {
    cache.check_open(layer)?;
    let repository = layer.repository.as_ref();
    let mut key = Key::new(layer, skip);
    if apart {
        key.set_apart(repository);
    }
    let mut waited = false;
    loop {
        let in_flight = match find_or_fill(cache, layer, &key, waited).await? {
            Begun::Hit(hit) => return Ok(Some(Opened::Hit(hit))),
            Begun::InFlight(in_flight) => in_flight,
            Begun::OnOtherTerms(other) => {
                // Once: the layer is then to be had from the tiers, or else there is nothing to wait for.
                let _ = cache.meters.wait(other.finished()).await;
                waited = true;
                continue;
            }
        };
        let Some(finished) = cache.meters.wait(in_flight.readable()).await else {
            return Ok(Some(Opened::InFlight(in_flight)));
        };
        match finished {
            Ok(Some(hit)) => return Ok(Some(Opened::Hit(hit))),
            _ if !key.is_apart() && !in_flight.is_of(repository) => key.set_apart(repository),
            Ok(None) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// The beginning of opening a layer.
enum Begun {
    Hit(Hit),
    InFlight(Arc<InFlight>),
    /// Another fill brings the same layer on other terms.
    OnOtherTerms(Arc<InFlight>),
}

/// Returns a hit at the first source, or the fill for `key`, which it begins if there is none.
async fn find_or_fill(cache: &Arc<Inner>, layer: &LayerDescriptor, key: &Key, waited: bool) -> Result<Begun> {
    let ended_before = match cache.single_flight.look_up(key) {
        Lookup::InFlight(in_flight) => return Ok(Begun::InFlight(in_flight)),
        Lookup::Absent { ended } => ended,
    };
    let mut first = None;
    if !key.skip().contains(0) {
        match cache.sources[0].source.open(layer).await {
            Ok(Some(reader)) => return Ok(Begun::Hit(Hit::at(0, reader))),
            Ok(None) => first = Some(Ok(())),
            Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
            Err(error) => first = Some(Err(error)),
        }
    }
    // Under the lock: a fill is on the table before `close` counts, or refused.
    let may_begin = || cache.check_open(layer);
    let repository = layer.repository.as_ref();
    let (guard, ended) = match cache.single_flight.join(key, repository, waited, may_begin)? {
        Joined::InFlight(in_flight) => return Ok(Begun::InFlight(in_flight)),
        Joined::OnOtherTerms(other) => return Ok(Begun::OnOtherTerms(other)),
        Joined::Begun { guard, ended } => (guard, ended),
    };
    if ended != ended_before {
        // A fill that has ended meanwhile may have brought this layer: the first source has to be asked again.
        first = None;
    }
    let in_flight = Arc::clone(guard.in_flight());
    let task = FillTask::new(cache, layer, key.skip(), guard);
    spawn(task.run(first));
    Ok(Begun::InFlight(in_flight))
}
