//! An image whose layers are open: each of them once, whatever is read of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use layercache::core::index::IndexBuilder;
use layercache::core::{
    Capabilities, Claim, Digest, ErrorKind, LayerDescriptor, LayerReader, LayerSource, MemoryTier, Result,
    Role, Tier,
};
use layercache::tree::{Follow, NodeId};
use layercache::{Config, ImageHandle, Kinds, Part, Stack};

/// A memory of layers that counts who opens them.
#[derive(Debug)]
struct Shelf {
    layers: MemoryTier,
    opens: AtomicUsize,
    opening: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Shelf {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            layers: MemoryTier::new("layers", 1 << 20),
            opens: AtomicUsize::new(0),
            opening: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        })
    }

    /// Puts a layer of these files on the shelf; a text of `->` and a path is a hard link to it.
    async fn add(&self, name: &str, files: &[(&str, &str)]) -> LayerDescriptor {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            match text.strip_prefix("->") {
                Some(target) => {
                    header.set_size(0);
                    header.set_entry_type(tar::EntryType::Link);
                    tar.append_link(&mut header, path, target).unwrap();
                }
                None => {
                    header.set_size(text.len() as u64);
                    tar.append_data(&mut header, path, text.as_bytes()).unwrap();
                }
            }
        }
        let tar = tar.into_inner().unwrap();
        let layer =
            LayerDescriptor::new(Digest::sha256_of(name.as_bytes())).with_diff_id(Digest::sha256_of(&tar));
        let Claim::Write(mut writer) = self.layers.create(&layer).await.unwrap() else {
            panic!("{name} is on the shelf already");
        };
        let mut index = IndexBuilder::new(layer.digest.algorithm());
        index.update(&tar);
        writer.write(tar.into()).await.unwrap();
        writer.commit(&index.finish(layer.digest)).await.unwrap();
        layer
    }

    fn stack(self: &Arc<Self>) -> Stack {
        let shelf = Arc::clone(self);
        let mut kinds = Kinds::builtin();
        kinds.register("shelf", move |_, _| Ok(Part::source(Arc::clone(&shelf))));
        let config = Config::parse("[[tier]]\nkind = \"shelf\"").unwrap();
        Stack::assemble(&config, &kinds).unwrap()
    }
}

#[async_trait]
impl LayerSource for Shelf {
    fn name(&self) -> &str {
        "shelf"
    }

    fn role(&self) -> Role {
        Role::Local
    }

    fn capabilities(&self) -> Capabilities {
        self.layers.capabilities()
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        self.opens.fetch_add(1, Ordering::Relaxed);
        let now = self.opening.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_at_once.fetch_max(now, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.opening.fetch_sub(1, Ordering::Relaxed);
        self.layers.open(layer).await
    }
}

async fn text(image: &ImageHandle, path: &str) -> String {
    let node = image.stat(path.as_bytes(), Follow::All).unwrap().expect(path);
    let file = image.open(node.id()).unwrap();
    let mut bytes = vec![0; file.len() as usize + 1];
    let read = file.read_at(0, &mut bytes).await.unwrap();
    String::from_utf8(bytes[..read].to_vec()).unwrap()
}

#[tokio::test]
async fn a_layer_is_opened_once_for_its_tree_and_for_all_that_is_read() {
    let shelf = Shelf::new();
    let base = shelf
        .add(
            "base",
            &[("etc/name", "base"), ("etc/motd", "hello"), ("etc/gone", "")],
        )
        .await;
    let upper = shelf
        .add(
            "upper",
            &[
                ("etc/name", "upper"),
                ("etc/.wh.gone", ""),
                ("motd", "->etc/motd"),
            ],
        )
        .await;
    // Images repeat layers, above all the empty one.
    let stack = shelf.stack();
    let image = stack
        .open_image(&[base.clone(), upper.clone(), base, upper])
        .await
        .unwrap();
    assert_eq!(shelf.opens.load(Ordering::Relaxed), 2);
    for _ in 0..3 {
        assert_eq!(text(&image, "/etc/name").await, "upper");
        assert_eq!(text(&image, "/etc/motd").await, "hello");
        assert_eq!(text(&image, "/motd").await, "hello");
    }
    assert_eq!(
        shelf.opens.load(Ordering::Relaxed),
        2,
        "reading has opened a layer again"
    );
    assert_eq!(image.layers().len(), 4);
    assert_eq!(stack.sources()[0].counts.hits, 2);
}

#[tokio::test]
async fn files_are_found_listed_and_read_in_ranges() {
    let shelf = Shelf::new();
    let layer = shelf
        .add("layer", &[("a/b", "0123456789"), ("a/c", "->a/b")])
        .await;
    let image = shelf.stack().open_image(&[layer]).await.unwrap();
    let stat = |path: &str| image.stat(path.as_bytes(), Follow::All).unwrap();
    let dir = stat("a").unwrap();
    let names: Vec<_> = dir.children().map(|(name, _)| name).collect();
    assert_eq!((names, stat("a/d")), (vec![&b"b"[..], b"c"], None));
    let (b, c) = (stat("a/b").unwrap(), stat("/a/c").unwrap());
    assert_eq!((b, b.links(), b.entry().size()), (c, 2, 10));

    let file = image.open(c.id()).unwrap();
    let mut part = [0; 4];
    assert_eq!(file.read_at(3, &mut part).await.unwrap(), 4);
    assert_eq!(&part, b"3456");
    assert_eq!(file.read_at(8, &mut part).await.unwrap(), 2);

    for (id, why) in [
        (dir.id(), "not a regular file"),
        (NodeId::from(99), "no file of this image"),
    ] {
        let error = image.open(id).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn layers_are_opened_a_few_at_a_time() {
    let shelf = Shelf::new();
    let mut layers = Vec::new();
    for n in 0..20 {
        layers.push(shelf.add(&n.to_string(), &[(&format!("file-{n}"), "")]).await);
    }
    let image = shelf.stack().open_image(&layers).await.unwrap();
    assert_eq!(image.tree().root().children().count(), 20);
    assert_eq!(shelf.opens.load(Ordering::Relaxed), 20);
    assert_eq!(shelf.most_at_once.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn an_image_of_which_a_layer_is_missing_is_an_error_that_names_it() {
    let shelf = Shelf::new();
    let layer = shelf.add("there", &[("a", "")]).await;
    // From a registry, that is: other origins have no layers of such an image.
    let missing = LayerDescriptor::new(Digest::sha256_of(b"missing")).with_repository("a.example/b");
    let error = shelf
        .stack()
        .open_image(&[layer, missing.clone()])
        .await
        .unwrap_err();
    let facts = (error.kind(), error.layer());
    assert_eq!(facts, (ErrorKind::NotFound, Some(&missing.digest)), "{error}");
}
