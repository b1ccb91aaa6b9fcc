//! Which directories are used, and which are refused with what advice.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use cache_core::{ErrorKind, LayerSource, Probe, Tier};
use cache_disk::{DiskConfig, Verification};
use futures_util::StreamExt;
use rustix::fs::IFlags;

use crate::support::{Cache, Layer, fill, gc, is_cached};

fn refusal(dir: &Path) -> String {
    let error = DiskConfig::new(dir).open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert!(
        error
            .message()
            .contains(dir.to_str().unwrap().trim_end_matches('/')),
        "{error}"
    );
    error.to_string()
}

#[test]
fn a_directory_that_is_not_there_is_created_for_the_user_alone() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/b/clip");
    let tier = DiskConfig::new(&dir).open().unwrap();
    assert_eq!(tier.dir(), dir);
    for created in [&dir, &root.path().join("a")] {
        assert_eq!(
            fs::metadata(created).unwrap().permissions().mode() & 0o7777,
            0o700
        );
    }
}

#[tokio::test]
async fn a_directory_that_is_only_looked_into_is_not_created_and_has_no_layers() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/b/clip");
    let config = DiskConfig::new(&dir).with_create(false).with_max_bytes(1000);
    let tier = config.open().unwrap();
    let layer = Layer::new(1, 100);
    let digest = layer.descriptor.digest;
    tier.check().await.unwrap();
    assert!(tier.open(&layer.descriptor).await.unwrap().is_none());
    assert!(matches!(
        tier.probe(&layer.descriptor).await.unwrap(),
        Probe::Absent
    ));
    assert!(tier.list().next().await.is_none());
    let contents = tier.contents().await.unwrap();
    assert!(contents.layers.is_empty() && contents.images.is_empty());
    for usage in [contents.usage, tier.usage().await.unwrap()] {
        assert_eq!((usage.layers, usage.bytes, usage.max_bytes), (0, 0, Some(1000)));
        assert!(usage.free_bytes > 0);
    }
    assert_eq!(gc(&tier, Some(0)).await.unwrap().layers, 0);
    assert_eq!(tier.clear().await.unwrap().layers, 0);
    assert!(!tier.remove(&digest).await.unwrap());
    assert!(!tier.quarantine(&digest).await.unwrap());
    let verified = tier.verify(&digest, |_| {}).await.unwrap();
    assert!(matches!(verified, Verification::Absent));
    tier.sample_metrics().await.unwrap();
    assert!(!tier.unpin_image("image", "linux/amd64").await.unwrap());
    assert!(tier.read_companion(&digest, "tree", 100).await.unwrap().is_none());
    let error = tier.create(&layer.descriptor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert!(error.message().contains("is not there"), "{error}");
    assert!(!root.path().join("a").exists());

    // Once there is one, it is seen, and can be written to.
    fill(&DiskConfig::new(&dir).open().unwrap(), &layer).await;
    assert!(tier.open(&layer.descriptor).await.unwrap().is_some());
    assert!(tier.remove(&digest).await.unwrap());
}

#[tokio::test]
async fn a_directory_that_cannot_be_created_or_used_is_found_out_without_creating_it() {
    let root = tempfile::tempdir().unwrap();
    let open = |dir: &Path| DiskConfig::new(dir).with_create(false).open();
    let tier = open(&root.path().join("clip")).unwrap();
    tier.check().await.unwrap();
    // One that would be created for a layer is not for this.
    let created = DiskConfig::new(root.path().join("created")).open().unwrap();
    fs::remove_dir_all(created.dir()).unwrap();
    created.check().await.unwrap();
    assert!(!created.dir().exists());
    // What stands in its place now, or makes it impossible.
    fs::write(root.path().join("clip"), "").unwrap();
    let error = tier.check().await.unwrap_err();
    assert!(error.message().contains("is not a directory"), "{error}");
    let dir = root.path().join("open");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(error.message().contains("is writable by others"), "{error}");
}

#[test]
fn a_symlink_is_refused_with_and_without_a_slash_behind_it() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("real")).unwrap();
    symlink("real", root.path().join("link")).unwrap();
    symlink("nowhere", root.path().join("dangling")).unwrap();
    for name in ["link", "link/", "dangling"] {
        assert!(
            refusal(&root.path().join(name)).contains("symbolic link"),
            "{name}"
        );
    }
    assert!(!root.path().join("nowhere").exists());
}

#[test]
fn a_file_is_refused() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    assert!(refusal(&root.path().join("file")).contains("not a directory"));
    assert!(refusal(&root.path().join("file/below")).contains("cannot be reached or created"));
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    for mode in [0o777, 0o770, 0o720, 0o1777] {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(mode)).unwrap();
        let refusal = refusal(root.path());
        assert!(
            refusal.contains("writable by others") && refusal.contains("chmod go-w"),
            "{refusal}"
        );
    }
}

#[test]
fn what_is_not_ours_or_not_writable_is_refused() {
    let root = tempfile::tempdir().unwrap();
    if rustix::process::geteuid().is_root() {
        chown(root.path(), Some(4242), None).unwrap();
        assert!(refusal(root.path()).contains("belongs to user 4242"));
        // Root may write anywhere but into what the kernel provides.
        assert!(refusal(Path::new("/proc/sys")).contains("is not writable"));
    } else {
        assert!(refusal(Path::new("/")).contains("belongs to user 0"));
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o500)).unwrap();
        assert!(refusal(root.path()).contains("is not writable"));
    }
}

#[tokio::test]
async fn whoever_swaps_the_directory_does_not_redirect_the_tier() {
    let cache = Cache::new();
    let tier = cache.tier();
    let moved = cache.dir().with_file_name("moved");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(cache.dir(), &moved).unwrap();
    symlink(elsewhere.path(), cache.dir()).unwrap();

    let layer = Layer::new(1, 1000);
    fill(&tier, &layer).await;
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert!(
        moved
            .join(format!("layer-{}.decompressed", layer.digest().hex()))
            .exists()
    );
}

#[tokio::test]
async fn a_directory_that_was_removed_is_created_anew() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 1000);
    fill(&tier, &layer).await;
    fs::remove_dir_all(cache.dir()).unwrap();
    assert!(!is_cached(&tier, &layer).await);
    fill(&tier, &layer).await;
    assert_eq!(cache.files(), Cache::files_of(&[&layer]));
    assert!(is_cached(&tier, &layer).await);
}

#[tokio::test]
async fn a_layer_whose_use_cannot_be_noted_is_read_all_the_same() {
    let cache = Cache::new();
    let tier = cache.tier();
    let layer = Layer::new(1, 1000);
    fill(&tier, &layer).await;
    cache.age(&layer, 1000);
    // As on a file system that became read-only. Where the flag is not to be had, there is nothing to see.
    let file = fs::File::open(cache.path(&layer, "decompressed")).unwrap();
    let flags = |flags| rustix::fs::ioctl_setflags(&file, flags);
    if flags(IFlags::IMMUTABLE).is_ok() {
        assert!(file.set_modified(std::time::SystemTime::now()).is_err());
        let cached = is_cached(&tier, &layer).await;
        flags(IFlags::empty()).unwrap();
        assert!(cached);
    }
}
