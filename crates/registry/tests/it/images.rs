//! Which image of a registry is found, and what is refused.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Digest, ErrorKind};
use registry::{Anonymous, ImageSource};
use serde_json::json;

use crate::fixture::{
    Content, OCI_INDEX, OCI_MANIFEST, amd64, config, one_layer, origin, origin_with, resolve, resolve_for,
};
use crate::server::{Server, stall, with};

async fn serve(content: &Content) -> Server {
    let content = content.clone();
    Server::start(move |request| content.answer(request)).await
}

/// The first layer's bytes that `platform` gets of an index; each image's only layer is its name.
async fn chosen(content: &Content, platform: &str) -> Result<String, String> {
    let server = serve(content).await;
    let image = resolve_for(&origin(), &server, platform)
        .await
        .map_err(|error| error.to_string())?;
    Ok(String::from_utf8(content.blobs[&image.layers[0].digest].clone()).unwrap())
}

fn with_platform(mut descriptor: serde_json::Value, platform: serde_json::Value) -> serde_json::Value {
    descriptor["platform"] = platform;
    descriptor
}

#[tokio::test]
async fn the_best_variant_of_an_index_is_chosen_and_attestations_are_not() {
    let mut content = Content::default();
    let mut entries = Vec::new();
    let unknown = content.image("unknown/unknown", &[b"attestation"]);
    entries.push(with_platform(
        unknown,
        json!({ "os": "unknown", "architecture": "unknown" }),
    ));
    let mut attached = content.image("linux/amd64", &[b"attached"]);
    attached["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    entries.push(with_platform(
        attached,
        json!({ "os": "linux", "architecture": "amd64" }),
    ));
    for (name, architecture, variant) in [
        ("armv5", "arm", "v5"),
        ("armv7", "arm", "v7"),
        ("arm64", "arm64", "v8"),
        ("amd64", "amd64", ""),
    ] {
        let image = content.image(&format!("linux/{architecture}"), &[name.as_bytes()]);
        let platform = json!({ "os": "linux", "architecture": architecture, "variant": variant });
        entries.push(with_platform(image, platform));
    }
    let index = content.index(&entries);
    content.tag("latest", &index);
    for (platform, expected) in [
        ("linux/amd64", "amd64"),
        ("linux/amd64/v3", "amd64"),
        ("linux/arm64", "arm64"),
        ("linux/arm/v8", "armv7"),
        ("linux/arm", "armv7"),
        ("linux/arm/v6", "armv5"),
    ] {
        assert_eq!(
            chosen(&content, platform).await.as_deref(),
            Ok(expected),
            "{platform}"
        );
    }
    let message = chosen(&content, "linux/s390x").await.unwrap_err();
    assert!(
        message.contains("linux/s390x") && message.contains("linux/arm/v7"),
        "{message}"
    );
}

#[tokio::test]
async fn indexes_nest_up_to_a_bound() {
    let mut content = Content::default();
    let image = content.image("linux/amd64", &[b"deep"]);
    let mut index = content.index(&[with_platform(
        image,
        json!({ "os": "linux", "architecture": "amd64" }),
    )]);
    for _ in 0..3 {
        index = content.index(&[index]);
    }
    content.tag("latest", &index);
    assert_eq!(chosen(&content, "linux/amd64").await.as_deref(), Ok("deep"));
    index = content.index(&[index]);
    content.tag("latest", &index);
    assert!(
        chosen(&content, "linux/amd64")
            .await
            .unwrap_err()
            .contains("nested")
    );
}

