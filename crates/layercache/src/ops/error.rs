//! The error of an operation.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use cache_core::{Digest, Error, ErrorKind};
use registry::{ImageLocation, Platform};

use super::summary::VerifySummary;
use super::words::count;

/// The error of an operation.
///
/// Displaying it tells the outermost place or fact only; the causes follow as its
/// [sources](std::error::Error::source). [`error_line`](super::error_line) tells all of them on one line.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpsError {
    /// A tier, an origin or the cache has failed.
    #[error(transparent)]
    Cache(#[from] Error),
    /// The operating system has failed.
    #[error(transparent)]
    Io(Arc<io::Error>),
    /// Names the image, file or directory that the source of this error is about.
    #[error("{place}")]
    At {
        /// The image, file or directory.
        place: String,
        /// The error there.
        source: Box<OpsError>,
    },
    /// The image does not run on the platform that was asked for.
    #[error("the image is for {found}, not for {wanted}")]
    WrongPlatform {
        /// The platform that the image names.
        found: Box<Platform>,
        /// The platform that was asked for.
        wanted: Box<Platform>,
    },
    /// The image has no such file.
    #[error("no such file")]
    NoSuchFile,
    /// The path leads to a directory of the image.
    #[error("is a directory")]
    IsDirectory,
    /// A layer was opened, but no tier has kept it.
    #[error("layer {layer} is not brought: no tier keeps it")]
    NotKept {
        /// The layer.
        layer: Digest,
        /// The reason.
        source: NotKept,
    },
    /// A layer was wrong and could not be fetched anew.
    #[error(transparent)]
    NotRefetched(Box<NotRefetched>),
    /// The stack has no tier of the kind `disk`.
    #[error("the configuration has no tier of the kind `disk`, which these commands look after: add one")]
    NoDisk,
    /// The stack has no shared tier that may be written.
    #[error(
        "the configuration has no shared tier that may be written, as those of the kinds `redis` and `s3` are: add one"
    )]
    NoSharedTier,
    /// No directory has a record of an image whose layers are to be kept.
    #[error("nothing is known of this image: pull it, so that its layers can be told from others")]
    UnknownImage,
    /// No directory has the layer.
    #[error("layer {0} is not in the cache: `cache list` shows what is")]
    NotCached(Digest),
    /// These images were not pinned.
    #[error("not pinned: {}", .0.join(", "))]
    NotPinned(Vec<String>),
    /// Some images of a list could not be brought.
    #[error("{} of {} failed: {}", .failed.len(), count(*.total as u64, "image"), .failed.join(", "))]
    NotAllBrought {
        /// The names of the images that failed, sorted.
        failed: Vec<String>,
        /// Number of images that were asked for.
        total: usize,
    },
    /// Several layers could not be copied to a shared tier; the source is the first failure.
    #[error("{} after the first", count(*.more, "more failure"))]
    NotAllPushed {
        /// Number of failures after the first.
        more: u64,
        /// The first failure.
        source: Error,
    },
    /// Verification has found layers that were wrong or could not be read.
    #[error("{0}")]
    NotIntact(VerifySummary),
    /// These sources cannot be used now.
    #[error("{} cannot be used now", quoted(.0))]
    NotUsable(Vec<String>),
    /// `/proc/self/status` does not tell the peak of the memory.
    #[error("/proc/self/status has no VmHWM")]
    NoPeakMemory,
}

/// The reason why no tier has kept a layer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotKept {
    /// The tier that was to be filled has refused it.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The disk tier has failed before the layer was there.
    #[error("the disk could not be asked for it: the warnings say why, or `config check`")]
    DiskFailed,
    /// The disk tier stands behind the source that has the layer.
    #[error("no tier stands in front of the source that has it: put the one of the kind `disk` there")]
    DiskBehind,
    /// No tier of the stack can take it.
    #[error("the configuration has no tier of the kind `disk`: add one")]
    NoDisk,
    /// Only shared tiers could take it, and have not.
    #[error("the configuration has no tier of the kind `disk`, and the shared tiers have not taken it")]
    NoDiskNorShared,
}

/// The reason why a layer was not fetched anew.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotRefetched {
    /// The registry of the image was not to be reached a moment ago, and is not waited for again.
    #[error("{0}: the registry could not be reached before")]
    SilentRegistry(ImageLocation),
    /// The image has changed.
    #[error("{image} has no layer {layer} any more")]
    NoLayer {
        /// The image.
        image: ImageLocation,
        /// The layer that it had.
        layer: Digest,
    },
    /// Another tier has the layer now.
    #[error(
        "it can be had, but this directory has not taken it: it has no room for it, or a tier in front of it has the layer"
    )]
    Elsewhere,
    /// No record of an image has the layer.
    #[error("no image is remembered that has the layer")]
    NoImage,
}

impl OpsError {
    /// Puts the image, file or directory that the error is about in front of it.
    #[must_use]
    pub fn at(self, place: impl Display) -> Self {
        Self::At {
            place: place.to_string(),
            source: Box::new(self),
        }
    }

    /// Returns the kind of the cache's error, if one of the cache is the cause.
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Cache(error) | Self::NotAllPushed { source: error, .. } => Some(error.kind()),
            Self::At { source, .. } => source.kind(),
            Self::NotKept {
                source: NotKept::Refused(error),
                ..
            } => Some(error.kind()),
            _ => None,
        }
    }

    /// Leaves out the place, for a report that names it.
    pub(super) fn without(self, name: &str) -> Self {
        match self {
            Self::At { place, source } if place == name => *source,
            other => other,
        }
    }
}

impl From<NotRefetched> for OpsError {
    fn from(error: NotRefetched) -> Self {
        Self::NotRefetched(Box::new(error))
    }
}

impl From<io::Error> for OpsError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// Adds the place to the error of a result.
pub(super) trait Place<T> {
    /// Puts `place` in front of the error.
    fn at<P: Display>(self, place: impl FnOnce() -> P) -> Result<T, OpsError>;
}

impl<T, E: Into<OpsError>> Place<T> for Result<T, E> {
    fn at<P: Display>(self, place: impl FnOnce() -> P) -> Result<T, OpsError> {
        self.map_err(|error| error.into().at(place()))
    }
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
