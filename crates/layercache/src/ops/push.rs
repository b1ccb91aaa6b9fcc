//! `push`: copies layers that are cached here to the tiers that workers share.

use cache_core::{Digest, Error, LayerDescriptor};
use registry::{ImageLocation, Platform};
use serde::Serialize;

use super::error::OpsError;
use super::images::resolve;
use super::progress::{Event, LayerWork, Progress};
use super::text::{error_or_null, text};
use crate::Stack;

/// The layers of the images, in their order.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PushReport {
    /// One entry for each layer of each image.
    pub layers: Vec<PushedLayer>,
}

/// A layer, and what came of it at the shared tiers.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PushedLayer {
    /// The image as it was asked for.
    pub image: String,
    /// Number of the layer in the image, from 0, the base.
    pub layer: usize,
    /// Digest of the layer.
    #[serde(serialize_with = "text")]
    pub digest: Digest,
    /// The shared tiers in their order; empty where the layer could not be read.
    pub tiers: Vec<PushedTo>,
    /// The reason why the layer could not be copied to any tier.
    #[serde(serialize_with = "error_or_null")]
    pub error: Option<Error>,
}

/// A shared tier, and what came of a layer there.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PushedTo {
    /// Name of the tier.
    pub tier: String,
    /// Tells if the layer is there.
    pub outcome: PushOutcome,
    /// The reason why it is not.
    #[serde(serialize_with = "error_or_null")]
    pub error: Option<Error>,
}

/// The end of one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PushOutcome {
    /// The layer was written now.
    Written,
    /// The layer was there already.
    Present,
    /// The layer could not be written.
    Failed,
}

/// Copies the layers of images that a tier here holds to every shared tier, one after the other.
///
/// Tells [`LayerPushed`](Event::LayerPushed) for each layer. A layer that fails does not stop the
/// others: [`PushReport::failure`] tells of it.
///
/// # Errors
/// [`NoSharedTier`](OpsError::NoSharedTier), and those of [`resolve`], which stop the push.
///
/// # Cancellation
/// Dropping the future gives up the copy under way; the tier removes what it has of it.
pub async fn push(
    stack: &Stack,
    images: &[ImageLocation],
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<PushReport, OpsError> {
    let shared = stack.shared_tiers();
    if shared.is_empty() {
        return Err(OpsError::NoSharedTier);
    }
    let mut layers = Vec::new();
    for location in images {
        let image = resolve(stack, location, platform).await?;
        progress.tell(Event::Resolved(&image));
        for (number, layer) in image.layers.iter().enumerate() {
            let (tiers, error) = match push_layer(stack, layer, &shared, progress).await {
                Ok(tiers) => (tiers, None),
                Err(error) => (Vec::new(), Some(error)),
            };
            let pushed = PushedLayer {
                image: location.to_string(),
                layer: number,
                digest: layer.digest,
                tiers,
                error,
            };
            progress.tell(Event::LayerPushed(&pushed));
            layers.push(pushed);
        }
    }
    Ok(PushReport { layers })
}

/// Copies one layer; returns the tiers in the order of `shared`. A tier that the layer was copied
/// from has it.
async fn push_layer(
    stack: &Stack,
    layer: &LayerDescriptor,
    shared: &[&str],
    progress: &dyn Progress,
) -> Result<Vec<PushedTo>, Error> {
    let work = LayerWork::start(progress, &layer.digest);
    let published = stack.cache().publish(layer).await;
    drop(work);
    let mut published = published?;
    let pushed = |&tier: &&str| {
        let at = published.iter().position(|publication| publication.tier == tier);
        let (outcome, error) = match at.map_or(Ok(false), |at| published.swap_remove(at).written) {
            Ok(true) => (PushOutcome::Written, None),
            Ok(false) => (PushOutcome::Present, None),
            Err(error) => (PushOutcome::Failed, Some(error)),
        };
        PushedTo {
            tier: tier.to_owned(),
            outcome,
            error,
        }
    };
    Ok(shared.iter().map(pushed).collect())
}

impl PushReport {
    /// Returns the first failure, with the number of the others, if there was any.
    pub fn failure(&self) -> Option<OpsError> {
        let errors = |layer: &PushedLayer| {
            let of_tiers = layer.tiers.iter().filter_map(|pushed| pushed.error.clone());
            layer
                .error
                .clone()
                .into_iter()
                .chain(of_tiers)
                .collect::<Vec<_>>()
        };
        let mut failures = self.layers.iter().flat_map(errors);
        let source = failures.next()?;
        Some(match failures.count() as u64 {
            0 => OpsError::Cache(source),
            more => OpsError::NotAllPushed { more, source },
        })
    }
}
