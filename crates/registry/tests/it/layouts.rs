//! Images in directories and archives.

use std::io::Write;
use std::path::{Path, PathBuf};

use cache_core::inflate::Inflater;
use cache_core::{Digest, ErrorKind, LayerSource};
use registry::{DockerArchiveOrigin, Image, ImageSource, LayoutOrigin};
use serde_json::{Value, json};

use crate::fixture::{Content, amd64, one_layer, read};

/// The files of a layout with these images by tag.
pub(crate) fn layout(content: &Content, images: &[(&str, Value)]) -> Vec<(String, Vec<u8>)> {
    let tagged = images.iter().map(|(tag, descriptor)| {
        let mut descriptor = descriptor.clone();
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        descriptor
    });
    let index = json!({ "schemaVersion": 2, "manifests": tagged.collect::<Vec<_>>() });
    let blob = |digest: &str| format!("blobs/{}", digest.replace(':', "/"));
    let manifests = content
        .manifests
        .iter()
        .filter(|(name, _)| name.starts_with("sha256:"));
    let mut files = vec![
        (
            "oci-layout".to_owned(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        ),
        ("index.json".to_owned(), index.to_string().into_bytes()),
    ];
    files.extend(manifests.map(|(digest, (_, bytes))| (blob(digest), bytes.clone())));
    files.extend(
        content
            .blobs
            .iter()
            .map(|(digest, bytes)| (blob(&digest.to_string()), bytes.clone())),
    );
    files
}

pub(crate) fn directory(files: &[(String, Vec<u8>)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    dir
}

/// A tar file of these files and then these links: name, type flag, target.
pub(crate) fn archive(
    files: &[(String, Vec<u8>)],
    links: &[(&str, u8, &str)],
) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    let mut file = std::fs::File::create(&path).unwrap();
    for (name, bytes) in files {
        file.write_all(&header(name, bytes.len(), b'0', "")).unwrap();
        file.write_all(bytes).unwrap();
        file.write_all(&vec![0; bytes.len().next_multiple_of(512) - bytes.len()])
            .unwrap();
    }
    for (name, kind, target) in links {
        file.write_all(&header(name, 0, *kind, target)).unwrap();
    }
    file.write_all(&[0; 1024]).unwrap();
    (dir, path)
}

fn header(name: &str, len: usize, kind: u8, target: &str) -> [u8; 512] {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{len:011o}\0").as_bytes());
    header[156] = kind;
    header[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

fn two_images() -> (Content, Vec<(&'static str, Value)>) {
    let mut content = Content::default();
    let images = vec![
        ("v1", content.image("linux/amd64", &[b"base", b"one"])),
        ("v2", content.image("linux/amd64", &[b"base", b"two"])),
    ];
    (content, images)
}

async fn resolve(origin: &dyn ImageSource, path: &Path, tag: &str) -> cache_core::Result<Image> {
    let location = format!("{}:{}{tag}", origin.name(), path.display());
    origin.resolve(&location.parse().unwrap(), &amd64()).await
}

async fn layers(origin: &dyn LayerSource, image: &Image) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for layer in &image.layers {
        all.push(read(origin, layer).await.unwrap());
    }
    all
}

#[tokio::test]
async fn a_layout_is_the_same_as_a_directory_and_as_an_archive() {
    let (content, images) = two_images();
    let files = layout(&content, &images);
    let dir = directory(&files);
    let (_archive_dir, tar) = archive(&files, &[]);
    let directories = LayoutOrigin::directory(Inflater::default());
    let archives = LayoutOrigin::archive(Inflater::default());
    let cases: [(&LayoutOrigin, &Path); 2] = [(&directories, dir.path()), (&archives, &tar)];
    for (origin, path) in cases {
        let image = resolve(origin, path, ":v2").await.unwrap();
        assert_eq!(
            image.manifest_digest.unwrap().to_string(),
            images[1].1["digest"].as_str().unwrap()
        );
        assert_eq!(
            image.repository.as_ref(),
            format!("{}:{}", origin.name(), path.display())
        );
        assert_eq!(layers(origin, &image).await, [b"base".to_vec(), b"two".to_vec()]);
        let error = resolve(origin, path, ":v3").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = resolve(origin, path, "").await.unwrap_err();
        assert!(error.to_string().contains("v1, v2"), "{error}");
        assert!(origin.stats().requests() > 0 && origin.stats().bytes() > 0);
        let absent = image.layers[0].clone();
        let absent = cache_core::LayerDescriptor::new(Digest::sha256_of(b"absent"))
            .with_repository(absent.repository.unwrap());
        assert!(origin.open(&absent).await.unwrap().is_none());
        let foreign = absent.with_repository("docker.io/library/debian");
        assert!(origin.open(&foreign).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn one_image_needs_no_tag_and_an_index_in_a_layout_is_searched() {
    let mut content = Content::default();
    let mut entries = Vec::new();
    for (architecture, layer) in [("arm64", "arm"), ("amd64", "amd")] {
        let mut image = content.image(&format!("linux/{architecture}"), &[layer.as_bytes()]);
        image["platform"] = json!({ "os": "linux", "architecture": architecture });
        entries.push(image);
    }
    let index = content.index(&entries);
    let dir = directory(&layout(&content, &[("only", index)]));
    let origin = LayoutOrigin::directory(Inflater::default());
    let image = resolve(&origin, dir.path(), "").await.unwrap();
    assert_eq!(layers(&origin, &image).await, [b"amd"]);
}

#[tokio::test]
async fn nothing_outside_a_layout_is_followed() {
    let (content, layer) = one_layer();
    let secret = directory(&[("secret".to_owned(), layer.clone())]);
    let name = format!("blobs/sha256/{}", Digest::sha256_of(&layer).hex());
    let image = json!({ "mediaType": crate::fixture::OCI_MANIFEST,
        "digest": Digest::sha256_of(&content.manifests["latest"].1).to_string(),
        "size": content.manifests["latest"].1.len() });
    let origin = LayoutOrigin::directory(Inflater::default());

    let dir = directory(&layout(&content, &[("v1", image.clone())]));
    let resolved = resolve(&origin, dir.path(), ":v1").await.unwrap();
    std::fs::remove_file(dir.path().join(&name)).unwrap();
    std::os::unix::fs::symlink(secret.path().join("secret"), dir.path().join(&name)).unwrap();
    let error = origin.open(&resolved.layers[0]).await.unwrap_err();
    assert!(error.to_string().contains("symbolic links"), "{error}");

    std::fs::rename(dir.path().join("blobs"), dir.path().join("moved")).unwrap();
    std::os::unix::fs::symlink("moved", dir.path().join("blobs")).unwrap();
    let error = origin.open(&resolved.layers[0]).await.unwrap_err();
    assert!(error.to_string().contains("symbolic links"), "{error}");

    let (_archive_dir, tar) = archive(
        &layout(&content, &[("v1", image)])
            .into_iter()
            .filter(|(file, _)| *file != name)
            .collect::<Vec<_>>(),
        &[(&name, b'2', "/etc/passwd"), ("blobs/sha256/loop", b'2', "loop")],
    );
    let archives = LayoutOrigin::archive(Inflater::default());
    let resolved = resolve(&archives, &tar, ":v1").await.unwrap();
    assert!(archives.open(&resolved.layers[0]).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_no_layout_or_is_damaged_says_so() {
    let directories = LayoutOrigin::directory(Inflater::default());
    let archives = LayoutOrigin::archive(Inflater::default());
    let empty = tempfile::tempdir().unwrap();
    let error = resolve(&directories, empty.path(), "").await.unwrap_err();
    assert!(error.to_string().contains("not an OCI image layout"), "{error}");
    let error = resolve(&directories, &empty.path().join("none"), "")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);

    let (content, images) = two_images();
    let (_dir, tar) = archive(&layout(&content, &images), &[]);
    let intact = std::fs::read(&tar).unwrap();
    let write = |bytes: &[u8]| std::fs::write(&tar, bytes).unwrap();
    write(&intact[..intact.len() / 2 + 100]);
    assert_eq!(
        resolve(&archives, &tar, ":v1").await.unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    write(&[&[0x1f, 0x8b][..], &intact].concat());
    let error = resolve(&archives, &tar, ":v1").await.unwrap_err();
    assert!(error.to_string().contains("compressed"), "{error}");
    // Both ends that writers leave are fine.
    for end in [1024, 512] {
        write(&intact[..intact.len() - end]);
        resolve(&archives, &tar, ":v1").await.unwrap();
    }
}

#[tokio::test]
async fn a_blob_of_another_length_or_with_other_bytes_is_corrupt() {
    let (content, images) = two_images();
    let dir = directory(&layout(&content, &images));
    let origin = LayoutOrigin::directory(Inflater::default());
    let image = resolve(&origin, dir.path(), ":v1").await.unwrap();
    let path = dir
        .path()
        .join(format!("blobs/sha256/{}", image.layers[0].digest.hex()));
    std::fs::write(&path, b"BASE").unwrap();
    assert_eq!(
        read(&origin, &image.layers[0]).await.unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    std::fs::write(&path, b"longer").unwrap();
    assert_eq!(
        origin.open(&image.layers[0]).await.unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}

/// The name and the bytes of a layer.
type Member<'a> = (&'a str, &'a [u8]);

/// What `docker save` writes of images whose layers are given by member name.
fn docker(images: &[(&str, &[Member<'_>])]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut manifest = Vec::new();
    for (tag, layers) in images {
        let diff_ids: Vec<_> = layers
            .iter()
            .map(|(_, bytes)| Digest::sha256_of(bytes).to_string())
            .collect();
        let config = json!({ "os": "linux", "architecture": "amd64", "rootfs": { "diff_ids": diff_ids } });
        let config = config.to_string().into_bytes();
        let name = format!("{}.json", Digest::sha256_of(&config).hex());
        let members: Vec<_> = layers.iter().map(|(name, _)| name).collect();
        manifest.push(json!({ "Config": name, "RepoTags": [tag], "Layers": members }));
        files.push((name, config));
    }
    files.push((
        "manifest.json".to_owned(),
        json!(manifest).to_string().into_bytes(),
    ));
    files
}

#[tokio::test]
async fn a_docker_archive_has_its_layers_by_diff_id_links_included() {
    let layers_of_v1: &[Member<'_>] = &[("a/layer.tar", b"base"), ("b/layer.tar", b"one")];
    let layers_of_v2: &[Member<'_>] = &[("c/layer.tar", b"base"), ("d/layer.tar", b"two")];
    let mut files = docker(&[
        ("app:v1", layers_of_v1),
        ("registry.example/app:v2", layers_of_v2),
    ]);
    files.push(("./a/layer.tar".to_owned(), b"base".to_vec()));
    files.push(("b/layer.tar".to_owned(), b"one".to_vec()));
    files.push(("x/real.tar".to_owned(), b"two".to_vec()));
    let links = [
        ("c/layer.tar", b'2', "../a/layer.tar"),
        ("d/layer.tar", b'1', "x/real.tar"),
    ];
    let (_dir, tar) = archive(&files, &links);
    let origin = DockerArchiveOrigin::new(Inflater::default());
    let image = resolve(&origin, &tar, ":registry.example/app:v2").await.unwrap();
    assert_eq!(image.layers[1].digest, Digest::sha256_of(b"two"));
    assert_eq!(image.layers[1].diff_id, Some(image.layers[1].digest));
    assert_eq!(image.config_digest, Digest::sha256_of(&image.config));
    assert_eq!(image.manifest_digest, None);
    assert_eq!(layers(&origin, &image).await, [b"base".to_vec(), b"two".to_vec()]);
    let image = resolve(&origin, &tar, ":docker.io/library/app:v1").await.unwrap();
    assert_eq!(layers(&origin, &image).await, [b"base".to_vec(), b"one".to_vec()]);
    let error = resolve(&origin, &tar, "").await.unwrap_err();
    assert!(
        error.to_string().contains("app:v1, registry.example/app:v2"),
        "{error}"
    );
    let error = resolve(&origin, &tar, ":app:v3").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn compressed_layers_of_a_docker_archive_go_by_the_digest_in_their_name() {
    // An empty gzip member: 20 bytes that inflate to none.
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let digest = Digest::sha256_of(&gzip);
    let named = format!("{}.tar.gz", digest.hex());
    for (name, fits) in [(named.as_str(), true), ("layer.tar", false)] {
        let mut files = docker(&[("app:v1", &[(name, b"")])]);
        files.push((name.to_owned(), gzip.to_vec()));
        let (_dir, tar) = archive(&files, &[]);
        let origin = DockerArchiveOrigin::new(Inflater::default());
        let image = resolve(&origin, &tar, "").await;
        assert_eq!(image.is_ok(), fits, "{image:?}");
        if let Ok(image) = image {
            assert_eq!(
                (image.layers[0].digest, image.layers[0].diff_id),
                (digest, Some(Digest::sha256_of(b"")))
            );
            assert_eq!(layers(&origin, &image).await, [b""]);
        }
    }
}

#[tokio::test]
async fn a_docker_archive_that_lacks_something_says_what() {
    let origin = DockerArchiveOrigin::new(Inflater::default());
    let (_dir, tar) = archive(&[("other".to_owned(), Vec::new())], &[]);
    let error = resolve(&origin, &tar, "").await.unwrap_err();
    assert!(error.to_string().contains("manifest.json"), "{error}");
    let files = docker(&[("app:v1", &[("missing/layer.tar", b"x")])]);
    let (_dir, tar) = archive(
        &files,
        &[
            ("missing/layer.tar", b'2', "layer.tar"),
            ("missing/layer.tar", b'2', "layer.tar"),
        ],
    );
    let error = resolve(&origin, &tar, "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn a_damaged_archive_is_an_error_or_the_same_image() {
    use proptest::prelude::*;
    let layers: &[Member<'_>] = &[("a/layer.tar", b"base")];
    let mut files = docker(&[("app:v1", layers)]);
    files.push(("a/layer.tar".to_owned(), b"base".to_vec()));
    let (_dir, tar) = archive(&files, &[]);
    let intact = std::fs::read(&tar).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let origin = DockerArchiveOrigin::new(Inflater::default());
    let strategy = (any::<prop::sample::Index>(), 1u8.., any::<bool>());
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(256)
    };
    proptest::test_runner::TestRunner::new(config)
        .run(&strategy, |(at, flip, cut)| {
            let at = at.index(intact.len());
            let mut damaged = intact.clone();
            damaged[at] ^= flip;
            damaged.truncate(if cut { at } else { intact.len() });
            std::fs::write(&tar, &damaged).unwrap();
            runtime.block_on(async {
                if let Ok(image) = resolve(&origin, &tar, "").await
                    && let Some(layer) = image.layers.first()
                    && layer.diff_id == Some(Digest::sha256_of(b"base"))
                    && let Ok(bytes) = read(&origin, layer).await
                {
                    prop_assert_eq!(bytes, b"base");
                }
                Ok(())
            })
        })
        .unwrap();
}
