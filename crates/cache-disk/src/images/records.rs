//! The records of images in a cache directory: read when something is evicted or asked, written when an image is pulled or pinned.
//!
//! They are about layers and protect none from being removed: a record may outlive the layers that it names, and a layer may be
//! in none. An operator may remove any of them at any time.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::SystemTime;

use cache_core::{Digest, Error, Result};
use rustix::fs::AtFlags;

use crate::dir::directory::Handle;
use crate::dir::layout::{self, IMAGE_DIR, LAYER};
use crate::dir::publish::NewFile;
use crate::dir::scan::{for_each_name, modified};
use crate::failure::failure;
use crate::images::record::{Decoded, ImageRecord, MAX_RECORD_LEN, decode, file_name};
use crate::space::quota::under_quota;
use crate::tier::{DiskTier, Store};

/// How many files among the records are looked at: more than there ever are.
const MAX_FILES: usize = 2 * MAX_RECORDS;
/// How many images are remembered at most: of one more, the one that was recorded longest ago and is not pinned is forgotten.
const MAX_RECORDS: usize = 4096;

impl DiskTier {
    /// The images that are remembered, by name and platform. Files that are no records are passed over, and with a warning those that
    /// cannot be read.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn images(&self) -> Result<Vec<ImageRecord>> {
        self.off_the_runtime_if_there("list the images of", |store, dir| store.images(dir))
            .await
    }

    /// Remembers an image, in place of what was known of it. One that was pinned stays pinned. Does nothing for one that is not, and of
    /// which no layer is there; and, with a warning, where another version of this program has remembered it. A dropped future may or may
    /// not have done it.
    ///
    /// # Errors
    /// `Permanent` for a name or a number of layers beyond the limits of [`ImageRecord`], and for one to be pinned that another version has
    /// remembered; `Unavailable` when there is no room, when none of the 4096 images that are remembered may be forgotten, and when another
    /// process keeps the lock on the quota.
    pub async fn record_image(&self, record: ImageRecord) -> Result<()> {
        self.remember(record, true).await
    }

    /// The same for an image of which not all layers could be brought: what is known of it stays, and its pin on layers that are there.
    ///
    /// # Errors
    /// As for [`record_image`](Self::record_image).
    pub async fn record_partial_image(&self, record: ImageRecord) -> Result<()> {
        self.remember(record, false).await
    }

    async fn remember(&self, record: ImageRecord, replace: bool) -> Result<()> {
        let remember = move |_: &Arc<Store>, dir: &Arc<Handle>| {
            record.check()?;
            under_quota(dir, || {
                let known = match read(dir, &record.file_name())? {
                    Some(Decoded::Foreign) if record.pinned => return Err(foreign()),
                    Some(Decoded::Foreign) => {
                        tracing::warn!(
                            image = record.name,
                            "another version has remembered the image: that is left as it is"
                        );
                        return Ok(());
                    }
                    Some(Decoded::Record(_)) if !replace => return Ok(()),
                    Some(Decoded::Record(known)) => Some(known),
                    Some(Decoded::Broken) | None => None,
                };
                let pinned = record.pinned || known.is_some_and(|known| known.pinned);
                let is_there = |digest| dir.contains(&layout::file_name(digest, LAYER));
                if !pinned && !record.layers.iter().any(is_there) {
                    return Ok(());
                }
                make_room(dir, &record)?;
                write(dir, &record.with_pinned(pinned), pinned)
            })
        };
        self.off_the_runtime("remember an image in", remember).await
    }

    /// Has the layers of an image that is remembered evicted after all others; what is known of it, or `None` where it is not remembered. A
    /// dropped future may or may not have done it.
    ///
    /// # Errors
    /// As for [`record_image`](Self::record_image).
    pub async fn pin_image(&self, name: &str, platform: &str) -> Result<Option<ImageRecord>> {
        let file = file_name(name, platform);
        let pin = move |_: &Arc<Store>, dir: &Arc<Handle>| {
            under_quota(dir, || {
                let Some(record) = find_to_change(dir, &file)? else {
                    return Ok(None);
                };
                let record = record.with_pinned(true);
                write(dir, &record, true).map(|()| Some(record))
            })
        };
        self.off_the_runtime("pin an image in", pin).await
    }

    /// Lets the layers of an image be evicted as others are, unless another one that is pinned has them as well; whether it was pinned. A
    /// dropped future may or may not have done it.
    ///
    /// # Errors
    /// As for [`record_image`](Self::record_image).
    pub async fn unpin_image(&self, name: &str, platform: &str) -> Result<bool> {
        let file = file_name(name, platform);
        let unpin = move |_: &Arc<Store>, dir: &Arc<Handle>| {
            under_quota(dir, || {
                match find_to_change(dir, &file)?.filter(|record| record.pinned) {
                    None => Ok(false),
                    Some(record) => write(dir, &record.with_pinned(false), true).map(|()| true),
                }
            })
        };
        self.off_the_runtime_if_there("unpin an image in", unpin).await
    }
}

