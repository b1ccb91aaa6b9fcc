//! Images: resolving them, and what the cache directories remember of them.

use cache_disk::ImageRecord;
use registry::{Image, ImageLocation, Platform};

use super::error::{OpsError, Place};
use super::words::error_line;
use crate::{ImageHandle, Stack};

/// Finds an image and its layers.
///
/// `platform` is the one that was asked for in so many words; without it, the image is chosen for
/// this machine. An image without an index may be for any platform: reading it is no mistake,
/// unless another platform was asked for.
///
/// # Errors
/// Those of [`Stack::resolve`], and [`WrongPlatform`](OpsError::WrongPlatform).
///
/// # Cancellation
/// Dropping the future cancels the requests and leaves nothing behind.
pub async fn resolve(
    stack: &Stack,
    location: &ImageLocation,
    platform: Option<&Platform>,
) -> Result<Image, OpsError> {
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let image = stack.resolve(location, &wanted).await.at(|| location)?;
    let found = &image.platform;
    if platform.is_some() && !may_be_for(&wanted, found) {
        let (found, wanted) = (Box::new(found.clone()), Box::new(wanted));
        return Err(OpsError::WrongPlatform { found, wanted }.at(location));
    }
    Ok(image)
}

/// Resolves an image and opens it: its file tree and all of its layers.
///
/// # Errors
/// Those of [`resolve`] and of [`Stack::open_image`].
///
/// # Cancellation
/// Dropping the future cancels what is under way.
pub async fn open_image(
    stack: &Stack,
    location: &ImageLocation,
    platform: Option<&Platform>,
) -> Result<ImageHandle, OpsError> {
    let image = resolve(stack, location, platform).await?;
    stack.open_image(&image.layers).await.at(|| location)
}

/// Tells whether an image that names the platform `found` may be meant by `wanted`: an image may
/// not say which platform it is for.
fn may_be_for(wanted: &Platform, found: &Platform) -> bool {
    let unknown = found.os().is_empty() || found.architecture().is_empty();
    let same = wanted.os() == found.os() && wanted.architecture() == found.architecture();
    unknown || same || wanted.runs(found)
}

/// Returns the name by which the cache directories remember an image: as it was written, in full.
///
/// The path of a layout or an archive is made absolute, so that it is the same from every
/// directory.
///
/// # Errors
/// When the current directory is not known.
pub fn image_name(location: &ImageLocation) -> Result<String, OpsError> {
    let mut location = location.clone();
    match &mut location {
        ImageLocation::Registry(_) => {}
        ImageLocation::OciLayout { path, .. }
        | ImageLocation::OciArchive { path, .. }
        | ImageLocation::DockerArchive { path, .. } => {
            *path = std::path::absolute(&path).at(|| path.display())?;
        }
    }
    Ok(location.to_string())
}

/// Makes the record of an image.
pub(super) fn record(location: &ImageLocation, image: &Image) -> Result<ImageRecord, OpsError> {
    let layers = image.layers.iter().map(|layer| layer.digest).collect();
    let record = ImageRecord::new(image_name(location)?, image.platform.to_string(), layers);
    Ok(record.with_manifest(image.manifest_digest))
}

/// Remembers an image in every disk tier, with the `lengths` of its layers.
///
/// Without lengths, the image counts as one of which a layer could not be brought. A failure is
/// only warned of: the layers are in the cache all the same.
pub(super) async fn remember(
    stack: &Stack,
    location: &ImageLocation,
    image: &Image,
    lengths: Option<Vec<u64>>,
) {
    let record = match record(location, image) {
        Ok(record) => record,
        Err(error) => return tracing::warn!(image = %location, %error, "the image is not remembered"),
    };
    for disk in stack.disks() {
        let record = record.clone();
        let recorded = match &lengths {
            Some(lengths) => disk.record_image(record.with_lengths(lengths.clone())).await,
            None => disk.record_partial_image(record).await,
        };
        if let Err(error) = recorded {
            let error = error_line(&error);
            tracing::warn!(image = %location, error, "the image is not remembered: its layers count as those of no image");
        }
    }
}

/// Chooses the records of an image.
///
/// With a platform, these are the records for exactly that platform, or else those of images that
/// may be meant by it, because a pull for it may find one of them. Without, all of this name.
pub(super) fn records_of<'a>(
    records: &'a [ImageRecord],
    name: &str,
    platform: Option<&Platform>,
) -> Vec<&'a ImageRecord> {
    let mut named: Vec<_> = records.iter().filter(|record| record.name == name).collect();
    let Some(wanted) = platform else {
        return named;
    };
    let text = wanted.to_string();
    let is_exact = named.iter().any(|record| record.platform == text);
    named.retain(|record| match record.platform.parse() {
        _ if is_exact => record.platform == text,
        Ok(found) => may_be_for(wanted, &found),
        Err(_) => true,
    });
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_there_or_does_not_say_may_be_meant() {
        let wanted: Platform = "linux/arm64".parse().unwrap();
        for (os, architecture, variant, may) in [
            ("linux", "arm64", "v8", true),
            ("linux", "arm64", "v9", true),
            ("linux", "arm", "v7", true),
            ("", "", "", true),
            ("linux", "amd64", "", false),
            ("windows", "arm64", "", false),
        ] {
            let found = Platform::new(os, architecture, variant);
            assert_eq!(may_be_for(&wanted, &found), may, "{found}");
        }
    }

    fn name_of(text: &str) -> String {
        image_name(&text.parse().unwrap()).unwrap()
    }

    #[test]
    fn an_image_has_one_name_however_it_is_written() {
        assert_eq!(name_of("debian"), "docker.io/library/debian:latest");
        assert_eq!(name_of("debian"), name_of("docker.io/library/debian:latest"));
        let here = std::env::current_dir().unwrap();
        assert_eq!(name_of("oci:dir:v1"), format!("oci:{}/dir:v1", here.display()));
        assert_eq!(name_of("oci:./dir:v1"), name_of("oci:dir:v1"));
    }

    #[test]
    fn an_image_is_found_for_one_platform_or_for_any() {
        let record = |name: &str, platform: &str| ImageRecord::new(name, platform, Vec::new());
        let records = [
            record("a:1", "linux/amd64"),
            record("a:1", "linux/arm64"),
            record("b:1", "linux/amd64"),
            record("d:1", "linux/arm/v7"),
            record("e:1", "/"),
        ];
        let arm: Platform = "linux/aarch64".parse().unwrap();
        assert_eq!(records_of(&records, "a:1", None), [&records[0], &records[1]]);
        assert_eq!(records_of(&records, "a:1", Some(&arm)), [&records[1]]);
        assert!(records_of(&records, "b:1", Some(&arm)).is_empty());
        assert!(records_of(&records, "c:1", None).is_empty());
        // A pull for that platform finds the next best image, and one that does not say.
        assert_eq!(records_of(&records, "d:1", Some(&arm)), [&records[3]]);
        assert_eq!(records_of(&records, "e:1", Some(&arm)), [&records[4]]);
    }
}
