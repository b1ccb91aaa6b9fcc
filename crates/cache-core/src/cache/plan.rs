//! Telling beforehand what opening a layer would do.

use std::time::Duration;

use super::entry::Entry;
use super::fill_state::Failures;
use super::options::Copying;
use super::planner::{Planner, Verdict};
use crate::runtime::timeout;
use crate::{Error, ErrorKind, LayerDescriptor, Probe, Result};

/// No source is waited for longer, whatever its own time-outs are.
const PATIENCE: Duration = Duration::from_secs(30);

/// What opening a layer would do now, by [`LayerCache::plan`](super::LayerCache::plan).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The sources in their order, up to the one that serves the layer.
    pub asked: Vec<Asked>,
    /// What is done with the layer; `None` where no source serves it.
    pub hit: Option<PlannedHit>,
}

/// The answer of one source.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Asked {
    /// The source's name.
    pub name: String,
    /// What was found there.
    pub finding: Finding,
    /// Whether it is a tier that layers from behind are copied to.
    pub takes_layers: bool,
}

/// What was found at a source: its [`Probe`], with nothing that keeps the layer open.
#[derive(Clone, Debug)]
pub enum Finding {
    /// It has the layer.
    Present,
    /// It has a file for it that has to be hashed before it is served: the index that would vouch for it is lost.
    Unverified,
    /// It lacks the layer.
    Absent,
    /// It lacks the layer, and would not take a copy, for this reason.
    Refused(Error),
    /// It is passed over, for this reason. A layer that is [`Corrupt`](ErrorKind::Corrupt) in a tier is removed by the cache that
    /// opens it, and one that is [`Disputed`](ErrorKind::Disputed) once a copy from another source has refuted it;
    /// [`Invalid`](ErrorKind::Invalid) fails the opening.
    Failed(Error),
    /// It is an origin: to ask it is to begin to fetch. It would be asked.
    NotAsked,
}

/// What opening does with a layer that is found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedHit {
    /// The name of the source that serves it.
    pub source: String,
    /// Length of the layer in bytes, where it is known before the layer is inflated.
    pub len: Option<u64>,
    /// How it is read.
    pub reading: Reading,
    /// The copies that are made, the nearest first. A tier that [disputes](ErrorKind::Disputed) what the image claims is among
    /// them where the first copy shows who is right: if it is the image, the layer there is removed, and the copy made; else the
    /// image fails.
    pub copies: Vec<PlannedCopy>,
    /// The name of the tier whose lease on the layer is taken first, or waited for while another worker has it.
    pub lease: Option<String>,
}

/// How a layer is read until the copies of it are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Where it is.
    InPlace,
    /// Once all of it was copied, from the first copy.
    Copied,
    /// The whole blob is fetched and inflated: once where it is copied, and otherwise for each read.
    Inflated,
}

/// A tier that gets a copy of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedCopy {
    /// The tier's name.
    pub tier: String,
    /// Whether readers wait for it.
    pub when: Copying,
}

impl From<Result<Probe>> for Finding {
    fn from(probed: Result<Probe>) -> Self {
        match probed {
            Ok(Probe::Present(_)) => Self::Present,
            Ok(Probe::Unverified) => Self::Unverified,
            Ok(Probe::Absent) => Self::Absent,
            Ok(Probe::Refused(error)) => Self::Refused(error),
            Ok(Probe::NotAsked) => Self::NotAsked,
            Err(error) => Self::Failed(error),
        }
    }
}

/// See [`LayerCache::plan`](super::LayerCache::plan).
pub(super) async fn plan(sources: &[Entry], layer: &LayerDescriptor) -> Plan {
    let mut planner = Planner::default();
    let mut asked = Vec::new();
    let mut hit = None;
    for (source, entry) in sources.iter().enumerate() {
        let probed = ask(entry, layer).await;
        let mut ends = true;
        match &probed {
            Ok(Probe::Present(reader)) => {
                let random_access = reader.random_access();
                hit = Some(planned_hit(
                    sources,
                    &planner,
                    source,
                    random_access,
                    reader.len(),
                ));
            }
            // A file is read at any offset once it is hashed.
            Ok(Probe::Unverified) => hit = Some(planned_hit(sources, &planner, source, true, None)),
            Ok(Probe::NotAsked) => hit = Some(planned_hit(sources, &planner, source, false, None)),
            Ok(Probe::Absent | Probe::Refused(_)) | Err(_) => {
                ends = note_failure(&mut planner, source, entry, &probed);
            }
        }
        asked.push(Asked {
            name: entry.source.name().to_owned(),
            finding: probed.into(),
            takes_layers: entry.rules.takes_layers(),
        });
        if ends {
            break;
        }
    }
    Plan { asked, hit }
}

/// Notes the answer of a source that does not serve the layer. Returns whether the search ends with it.
fn note_failure(planner: &mut Planner, source: usize, entry: &Entry, probed: &Result<Probe>) -> bool {
    let verdict = match probed {
        Ok(Probe::Absent) => {
            planner.lacks(source, entry.rules);
            return false;
        }
        Ok(_) => return false,
        Err(error) => entry.rules.judge(error.kind()),
    };
    match verdict {
        Verdict::Suspect => planner.disputes(source, entry.rules),
        // It lacks the layer once that is removed.
        Verdict::Remove => planner.lacks(source, entry.rules),
        Verdict::PassOver | Verdict::EndSearch => {}
    }
    verdict == Verdict::EndSearch
}

fn planned_hit(
    sources: &[Entry],
    planner: &Planner,
    source: usize,
    random_access: bool,
    len: Option<u64>,
) -> PlannedHit {
    let name = |source: usize| sources[source].source.name().to_owned();
    let rules = sources[source].rules;
    let copies = planner.copies(rules, random_access);
    let copy = |(source, when)| PlannedCopy {
        tier: name(source),
        when,
    };
    PlannedHit {
        source: name(source),
        len,
        reading: match rules.is_origin() {
            true => Reading::Inflated,
            false if copies.read_from => Reading::Copied,
            false => Reading::InPlace,
        },
        copies: copies.planned.into_iter().map(copy).collect(),
        lease: planner.lease_before(rules).map(name),
    }
}

/// Probes a whole cache, as one source: asks until one of its sources has the layer.
pub(super) async fn probe(cache: &str, sources: &[Entry], layer: &LayerDescriptor) -> Result<Probe> {
    let mut failures = Failures::default();
    for entry in sources {
        match ask(entry, layer).await {
            Ok(Probe::Absent | Probe::Refused(_)) => {}
            Ok(found) => return Ok(found),
            Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
            Err(error) => failures.add(error),
        }
    }
    let error = failures.into_error(cache, &layer.digest);
    error.map_or(Ok(Probe::Absent), Err)
}

/// Probes one source, or tells that it stays silent.
async fn ask(entry: &Entry, layer: &LayerDescriptor) -> Result<Probe> {
    let probed = timeout(PATIENCE, entry.source.probe(layer)).await;
    let probed = probed.unwrap_or_else(|_| {
        let seconds = PATIENCE.as_secs();
        Err(Error::unavailable(format!("no answer within {seconds} s")))
    });
    probed.map_err(|error| error.at(entry.source.name(), "open").of_layer(&layer.digest))
}
