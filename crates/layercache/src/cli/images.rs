//! What is remembered of images in the cache directory, and by which names it is found again.

use anyhow::{Context as _, Result};
use layercache::disk::ImageRecord;
use layercache::registry::{Image, ImageLocation, Platform};

use super::context::Context;
use super::output;

/// What an image is called there: as it was written, in full. A path is the same from every directory.
pub(super) fn name(location: &ImageLocation) -> Result<String> {
    let mut location = location.clone();
    match &mut location {
        ImageLocation::Registry(_) => {}
        ImageLocation::OciLayout { path, .. }
        | ImageLocation::OciArchive { path, .. }
        | ImageLocation::DockerArchive { path, .. } => {
            *path = std::path::absolute(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(location.to_string())
}

pub(super) fn record(location: &ImageLocation, image: &Image) -> Result<ImageRecord> {
    let layers = image.layers.iter().map(|layer| layer.digest).collect();
    let record = ImageRecord::new(name(location)?, image.platform.to_string(), layers);
    Ok(record.with_manifest(image.manifest_digest))
}

/// Remembers an image in every disk tier. Its layers are in the cache all the same where that fails.
pub(super) async fn remember(context: &Context, location: &ImageLocation, image: &Image) {
    let record = match record(location, image) {
        Ok(record) => record,
        Err(error) => return tracing::warn!(image = %location, %error, "the image is not remembered"),
    };
    for disk in context.stack.disks() {
        if let Err(error) = disk.record_image(record.clone()).await {
            let error = output::error_line(&error);
            tracing::warn!(image = %location, error, "the image is not remembered: its layers count as those of no image");
        }
    }
}

/// The records of an image: that for one platform where one was asked for, else those for any.
pub(super) fn of_image<'a>(
    records: &'a [ImageRecord],
    name: &str,
    platform: Option<&Platform>,
) -> Vec<&'a ImageRecord> {
    let platform = platform.map(Platform::to_string);
    let is_meant = |record: &&ImageRecord| {
        record.name == name
            && platform
                .as_ref()
                .is_none_or(|platform| *platform == record.platform)
    };
    records.iter().filter(is_meant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(text: &str) -> String {
        name(&text.parse().unwrap()).unwrap()
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
        ];
        let arm: Platform = "linux/aarch64".parse().unwrap();
        assert_eq!(of_image(&records, "a:1", None), [&records[0], &records[1]]);
        assert_eq!(of_image(&records, "a:1", Some(&arm)), [&records[1]]);
        assert!(of_image(&records, "b:1", Some(&arm)).is_empty());
        assert!(of_image(&records, "c:1", None).is_empty());
    }
}
