//! Operations on a disk tier in front of an OCI layout.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use cache_core::Digest;
use cache_disk::GcOptions;
use cache_testkit::check_json_page;
use registry::ImageLocation;
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{Config, Kinds, Stack};

/// A cache directory, and an image in a layout next to it.
struct Room {
    root: TempDir,
    image: ImageLocation,
}

impl Room {
    /// Writes a layout of an image with layers of these bytes, which are not compressed.
    fn new(layers: &[&[u8]]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("layout");
        std::fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        let blob = |bytes: &[u8], media_type: &str| {
            let digest = Digest::sha256_of(bytes);
            std::fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
            json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
        };
        let layer = |bytes: &&[u8]| blob(bytes, "application/vnd.oci.image.layer.v1.tar");
        let diff_id = |bytes: &&[u8]| Digest::sha256_of(bytes).to_string();
        let diff_ids: Vec<_> = layers.iter().map(diff_id).collect();
        let config = json!({ "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids } });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json"),
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
            "annotations": { "org.example.note": "a note" },
        });
        let manifest = blob(
            manifest.to_string().as_bytes(),
            "application/vnd.oci.image.manifest.v1+json",
        );
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let image = format!("oci:{}", dir.display()).parse().unwrap();
        Self { root, image }
    }

    fn stack(&self) -> Stack {
        let dir = self.root.path().join("cache");
        let toml = format!("[[tier]]\nkind = \"disk\"\ndir = {:?}", dir.to_str().unwrap());
        Stack::assemble(&Config::parse(&toml).unwrap(), &Kinds::builtin()).unwrap()
    }

    /// Changes a byte of a layer that is cached.
    fn damage(&self, digest: &Digest) {
        let name = format!("layer-{}.decompressed", digest.hex());
        let path = find(&self.root.path().join("cache"), &name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
}

fn find(dir: &Path, name: &str) -> std::path::PathBuf {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found = entries.filter(|path| path.file_name().is_some_and(|found| found == name));
    found
        .next()
        .unwrap_or_else(|| panic!("{name} is not in {}", dir.display()))
}

/// Notes the name of each event.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn tell(&self, event: Event<'_>) {
        let words = format!("{event:?}");
        let name = words.split(['(', ' ']).next().unwrap_or_default();
        self.0.lock().unwrap().push(name.to_owned());
    }
}