#[tokio::test]
async fn an_index_cannot_send_us_on_an_endless_search() {
    let mut content = Content::default();
    let others: Vec<_> = (0..40u8)
        .map(|n| content.image("linux/s390x", &[format!("layer {n}").as_bytes()]))
        .collect();
    let index = content.index(&others);
    content.tag("latest", &index);
    let server = serve(&content).await;
    let error = resolve(&origin(), &server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert!(server.seen().len() <= 1 + 2 * 32);
}

#[tokio::test]
async fn entries_without_a_platform_are_told_apart_by_their_configs() {
    let mut content = Content::default();
    let images = [
        content.image("linux/arm64", &[b"arm64"]),
        content.image("linux/amd64", &[b"amd64"]),
    ];
    let index = content.index(&images);
    content.tag("latest", &index);
    assert_eq!(chosen(&content, "linux/amd64").await.as_deref(), Ok("amd64"));
    assert_eq!(chosen(&content, "linux/arm64").await.as_deref(), Ok("arm64"));
}

#[tokio::test]
async fn docker_manifests_are_images_as_well() {
    let (mut content, layer) = one_layer();
    let config = content
        .blobs
        .iter()
        .find(|(digest, _)| **digest != Digest::sha256_of(&layer))
        .unwrap();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": { "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": config.0.to_string(), "size": config.1.len() },
        "layers": [{ "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "digest": Digest::sha256_of(&layer).to_string(), "size": layer.len() }],
    });
    let manifest = content.document(&manifest, "application/vnd.docker.distribution.manifest.v2+json");
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    let entry = with_platform(manifest, json!({ "os": "linux", "architecture": "amd64" }));
    let index = content.document(
        &json!({ "schemaVersion": 2, "mediaType": list, "manifests": [entry] }),
        list,
    );
    content.tag("latest", &index);
    let server = serve(&content).await;
    let image = resolve(&origin(), &server).await.unwrap();
    assert_eq!(image.layers[0].digest, Digest::sha256_of(&layer));
    assert_eq!(
        image.media_type.as_deref(),
        Some("application/vnd.docker.distribution.manifest.v2+json")
    );
}

#[tokio::test]
async fn a_digest_decides_over_a_tag_and_is_checked() {
    let (mut content, _) = one_layer();
    let other = content.image("linux/amd64", &[b"other"]);
    let digest = other["digest"].as_str().unwrap().to_owned();
    let server = serve(&content).await;
    let location = format!("{}/team/app:latest@{digest}", server.host)
        .parse()
        .unwrap();
    let image = origin().resolve(&location, &amd64()).await.unwrap();
    assert_eq!(image.manifest_digest.unwrap().to_string(), digest);

    let latest = content.manifests["latest"].clone();
    content.manifests.insert(digest.clone(), latest);
    let forger = serve(&content).await;
    let location = format!("{}/team/app@{digest}", forger.host).parse().unwrap();
    let error = origin().resolve(&location, &amd64()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&digest), "{error}");
}

#[tokio::test]
async fn forged_children_and_configs_are_corrupt() {
    let (content, layer) = one_layer();
    let mut forged = content.clone();
    let config = *forged
        .blobs
        .keys()
        .find(|digest| **digest != Digest::sha256_of(&layer))
        .unwrap();
    let text = String::from_utf8(forged.blobs[&config].clone())
        .unwrap()
        .replace("amd64", "arm64");
    forged.blobs.insert(config, text.into_bytes());
    let error = resolve(&origin(), &serve(&forged).await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");

    let mut forged = content.clone();
    let other = forged.image("linux/amd64", &[b"other"]);
    let child = forged.image("linux/amd64", &[&layer]);
    let index = forged.index(std::slice::from_ref(&child));
    forged.tag("latest", &index);
    let bytes = forged.manifests[other["digest"].as_str().unwrap()].clone();
    forged
        .manifests
        .insert(child["digest"].as_str().unwrap().to_owned(), bytes);
    let error = resolve(&origin(), &serve(&forged).await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn manifests_end_at_four_mebibytes() {
    let limit = 4 << 20;
    for (extra, chunked) in [(0, false), (1, false), (1, true)] {
        let (content, _) = one_layer();
        let server = Server::start(move |request| match request.path.ends_with("/manifests/latest") {
            true => {
                let mut bytes = content.manifests["latest"].1.clone();
                bytes.resize(limit + extra, b' ');
                let pieces =
                    axum::body::Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(
                        bytes.clone(),
                    )]));
                if chunked {
                    with(200, &[], pieces)
                } else {
                    with(200, &[], bytes)
                }
            }
            false => content.answer(request),
        })
        .await;
        let result = resolve(&origin(), &server).await;
        assert_eq!(result.is_ok(), extra == 0, "{result:?}");
        if let Err(error) = result {
            assert_eq!(error.kind(), ErrorKind::Permanent);
            assert!(error.to_string().contains("4194304"), "{error}");
        }
    }
}