/// Whoever was told that an image is pinned, or is not any more, finds it so after a power loss: then it is to be `durable`. Else it may
/// be lost, or be none.
fn write(dir: &Arc<Handle>, record: &ImageRecord, durable: bool) -> Result<()> {
    let bytes = record.encode()?;
    let written = NewFile::holding(dir, &bytes).and_then(|mut new| {
        let images = dir.subdir(IMAGE_DIR)?;
        new.replace_in(&images, &record.file_name())?;
        if durable {
            rustix::fs::fsync(&images)?;
            dir.sync()?;
        }
        Ok(())
    });
    written.map_err(|error| failure("write the record of an image", error))
}

impl Store {
    /// The images that are remembered, by name and platform. Blocks.
    pub(crate) fn images(&self, dir: &Handle) -> Result<Vec<ImageRecord>> {
        let (mut images, mut unread) = (Vec::new(), None);
        for name in names(dir)? {
            match find(dir, &name) {
                Ok(found) => images.extend(found),
                Err(error) => unread = Some(error),
            }
        }
        self.note_unread(unread.as_ref());
        images.sort_by(|a, b| (&a.name, &a.platform).cmp(&(&b.name, &b.platform)));
        Ok(images)
    }

    /// The same, and none where they cannot be listed: a cache that evicts wrongly is better than one that takes no layer. Blocks.
    pub(crate) fn readable_images(&self, dir: &Handle) -> Vec<ImageRecord> {
        self.images(dir).unwrap_or_else(|error| {
            self.note_unread(Some(&error));
            Vec::new()
        })
    }

    fn note_unread(&self, error: Option<&Error>) {
        self.records_unread.warn_once(
            error,
            "images count as not remembered and not pinned whose records cannot be read",
        );
    }

    /// The layers that an image has which is pinned. Blocks.
    pub(crate) fn pinned_layers(&self, dir: &Handle) -> BTreeSet<Digest> {
        let images = self.readable_images(dir).into_iter();
        let pinned = images.filter(|image| image.pinned);
        pinned.flat_map(|image| image.layers).collect()
    }

    /// Removes the records of images that are not pinned and of which no layer is there, and what are no records; how many. What cannot be
    /// read or removed stays. Blocks.
    pub(crate) fn remove_forgotten(&self, dir: &Handle, is_there: impl Fn(&Digest) -> bool) -> u64 {
        let removed_if_forgotten = |name: &str| {
            let forgotten = match read(dir, name)? {
                Some(Decoded::Record(image)) => !image.pinned && !image.layers.iter().any(&is_there),
                Some(Decoded::Broken) => true,
                Some(Decoded::Foreign) | None => false,
            };
            Ok(forgotten && remove(dir, name)?)
        };
        let (mut removed, mut failed) = (0, None);
        match names(dir) {
            Ok(names) => {
                for name in names {
                    match removed_if_forgotten(&name) {
                        Ok(gone) => removed += u64::from(gone),
                        Err(error) => failed = Some(error),
                    }
                }
            }
            Err(error) => failed = Some(error),
        }
        if let Some(error) = failed {
            tracing::warn!(%error, "not all images of which nothing is left are forgotten");
        }
        removed
    }
}

/// Forgets images until there is room for the record of another one.
fn make_room(dir: &Handle, new: &ImageRecord) -> Result<()> {
    let names = names(dir)?;
    let excess = (names.len() + 1).saturating_sub(MAX_RECORDS);
    if excess == 0 || names.contains(&new.file_name()) {
        return Ok(());
    }
    let mut oldest: Vec<(SystemTime, String)> = Vec::new();
    for name in names {
        let stat = rustix::fs::statat(dir, path(&name), AtFlags::SYMLINK_NOFOLLOW);
        let recorded = stat.map_or(SystemTime::UNIX_EPOCH, |stat| modified(&stat));
        // What is pinned stays, and what may be: that of another version, and what cannot be read.
        let may_go = match read(dir, &name) {
            Ok(Some(Decoded::Record(image))) => !image.pinned,
            Ok(Some(Decoded::Broken) | None) => true,
            Ok(Some(Decoded::Foreign)) | Err(_) => false,
        };
        if may_go {
            oldest.push((recorded, name));
        }
    }
    oldest.sort_unstable();
    let gone = oldest.iter().filter(|(_, name)| remove(dir, name).is_ok());
    if gone.take(excess).count() < excess {
        return Err(Error::unavailable(format!(
            "{MAX_RECORDS} images are pinned or remembered by another version already: unpin some"
        )));
    }
    Ok(())
}

/// The names of the files that may be records. An operator's own files are not among them.
fn names(dir: &Handle) -> Result<Vec<String>> {
    let listed = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        if let Some(images) = dir.existing_subdir(IMAGE_DIR)? {
            for_each_name(images, |name| {
                if names.len() < MAX_FILES && Digest::from_hex(name).is_ok() {
                    names.push(name.to_owned());
                }
                Ok(())
            })?;
        }
        Ok(names)
    };
    listed().map_err(|error| failure("list the records of images", error))
}