impl Notes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Makes a tar of one file.
fn tar(path: &str, contents: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    header[..path.len()].copy_from_slice(path.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", contents.len()).as_bytes());
    header[148..156].fill(b' ');
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = [&header, contents].concat();
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar
}

fn json_of(report: &impl Serialize) -> Value {
    serde_json::to_value(report).unwrap()
}

#[tokio::test]
async fn a_pull_fills_the_disk_and_tells_each_layer() {
    let room = Room::new(&[b"base", b"application"]);
    let (stack, notes) = (room.stack(), Notes::default());
    let pulled = pull(&stack, &room.image, None, &notes).await.unwrap();
    let told = notes.take();
    assert_eq!(told[0], "Resolved");
    let count = |name: &str| told.iter().filter(|told| *told == name).count();
    for name in ["LayerStarted", "LayerEnded", "LayerArrived"] {
        assert_eq!(count(name), 2, "{told:?}");
    }
    assert_eq!(told.last().unwrap(), "LayerArrived");
    let sources: Vec<_> = pulled
        .layers
        .iter()
        .map(|layer| (layer.layer, &*layer.source, &*layer.tier, layer.moved_bytes))
        .collect();
    assert_eq!(
        sources,
        [(0, "oci", "disk", Some(4)), (1, "oci", "disk", Some(11))]
    );
    assert_eq!(pulled.bytes, 15);

    let again = pull(&stack, &room.image, None, &()).await.unwrap();
    assert!(again.layers.iter().all(|layer| layer.source == "disk"));
    assert!(again.layers.iter().all(|layer| layer.moved_bytes == Some(0)));
}

#[tokio::test]
async fn an_image_for_another_platform_is_refused_only_when_one_was_asked_for() {
    let room = Room::new(&[b"base"]);
    let stack = room.stack();
    let platform = "windows/amd64".parse().unwrap();
    // The config does not name an architecture, so the image may be for any.
    assert!(resolve(&stack, &room.image, Some(&platform)).await.is_ok());
    let nowhere: ImageLocation = "oci:/nowhere".parse().unwrap();
    let error = pull(&stack, &nowhere, None, &()).await.unwrap_err();
    assert!(
        error_line(&error).starts_with("oci:/nowhere: oci: resolve: "),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_list_goes_on_past_an_image_that_fails() {
    let room = Room::new(&[b"base"]);
    let (stack, notes) = (room.stack(), Notes::default());
    let list = format!("oci:/nowhere\n{}\nUPPER CASE", room.image);
    let wanted = WantedImage::parse_list(&list);
    let warmed = warm(&stack, wanted, 1, None, &notes).await;
    let outcomes: Vec<_> = warmed.images.iter().map(|image| image.outcome).collect();
    let (warm, failed) = (WarmOutcome::Warm, WarmOutcome::Failed);
    assert_eq!(outcomes, [failed, warm, failed]);
    let told = notes.take();
    assert_eq!(told.iter().filter(|told| *told == "ImageDone").count(), 3);
    let failure = warmed.failure().unwrap().to_string();
    assert_eq!(failure, "2 of 3 images failed: UPPER CASE, oci:/nowhere");
    // The report names the image, so its error does not.
    let error = json_of(&warmed.images[0])["error"].clone();
    assert!(error.as_str().unwrap().starts_with("oci: resolve: "), "{error}");
}

#[tokio::test]
async fn a_damaged_layer_is_found_removed_and_fetched_anew() {
    let room = Room::new(&[b"base", b"application"]);
    let (stack, notes) = (room.stack(), Notes::default());
    let pulled = pull(&stack, &room.image, None, &()).await.unwrap();
    let options = VerifyOptions::default();
    let verified = verify(&stack, options, &notes).await.unwrap();
    assert!(verified.failure().is_none() && verified.summary.is_clean());
    let told = notes.take();
    assert_eq!(told.first().unwrap(), "Directory");
    assert_eq!(told.last().unwrap(), "LayerVerified");

    let damaged = pulled.layers[1].digest;
    let found = |verified: &VerifyReport| {
        let mut layers = verified.layers.iter();
        layers.find(|layer| layer.digest == damaged).unwrap().clone()
    };
    room.damage(&damaged);
    let verified = verify(&stack, options, &()).await.unwrap();
    let wrong = found(&verified);
    assert_eq!(
        (wrong.outcome, wrong.action),
        (Verdict::Corrupt, Some(Action::Removed))
    );
    assert_eq!(
        verified.failure().unwrap().to_string(),
        "1 layer was wrong and has been removed: the next pull fetches it again"
    );

    pull(&stack, &room.image, None, &()).await.unwrap();
    room.damage(&damaged);
    let options = VerifyOptions::default().with_quarantine(true).with_refetch(true);
    let verified = verify(&stack, options, &()).await.unwrap();
    let wrong = found(&verified);
    assert_eq!(
        (wrong.action, wrong.refetched),
        (Some(Action::Quarantined), Some(true))
    );
    assert_eq!(
        verified.failure().unwrap().to_string(),
        "1 layer was wrong and has been put into quarantine and fetched anew"
    );
    let again = verify(&stack, options, &()).await.unwrap();
    assert!(again.failure().is_none());
}

#[tokio::test]
async fn a_dry_run_removes_nothing_and_pinned_layers_are_told() {
    let room = Room::new(&[b"base"]);
    let stack = room.stack();
    pull(&stack, &room.image, None, &()).await.unwrap();
    let images = std::slice::from_ref(&room.image);
    let pinned = pin(&stack, images, None, &()).await.unwrap();
    assert_eq!(
        (pinned[0].layers, pinned[0].missing.as_deref()),
        (Some(1), Some(&[][..]))
    );
    let dry = GcOptions::default().with_max_bytes(0).with_dry_run(true);
    let removed = gc(&stack, dry, &[], None, &()).await.unwrap();
    assert_eq!((removed[0].removed_layers, removed[0].layers), (1, 0));
    assert_eq!(removed[0].removed[0].pinned, Some(true));
    assert_eq!(usage(&stack, &()).await.unwrap()[0].pinned_layers, 1);

    let unpinned = unpin(&stack, images, None, &()).await.unwrap();
    assert!(unpinned.failure().is_none());
    let unpinned = unpin(&stack, images, None, &()).await.unwrap();
    assert!(matches!(unpinned.failure(), Some(OpsError::NotPinned(_))));
    let unknown = ["oci:/nowhere".parse().unwrap()];
    let error = gc(&stack, GcOptions::default(), &unknown, None, &())
        .await
        .unwrap_err();
    assert!(error_line(&error).starts_with("oci:/nowhere: nothing is known of this image"));
}

#[tokio::test]
async fn a_stack_without_a_disk_cannot_be_looked_after() {
    let config = Config::parse("[[tier]]\nkind = \"registry\"").unwrap();
    let stack = Stack::assemble(&config, &Kinds::builtin()).unwrap();
    assert!(matches!(list(&stack, &()).await, Err(OpsError::NoDisk)));
    assert!(matches!(
        push(&stack, &[], None, &()).await,
        Err(OpsError::NoSharedTier)
    ));
}

#[tokio::test]
async fn dropping_a_pull_ends_all_that_it_has_begun() {
    let room = Room::new(&[&[7; 1 << 20], &[8; 1 << 20]]);
    let (stack, notes) = (room.stack(), Notes::default());
    let pulling = pull(&stack, &room.image, None, &notes);
    // Dropped as soon as it waits after the layers have started.
    let mut pulling = Box::pin(pulling);
    while !notes.0.lock().unwrap().contains(&"LayerStarted".to_owned()) {
        let step = tokio::time::timeout(Duration::from_millis(1), &mut pulling);
        if step.await.is_ok() {
            break;
        }
    }
    drop(pulling);
    let told = notes.take();
    let count = |name: &str| told.iter().filter(|told| *told == name).count();
    assert_eq!(count("LayerStarted"), count("LayerEnded"), "{told:?}");
    stack.cache().close().await;
    drop(stack);
    let verified = verify(&room.stack(), VerifyOptions::default(), &())
        .await
        .unwrap();
    assert!(verified.failure().is_none());
}

/// Reports of operations have the keys of the page, of whichever crate prints them.
#[tokio::test]
async fn the_page_has_the_keys_of_the_reports() {
    let room = Room::new(&[&tar("etc/hello", b"hello"), b""]);
    let stack = room.stack();
    let images = std::slice::from_ref(&room.image);
    let inspected = inspect(&stack, &room.image, None).await.unwrap();
    check_json_page("`inspect`", &[json_of(&inspected)]);
    let path = Some(Path::new("/etc/hello"));
    let cold = explain(&stack, &room.image, path, None).await.unwrap();
    let pulled = pull(&stack, &room.image, None, &()).await.unwrap();
    let layers: Vec<_> = pulled.layers.iter().map(json_of).collect();
    check_json_page("`pull`", &layers);
    let warm_now = explain(&stack, &room.image, path, None).await.unwrap();
    check_json_page("`explain`", &[json_of(&cold), json_of(&warm_now)]);
    let wanted = WantedImage::parse_list(&room.image.to_string());
    let warmed = warm(&stack, wanted, 1, None, &()).await;
    check_json_page("`warm`", &[json_of(&warmed.images[0])]);
    check_json_page("`config check`", &[json_of(&check(&stack).await)]);
    check_json_page("`cache list`", &[json_of(&list(&stack, &()).await.unwrap()[0])]);
    check_json_page("`cache usage`", &[json_of(&usage(&stack, &()).await.unwrap()[0])]);
    let verified = verify(&stack, VerifyOptions::default(), &()).await.unwrap();
    check_json_page("`cache verify`", &[json_of(&verified.layers[0])]);
    let pinned = pin(&stack, images, None, &()).await.unwrap();
    let unpinned = unpin(&stack, images, None, &()).await.unwrap();
    let pins = [json_of(&pinned[0]), json_of(&unpinned.images[0])];
    check_json_page("`cache pin`, `cache unpin`", &pins);
    let dry = GcOptions::default().with_max_bytes(0).with_dry_run(true);
    let removed = gc(&stack, dry, &[], None, &()).await.unwrap();
    check_json_page("`cache gc`, `cache clear`", &[json_of(&removed[0])]);
    let removed = remove(&stack, &pulled.layers[0].digest, &()).await.unwrap();
    check_json_page("`cache remove`", &[json_of(&removed)]);
    check_json_page("`--stats`", &[json_of(&stats(&stack).unwrap())]);
    let pushed = PushedLayer {
        image: room.image.to_string(),
        layer: 0,
        digest: pulled.layers[0].digest,
        tiers: vec![PushedTo {
            tier: "redis".to_owned(),
            outcome: PushOutcome::Written,
            error: None,
        }],
        error: None,
    };
    check_json_page("`push`", &[json_of(&pushed)]);
}

/// Daemons run operations in tasks of their own.
#[test]
fn operations_can_be_spawned() {
    fn sent<T: Send>(_: impl Fn(&'static Stack, &'static ImageLocation) -> T) {}
    fn images(location: &ImageLocation) -> &[ImageLocation] {
        std::slice::from_ref(location)
    }
    sent(|stack, at| pull(stack, at, None, &()));
    sent(|stack, _| warm(stack, Vec::new(), 4, None, &()));
    sent(|stack, at| push(stack, images(at), None, &()));
    sent(|stack, at| inspect(stack, at, None));
    sent(|stack, at| explain(stack, at, Some(Path::new("/")), None));
    sent(|stack, _| check(stack));
    sent(|stack, _| usage(stack, &()));
    sent(|stack, _| verify(stack, VerifyOptions::default(), &()));
    sent(|stack, at| gc(stack, GcOptions::default(), images(at), None, &()));
    sent(|stack, at| pin(stack, images(at), None, &()));
    sent(|stack, at| unpin(stack, images(at), None, &()));
}