#[tokio::test]
async fn what_is_no_image_is_refused_by_name() {
    let artifact = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [],
        "config": { "mediaType": "application/vnd.cncf.helm.config.v1+json", "size": 2,
            "digest": Digest::sha256_of(b"{}").to_string() } });
    let schema_1 = json!({ "schemaVersion": 1, "fsLayers": [], "signatures": [] });
    for (body, content_type, expected, kind) in [
        (
            "<html>sign in</html>".to_owned(),
            "text/html; charset=utf-8",
            "`text/html`",
            ErrorKind::Corrupt,
        ),
        (artifact.to_string(), OCI_MANIFEST, "helm", ErrorKind::Permanent),
        (
            schema_1.to_string(),
            "application/json",
            "schema 1",
            ErrorKind::Permanent,
        ),
        (
            "{}".to_owned(),
            "application/json",
            "not a container image",
            ErrorKind::Permanent,
        ),
        (
            r#"{"manifests":[]}"#.to_owned(),
            OCI_INDEX,
            "not there for linux/amd64",
            ErrorKind::NotFound,
        ),
    ] {
        let server = Server::start(move |request| match request.path.contains("/manifests/") {
            true => with(200, &[("content-type", content_type)], body.clone()),
            false => with(200, &[], "{}"),
        })
        .await;
        let error = resolve(&origin(), &server).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn layers_that_do_not_fit_the_config_are_refused() {
    let (content, layer) = one_layer();
    let manifest: serde_json::Value = serde_json::from_slice(&content.manifests["latest"].1).unwrap();
    let mut doubled = manifest.clone();
    doubled["layers"] = json!([manifest["layers"][0], manifest["layers"][0]]);
    let mut encrypted = manifest.clone();
    encrypted["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip+encrypted");
    let mut strange = manifest.clone();
    strange["layers"][0]["mediaType"] = json!("application/wasm");
    let mut climbing = manifest.clone();
    climbing["layers"][0]["digest"] = json!("sha256:../../../etc/passwd");
    let mut huge = manifest;
    huge["config"]["size"] = json!(9 << 20);
    for (manifest, expected) in [
        (doubled, "number of layers (2) than the config diff IDs (1)"),
        (encrypted, "encrypted"),
        (strange, "application/wasm"),
        (climbing, "malformed"),
        (huge, "9437184 bytes"),
    ] {
        let mut content = content.clone();
        let descriptor = content.document(&manifest, OCI_MANIFEST);
        content.tag("latest", &descriptor);
        let error = resolve(&origin(), &serve(&content).await).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    drop(layer);
}

#[tokio::test]
async fn a_tag_that_is_not_there_is_not_found_and_an_outage_is_unavailable() {
    let server = Server::start(|_| with(404, &[], "")).await;
    let error = resolve(&origin(), &server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("latest"), "{error}");
    let server = Server::start(|_| with(503, &[], "")).await;
    assert_eq!(
        resolve(&origin(), &server).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    drop(server);
    let nobody = "127.0.0.1:1/team/app".parse().unwrap();
    let error = origin().resolve(&nobody, &amd64()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let elsewhere = "oci:/srv/image".parse().unwrap();
    let error = origin().resolve(&elsewhere, &amd64()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
}

#[tokio::test]
async fn a_manifest_that_never_ends_is_not_waited_for() {
    let server = Server::start(|_| stall(b"{", 100)).await;
    for (document, idle) in [(50, 60_000), (60_000, 50)] {
        let mut config = config();
        config.document_timeout = Duration::from_millis(document);
        config.idle_timeout = Duration::from_millis(idle);
        config.max_retries = 0;
        let error = resolve(&origin_with(config, Arc::new(Anonymous)), &server)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
}
