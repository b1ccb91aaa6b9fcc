//! `verify`: hashes the layers of the cache directories again, and removes those that are wrong, or
//! keeps them aside, or fetches them anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::{Digest, Error, ErrorKind, LayerSource, LayerStat, Tier};
use cache_disk::{DiskTier, Verification};
use serde::Serialize;

use super::disks::disks;
use super::error::{OpsError, Place};
use super::list::layers;
use super::progress::{Event, LayerWork, Progress, watched};
use super::refetch::Refetch;
use super::summary::VerifySummary;
use super::text::{error_or_null, text};
use super::words::error_line;
use crate::Stack;

/// Ways to deal with layers that are wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Keep wrong layers in the quarantine of their directory instead of removing them.
    pub quarantine: bool,
    /// Fetch wrong layers anew, from wherever they can be had.
    pub refetch: bool,
}

/// The layers of all cache directories, and what was wrong.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// One entry for each layer of each directory, in the order in which they were verified.
    pub layers: Vec<VerifiedLayer>,
    /// The layers that were wrong, counted.
    pub summary: VerifySummary,
}

/// A layer that was verified.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct VerifiedLayer {
    /// Name of the tier.
    pub tier: String,
    /// Digest of the layer.
    #[serde(serialize_with = "text")]
    pub digest: Digest,
    /// Bytes of the layer, decompressed.
    pub bytes: u64,
    /// The outcome of hashing it.
    pub outcome: Verdict,
    /// The place of the wrong bytes now; `None` unless the layer is corrupt.
    pub action: Option<Action>,
    /// Tells if the layer was fetched anew; `None` unless that was tried.
    pub refetched: Option<bool>,
    /// The reason why the layer could not be read, removed or fetched anew.
    #[serde(serialize_with = "error_or_null")]
    pub error: Option<OpsError>,
}

/// The outcome of hashing a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The layer is what its index says.
    Intact,
    /// The layer differs from its index.
    Corrupt,
    /// The layer could not be read.
    Unreadable,
    /// The layer has lost its index, so there is nothing to compare it with.
    Unverifiable,
    /// The layer was removed meanwhile.
    Absent,
}

/// The place of the bytes of a wrong layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// They are removed.
    Removed,
    /// They are in quarantine.
    Quarantined,
    /// They are where they were, because they cannot be removed.
    Left,
}

impl VerifyOptions {
    /// Sets [`quarantine`](Self::quarantine).
    #[must_use]
    pub fn with_quarantine(mut self, quarantine: bool) -> Self {
        self.quarantine = quarantine;
        self
    }

    /// Sets [`refetch`](Self::refetch).
    #[must_use]
    pub fn with_refetch(mut self, refetch: bool) -> Self {
        self.refetch = refetch;
        self
    }
}

/// Hashes every layer of each cache directory again, the most recently used first.
///
/// A layer that is wrong is put out of the way of readers before anything else. Tells
/// [`Directory`](Event::Directory), [`Hashed`](Event::Hashed) and
/// [`LayerVerified`](Event::LayerVerified).
///
/// # Errors
/// [`NoDisk`](OpsError::NoDisk), and the error of the first directory that cannot be listed. Wrong
/// layers are no error: [`VerifyReport::failure`] tells of them.
///
/// # Cancellation
/// Dropping the future stops the hashing. A wrong layer that was found is out of the way by then or
/// stays as it was; a layer that is being fetched anew arrives or not, as with
/// [`pull`](super::pull()).
pub async fn verify(
    stack: &Stack,
    options: VerifyOptions,
    progress: &dyn Progress,
) -> Result<VerifyReport, OpsError> {
    let mut verifying = Verifying {
        options,
        refetch: options.refetch.then(|| Refetch::new(stack, progress)),
        progress,
        verified: Vec::new(),
    };
    for disk in disks(stack).await? {
        progress.tell(Event::Directory(disk.dir()));
        verifying.directory(disk).await.at(|| disk.dir().display())?;
    }
    let layers = verifying.verified;
    let summary = summary_of(&layers, options.refetch);
    Ok(VerifyReport { layers, summary })
}

/// A verification under way.
struct Verifying<'a> {
    options: VerifyOptions,
    refetch: Option<Refetch<'a>>,
    progress: &'a dyn Progress,
    verified: Vec<VerifiedLayer>,
}

