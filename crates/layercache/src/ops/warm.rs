//! `warm`: brings the layers of a list of images into the cache, continuing past failures.

use std::collections::HashSet;

use cache_core::Digest;
use futures_util::{StreamExt, stream};
use registry::{ImageLocation, Platform};
use serde::Serialize;

use super::error::{OpsError, Place};
use super::images::image_name;
use super::progress::{Event, Progress};
use super::pull::pull;
use super::text::{error_or_null, text_or_null};
use crate::Stack;

/// An image that is to be brought.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WantedImage {
    /// The image as it was written.
    pub text: String,
    /// The image, or the reason why the text names none.
    pub location: Result<ImageLocation, OpsError>,
}

/// The images of a list, in the order in which they were done.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WarmReport {
    /// One entry for each different image.
    pub images: Vec<WarmedImage>,
}

/// An image of a list.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WarmedImage {
    /// The image as the list has it.
    pub image: String,
    /// Tells if every layer is in the cache.
    pub outcome: WarmOutcome,
    /// Digest of the manifest; `None` where the image failed or has none.
    #[serde(serialize_with = "text_or_null")]
    pub digest: Option<Digest>,
    /// Number of layers; `None` where the image failed.
    pub layers: Option<usize>,
    /// Bytes of all layers together, decompressed; `None` where the image failed.
    pub bytes: Option<u64>,
    /// The reason why the image failed.
    #[serde(serialize_with = "error_or_null")]
    pub error: Option<OpsError>,
}

/// The end of one image of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WarmOutcome {
    /// Every layer is in the cache.
    Warm,
    /// A layer is missing, or the image was not found.
    Failed,
}

impl WantedImage {
    /// Wants an image that is named by its location.
    pub fn of(location: ImageLocation) -> Self {
        Self {
            text: location.to_string(),
            location: Ok(location),
        }
    }

    /// Reads a list: one image a line. Empty lines are left out, and remarks from a `#` to the end
    /// of the line. A line that names no image becomes an entry that fails by itself.
    pub fn parse_list(list: &str) -> Vec<Self> {
        let lines = list.lines().enumerate();
        let lines = lines.map(|(number, line)| (number, without_remark(line).trim()));
        let images = lines.filter(|(_, text)| !text.is_empty());
        let image = |(number, text): (usize, &str)| Self {
            text: text.to_owned(),
            location: text
                .parse::<ImageLocation>()
                .at(|| format!("line {} of the list", number + 1)),
        };
        images.map(image).collect()
    }
}

/// Cuts off a remark: it begins with a `#` at the start or behind a space, since a path may have
/// one inside.
fn without_remark(line: &str) -> &str {
    let begins = |(at, _): &(usize, &str)| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    let remark = line.match_indices('#').find(begins);
    remark.map_or(line, |(at, _)| &line[..at])
}

/// Brings every layer of each image into the cache, `jobs` images at once, and goes on where one of
/// them fails. An image that is wanted twice is brought once.
///
/// Tells [`ImageDone`](Event::ImageDone) for each image, and the events of [`pull`].
///
/// # Cancellation
/// Dropping the future stops waiting, as for [`pull`].
pub async fn warm(
    stack: &Stack,
    mut wanted: Vec<WantedImage>,
    jobs: usize,
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> WarmReport {
    let mut known = HashSet::new();
    wanted.retain(|wanted| {
        let name = wanted.location.as_ref().ok().and_then(|at| image_name(at).ok());
        known.insert(name.unwrap_or_else(|| wanted.text.clone()))
    });
    if wanted.is_empty() {
        tracing::warn!("the list names no image: there is nothing to bring");
    }
    let warmed = wanted.into_iter().map(async |wanted| {
        let warmed = warm_image(stack, wanted, platform, progress).await;
        progress.tell(Event::ImageDone(&warmed));
        warmed
    });
    let warmed: Vec<_> = warmed.collect();
    WarmReport {
        images: stream::iter(warmed).buffer_unordered(jobs.max(1)).collect().await,
    }
}

async fn warm_image(
    stack: &Stack,
    WantedImage { text, location }: WantedImage,
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> WarmedImage {
    let pulled = match location {
        Ok(location) => pull(stack, &location, platform, progress).await,
        Err(error) => Err(error),
    };
    match pulled {
        Ok(pulled) => WarmedImage {
            image: text,
            outcome: WarmOutcome::Warm,
            digest: pulled.digest,
            layers: Some(pulled.layers.len()),
            bytes: Some(pulled.bytes),
            error: None,
        },
        Err(error) => WarmedImage {
            outcome: WarmOutcome::Failed,
            digest: None,
            layers: None,
            bytes: None,
            error: Some(error.without(&text)),
            image: text,
        },
    }
}

impl WarmReport {
    /// Returns the error that names the images that failed, if any did.
    pub fn failure(&self) -> Option<OpsError> {
        let failed = self.images.iter().filter(|image| image.error.is_some());
        let mut failed: Vec<_> = failed.map(|image| image.image.clone()).collect();
        failed.sort_unstable();
        (!failed.is_empty()).then(|| OpsError::NotAllBrought {
            failed,
            total: self.images.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::error_line;

    #[test]
    fn a_list_has_an_image_a_line_and_remarks() {
        let list = "# what workers need\ndebian:12\n\n  app.example/team/app:1  # the app\r\n#debian:11\nUPPER CASE\noci:/srv/a#b#remark\n";
        let parsed = WantedImage::parse_list(list);
        let names: Vec<_> = parsed.iter().map(|wanted| wanted.text.as_str()).collect();
        let path = "oci:/srv/a#b#remark";
        assert_eq!(names, ["debian:12", "app.example/team/app:1", "UPPER CASE", path]);
        assert!(parsed[0].location.is_ok() && parsed[1].location.is_ok());
        let error = error_line(parsed[2].location.as_ref().unwrap_err());
        assert!(error.starts_with("line 6 of the list: "), "{error}");
    }
}
