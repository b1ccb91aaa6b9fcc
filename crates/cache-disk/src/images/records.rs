//! The records of images in a cache directory. They are read when something is evicted or asked,
//! and written when an image is pulled or pinned.
//!
//! Records order the eviction of layers and protect none from being removed: a record may outlive
//! the layers that it names, and a layer may be in none. An operator may remove any of them at any
//! time.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::SystemTime;

use cache_core::{Digest, Error, Result};
use rustix::fs::AtFlags;

use crate::dir::handle::Handle;
use crate::dir::layout::{self, IMAGE_DIR, LAYER};
use crate::dir::publish::NewFile;
use crate::dir::quota_lock::under_quota;
use crate::dir::scan::{for_each_name, modified};
use crate::failure::{WarnOnce, failure};
use crate::images::record::{Decoded, ImageRecord, MAX_RECORD_LEN, decode};

/// How many files among the records are looked at: more than there ever are.
const MAX_FILES: usize = 2 * MAX_RECORDS;
/// How many images are remembered at most. One more makes the tier forget the one that was recorded
/// longest ago and is not pinned.
const MAX_RECORDS: usize = 4096;

/// Reads the records, and warns of unreadable ones once until they can be read again.
#[derive(Debug, Default)]
pub(crate) struct Records {
    unread: WarnOnce,
}

impl Records {
    /// Lists the images that are remembered, by name and platform. Blocks.
    pub(crate) fn list(&self, dir: &Handle) -> Result<Vec<ImageRecord>> {
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

    /// Lists the images as [`list`](Self::list) does, and none where they cannot be listed: a cache
    /// that evicts wrongly is better than one that takes no layer. Blocks.
    pub(crate) fn list_readable(&self, dir: &Handle) -> Vec<ImageRecord> {
        self.list(dir).unwrap_or_else(|error| {
            self.note_unread(Some(&error));
            Vec::new()
        })
    }

    /// Returns the layers of all pinned images. Blocks.
    pub(crate) fn pinned_layers(&self, dir: &Handle) -> BTreeSet<Digest> {
        let images = self.list_readable(dir).into_iter();
        let pinned = images.filter(|image| image.pinned);
        pinned.flat_map(|image| image.layers).collect()
    }

    fn note_unread(&self, error: Option<&Error>) {
        self.unread.warn_once(
            error,
            "images count as not remembered and not pinned whose records cannot be read",
        );
    }
}

/// Remembers an image, and replaces an older record of it only if told so. Blocks.
pub(crate) fn remember(dir: &Arc<Handle>, record: ImageRecord, replace: bool) -> Result<()> {
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
}

/// Pins the image of this file, and returns its record; `None` where it is not remembered. Blocks.
pub(crate) fn pin(dir: &Arc<Handle>, file: &str) -> Result<Option<ImageRecord>> {
    under_quota(dir, || {
        let Some(record) = find_to_change(dir, file)? else {
            return Ok(None);
        };
        let record = record.with_pinned(true);
        write(dir, &record, true).map(|()| Some(record))
    })
}

/// Unpins the image of this file, and tells whether it was pinned. Blocks.
pub(crate) fn unpin(dir: &Arc<Handle>, file: &str) -> Result<bool> {
    under_quota(dir, || {
        match find_to_change(dir, file)?.filter(|record| record.pinned) {
            None => Ok(false),
            Some(record) => write(dir, &record.with_pinned(false), true).map(|()| true),
        }
    })
}

/// Removes the records of unpinned images of which no layer is there, and files that are no
/// records; returns how many. A file that cannot be read or removed stays. Blocks.
pub(crate) fn remove_forgotten(dir: &Handle, is_there: impl Fn(&Digest) -> bool) -> u64 {
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

/// Writes a record. With `durable` it is there after a power loss: a caller that was told of a pin,
/// or of its end, relies on it. Without, the file may be lost, or hold no record.
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
        // A pinned record stays, and one that may be: of another version, or unreadable.
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

/// Lists the names of the files that may be records. An operator's own files are not among them.
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

/// Reads the record of this name, to be written again.
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

/// Reads and decodes the file of this name; `None` when it is not there.
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
    use crate::dir::directory::tests::opened;

    fn image(number: usize) -> ImageRecord {
        ImageRecord::new(
            format!("image-{number}"),
            "linux/amd64",
            vec![Digest::sha256_of(b"layer")],
        )
    }

    /// A directory that remembers nothing yet, and the place of its records.
    fn directory() -> (tempfile::TempDir, Arc<Handle>, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let images = root.path().join(IMAGE_DIR);
        std::fs::create_dir(&images).unwrap();
        let dir = opened(root.path());
        (root, dir, images)
    }

    fn known(dir: &Handle) -> usize {
        Records::default().list(dir).unwrap().len()
    }

    #[test]
    fn the_images_that_are_remembered_are_bounded_and_pins_outlive_others() {
        let (root, dir, images) = directory();
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
        remember(&dir, image(7), true).unwrap();
        assert!(is_known(1));
        remember(&dir, image(MAX_RECORDS), true).unwrap();
        assert_eq!([0, 1, 2, MAX_RECORDS].map(is_known), [true, false, true, true]);
        assert_eq!(known(&dir), MAX_RECORDS);
    }

    #[test]
    fn a_directory_with_far_more_files_than_records_is_brought_back_to_the_limit() {
        let (_root, dir, images) = directory();
        for number in 0..MAX_RECORDS + 100 {
            std::fs::write(images.join(image(number).file_name()), "broken").unwrap();
        }
        remember(&dir, image(MAX_RECORDS + 100).with_pinned(true), true).unwrap();
        assert_eq!(std::fs::read_dir(&images).unwrap().count(), MAX_RECORDS);
        assert_eq!(known(&dir), 1);
    }

    #[test]
    fn a_file_that_is_longer_than_any_record_is_none() {
        let (_root, dir, images) = directory();
        let path = images.join(image(0).file_name());
        let mut bytes = image(0).encode().unwrap();
        for (len, is_known) in [(MAX_RECORD_LEN, true), (MAX_RECORD_LEN + 1, false)] {
            // JSON may end with white space.
            bytes.resize(len, b' ');
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(known(&dir), usize::from(is_known), "{len}");
        }
    }

    #[test]
    fn where_all_are_pinned_none_is_forgotten() {
        let (_root, dir, images) = directory();
        for number in 0..MAX_RECORDS {
            let record = image(number).with_pinned(true);
            std::fs::write(images.join(record.file_name()), record.encode().unwrap()).unwrap();
        }
        let error = remember(&dir, image(MAX_RECORDS).with_pinned(true), true).unwrap_err();
        assert!(error.to_string().contains("unpin some"), "{error}");
        assert_eq!(known(&dir), MAX_RECORDS);
    }
}