fn find(dir: &Handle, name: &str) -> Result<Option<ImageRecord>> {
    Ok(match read(dir, name)? {
        Some(Decoded::Record(image)) => Some(image),
        _ => None,
    })
}

/// The record of this name, to be written again.
fn find_to_change(dir: &Handle, name: &str) -> Result<Option<ImageRecord>> {
    match read(dir, name)? {
        Some(Decoded::Record(image)) => Ok(Some(image)),
        Some(Decoded::Foreign) => Err(foreign()),
        Some(Decoded::Broken) | None => Ok(None),
    }
}

fn foreign() -> Error {
    Error::permanent(
        "another version of this program has remembered the image: use that one to pin or unpin it",
    )
}

/// What the file of this name is; `None` when it is not there.
fn read(dir: &Handle, name: &str) -> Result<Option<Decoded>> {
    let file = match dir.open_file(&path(name)) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(error) if error.kind() == cache_core::ErrorKind::Corrupt => return Ok(Some(Decoded::Broken)),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    let read = file.take(MAX_RECORD_LEN as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| failure("read the record of an image", error))?;
    let fits = bytes.len() <= MAX_RECORD_LEN;
    Ok(Some(if fits {
        decode(name, &bytes)
    } else {
        Decoded::Broken
    }))
}

fn remove(dir: &Handle, name: &str) -> Result<bool> {
    dir.unlink(&path(name))
        .map_err(|error| failure("remove the record of an image", error))
}

fn path(name: &str) -> String {
    format!("{IMAGE_DIR}/{name}")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    fn image(number: usize) -> ImageRecord {
        ImageRecord::new(
            format!("image-{number}"),
            "linux/amd64",
            vec![Digest::sha256_of(b"layer")],
        )
    }

    /// A tier that remembers nothing yet, and where its records will be.
    fn tier() -> (tempfile::TempDir, DiskTier, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let tier = DiskTier::builder(root.path()).open().unwrap();
        let images = root.path().join(IMAGE_DIR);
        std::fs::create_dir(&images).unwrap();
        (root, tier, images)
    }

    #[tokio::test]
    async fn the_images_that_are_remembered_are_bounded_and_pins_outlive_others() {
        let (root, tier, images) = tier();
        for number in 0..MAX_RECORDS {
            // The older one is pinned.
            let record = image(number).with_pinned(number == 0);
            let path = images.join(record.file_name());
            std::fs::write(&path, record.encode().unwrap()).unwrap();
            let recorded = SystemTime::UNIX_EPOCH + Duration::from_secs(number as u64);
            std::fs::File::open(path).unwrap().set_modified(recorded).unwrap();
        }
        let is_known = |number| images.join(image(number).file_name()).exists();
        std::fs::write(
            root.path()
                .join(layout::file_name(&Digest::sha256_of(b"layer"), LAYER)),
            "",
        )
        .unwrap();
        // One that is there takes no room of another.
        tier.record_image(image(7)).await.unwrap();
        assert!(is_known(1));
        tier.record_image(image(MAX_RECORDS)).await.unwrap();
        assert_eq!([0, 1, 2, MAX_RECORDS].map(is_known), [true, false, true, true]);
        assert_eq!(tier.images().await.unwrap().len(), MAX_RECORDS);
    }

    #[tokio::test]
    async fn a_directory_with_far_more_files_than_records_is_brought_back_to_the_limit() {
        let (_root, tier, images) = tier();
        for number in 0..MAX_RECORDS + 100 {
            std::fs::write(images.join(image(number).file_name()), "broken").unwrap();
        }
        tier.record_image(image(MAX_RECORDS + 100).with_pinned(true))
            .await
            .unwrap();
        assert_eq!(std::fs::read_dir(&images).unwrap().count(), MAX_RECORDS);
        assert_eq!(tier.images().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_file_that_is_longer_than_any_record_is_none() {
        let (_root, tier, images) = tier();
        let path = images.join(image(0).file_name());
        let mut bytes = image(0).encode().unwrap();
        for (len, is_known) in [(MAX_RECORD_LEN, true), (MAX_RECORD_LEN + 1, false)] {
            // JSON may end with white space.
            bytes.resize(len, b' ');
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(tier.images().await.unwrap().len(), usize::from(is_known), "{len}");
        }
    }

    #[tokio::test]
    async fn where_all_are_pinned_none_is_forgotten() {
        let (_root, tier, images) = tier();
        for number in 0..MAX_RECORDS {
            let record = image(number).with_pinned(true);
            std::fs::write(images.join(record.file_name()), record.encode().unwrap()).unwrap();
        }
        let error = tier
            .record_image(image(MAX_RECORDS).with_pinned(true))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("unpin some"), "{error}");
        assert_eq!(tier.images().await.unwrap().len(), MAX_RECORDS);
    }
}