impl Verifying<'_> {
    async fn directory(&mut self, disk: &DiskTier) -> Result<(), Error> {
        let layers = layers(disk).await?;
        let total_bytes = layers.iter().map(|layer| layer.len).sum();
        let (first, mut before) = (self.verified.len(), 0);
        for (number, layer) in layers.iter().enumerate() {
            let hashed = |bytes| Event::Hashed {
                layer: number + 1,
                layers: layers.len(),
                bytes,
                total_bytes,
            };
            let advance = |bytes| self.progress.tell(hashed(before + bytes));
            let found = hash(disk, layer, self.progress, advance).await;
            before += layer.len;
            self.progress.tell(hashed(before));
            let verified = self.judge(disk, layer, found).await?;
            self.progress.tell(Event::LayerVerified(&verified));
            self.verified.push(verified);
        }
        for layer in &mut self.verified[first..] {
            let is_kept = layer.action == Some(Action::Quarantined);
            if is_kept && matches!(disk.is_quarantined(&layer.digest).await, Ok(false)) {
                tracing::warn!(digest = %layer.digest, "what was wrong of the layer had to make room for others: it is no longer in quarantine");
                layer.action = Some(Action::Removed);
            }
        }
        Ok(())
    }

    /// Deals with what hashing a layer has found.
    async fn judge(
        &mut self,
        disk: &DiskTier,
        layer: &LayerStat,
        found: Result<Verdict, Error>,
    ) -> Result<VerifiedLayer, Error> {
        let verified = VerifiedLayer {
            tier: disk.name().to_owned(),
            digest: layer.digest,
            bytes: layer.len,
            outcome: Verdict::Corrupt,
            action: None,
            refetched: None,
            error: None,
        };
        Ok(match found {
            Ok(outcome) => VerifiedLayer { outcome, ..verified },
            Err(error) if error.kind() == ErrorKind::Corrupt => self.repair(disk, verified, &error).await,
            // A sector that is lost says nothing of the other layers.
            Err(error) => {
                tracing::error!(error = error_line(&error), "a layer could not be read");
                VerifiedLayer {
                    outcome: Verdict::Unreadable,
                    error: Some(error.into()),
                    ..verified
                }
            }
        })
    }

    /// Puts a wrong layer out of the way of readers, and then fetches it anew if that is asked for.
    async fn repair(&mut self, disk: &DiskTier, wrong: VerifiedLayer, error: &Error) -> VerifiedLayer {
        let digest = &wrong.digest;
        // The index, which goes with the layer, knows what it should have been. Without an index,
        // an image may know.
        let index = disk.index(digest).await.ok().flatten();
        let diff_id = index.map(|index| *index.diff_id());
        let quarantined = self.options.quarantine && {
            tracing::warn!(%error, "putting a layer that is wrong into quarantine");
            let moved = disk.quarantine(digest).await;
            if let Err(error) = &moved {
                tracing::warn!(%error, "there is no quarantine for it");
            }
            moved.unwrap_or(false)
        };
        if !quarantined {
            tracing::warn!(%error, "removing a layer that is wrong");
            if let Err(error) = disk.remove(digest).await {
                return VerifiedLayer {
                    action: Some(Action::Left),
                    error: Some(error.into()),
                    ..wrong
                };
            }
        }
        let refetched = match &mut self.refetch {
            Some(refetch) => Some(refetch.layer(disk, digest, diff_id).await),
            None => None,
        };
        // The layer that was fetched anew may have needed the room of the wrong one.
        let is_kept = quarantined && disk.is_quarantined(digest).await.unwrap_or(false);
        VerifiedLayer {
            action: Some(if is_kept {
                Action::Quarantined
            } else {
                Action::Removed
            }),
            refetched: refetched.as_ref().map(Result::is_ok),
            error: refetched.and_then(Result::err),
            ..wrong
        }
    }
}

/// Hashes one layer, and tells `advance` the bytes that are done.
async fn hash(
    disk: &DiskTier,
    layer: &LayerStat,
    progress: &dyn Progress,
    advance: impl Fn(u64),
) -> Result<Verdict, Error> {
    advance(0);
    let work = LayerWork::start(progress, &layer.digest);
    let hashed = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&hashed);
    let verification = disk.verify(&layer.digest, move |bytes| {
        counter.store(bytes, Ordering::Relaxed)
    });
    let look = || {
        let bytes = hashed.load(Ordering::Relaxed);
        work.advance(bytes);
        advance(bytes);
    };
    Ok(match watched(verification, look).await? {
        Verification::Intact(_) => Verdict::Intact,
        Verification::Absent => Verdict::Absent,
        _ => Verdict::Unverifiable,
    })
}

impl VerifyReport {
    /// Returns an error that counts the layers that were wrong or could not be read, if any were.
    pub fn failure(&self) -> Option<OpsError> {
        (!self.summary.is_clean()).then_some(OpsError::NotIntact(self.summary))
    }
}

fn summary_of(layers: &[VerifiedLayer], refetch: bool) -> VerifySummary {
    let number = |of: &dyn Fn(&VerifiedLayer) -> bool| layers.iter().filter(|layer| of(layer)).count() as u64;
    let with = |action| number(&|layer| layer.action == Some(action));
    VerifySummary {
        quarantined: with(Action::Quarantined),
        removed: with(Action::Removed),
        left: with(Action::Left),
        not_refetched: refetch.then(|| number(&|layer| layer.refetched == Some(false))),
        unreadable: number(&|layer| layer.outcome == Verdict::Unreadable),
    }
}
