//! What is remembered of images in the cache directory, and by which names it is found again.

use anyhow::{Context as _, Result};
use layercache::disk::ImageRecord;
use layercache::registry::{Image, ImageLocation, Platform};

use super::context::{Context, may_be_for};
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

/// Remembers an image in every disk tier, with the `lengths` of its layers; without them, as one of which a layer could not be brought. Its
/// layers are in the cache all the same where that fails.
pub(super) async fn remember(
    context: &Context,
    location: &ImageLocation,
    image: &Image,
    lengths: Option<Vec<u64>>,
) {
    let record = match record(location, image) {
        Ok(record) => record,
        Err(error) => return tracing::warn!(image = %location, %error, "the image is not remembered"),
    };
    for disk in context.stack.disks() {
        let record = record.clone();
        let recorded = match &lengths {
            Some(lengths) => disk.record_image(record.with_lengths(lengths.clone())).await,
            None => disk.record_partial_image(record).await,
        };
        if let Err(error) = recorded {
            let error = output::error_line(&error);
            tracing::warn!(image = %location, error, "the image is not remembered: its layers count as those of no image");
        }
    }
}

/// The records of an image: that for one platform where one was asked for, or those of what may be meant by it, as a pull for it may find
/// another; else those for any.
pub(super) fn of_image<'a>(
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
            record("d:1", "linux/arm/v7"),
            record("e:1", "/"),
        ];
        let arm: Platform = "linux/aarch64".parse().unwrap();
        assert_eq!(of_image(&records, "a:1", None), [&records[0], &records[1]]);
        assert_eq!(of_image(&records, "a:1", Some(&arm)), [&records[1]]);
        assert!(of_image(&records, "b:1", Some(&arm)).is_empty());
        assert!(of_image(&records, "c:1", None).is_empty());
        // What a pull for that platform finds where there is nothing better, and what does not say.
        assert_eq!(of_image(&records, "d:1", Some(&arm)), [&records[3]]);
        assert_eq!(of_image(&records, "e:1", Some(&arm)), [&records[4]]);
    }
}
