//! One image in several compressions: the same config, hence the same diff IDs, in every variant.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use xshell::{Shell, cmd};

use super::layout::{CONFIG, INDEX, LAYER, Layout, blob_path, hash_file, read_tag};
use super::rootfs::{FULL, SMALL};

/// Writes every tag into `layout`, from the gzip images that umoci made in the layout `built`.
pub(crate) fn write(sh: &Shell, work: &Path, built: &Path, layout: &Layout) -> Result<()> {
    let image = read_tag(built, FULL)?;
    let config = layout.add_file(CONFIG, &blob_path(built, &image["config"])?)?;
    let document: Value = serde_json::from_slice(&fs::read(blob_path(built, &image["config"])?)?)?;
    let diff_ids = document["rootfs"]["diff_ids"]
        .as_array()
        .context("the config has no diff IDs")?;

    let (mut gzip, mut zstd, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (layer, diff_id)) in layers(&image)?.iter().zip(diff_ids).enumerate() {
        let compressed = blob_path(built, layer)?;
        let (tar, tar_zst) = (
            work.join(format!("{number}.tar")),
            work.join(format!("{number}.tar.zst")),
        );
        cmd!(
            sh,
            "sh -c 'exec pigz --decompress --stdout \"$1\" > \"$2\"' sh {compressed} {tar}"
        )
        .quiet()
        .run()?;
        cmd!(sh, "zstd --quiet -3 --threads=0 {tar} -o {tar_zst}")
            .quiet()
            .run()?;
        gzip.push(layout.add_file(&format!("{LAYER}+gzip"), &compressed)?);
        zstd.push(layout.add_file(&format!("{LAYER}+zstd"), &tar_zst)?);
        plain.push(layout.add_file(LAYER, &tar)?);
        ensure!(
            plain[number]["digest"] == *diff_id,
            "layer {number} is not what its diff ID says"
        );
        let sizes =
            [&gzip, &zstd, &plain].map(|variant| variant[number]["size"].as_u64().unwrap_or(0) / 1_000_000);
        let [gzip, zstd, plain] = sizes;
        eprintln!("         layer {number}: gzip {gzip} MB, zstd {zstd} MB, plain {plain} MB");
    }

    let gzip = layout.add_manifest(&config, &gzip)?;
    layout.tag(&gzip, "gzip")?;
    layout.tag(&layout.add_manifest(&config, &zstd)?, "zstd")?;
    layout.tag(&layout.add_manifest(&config, &plain)?, "plain")?;
    layout.tag(&add_index(sh, work, layout, &gzip)?, "multi")?;

    let small = read_tag(built, SMALL)?;
    let config = layout.add_file(CONFIG, &blob_path(built, &small["config"])?)?;
    let layers: Vec<Value> = layers(&small)?
        .iter()
        .map(|layer| layout.add_file(&format!("{LAYER}+gzip"), &blob_path(built, layer)?))
        .collect::<Result<_>>()?;
    layout.tag(&layout.add_manifest(&config, &layers)?, "small")
}

fn layers(manifest: &Value) -> Result<&Vec<Value>> {
    manifest["layers"].as_array().context("a manifest has no layers")
}

/// An index as BuildKit writes them: images of two platforms, and an attestation that is no image at all.
fn add_index(sh: &Shell, work: &Path, layout: &Layout, amd64: &Value) -> Result<Value> {
    let statement = json!({ "_type": "https://in-toto.io/Statement/v0.1", "subject": [], "predicate": {} });
    let statement = layout.add_json("application/vnd.in-toto+json", &statement)?;
    let diff_id = &statement["digest"];
    let config = json!({ "architecture": "unknown", "os": "unknown", "rootfs": { "type": "layers", "diff_ids": [diff_id] } });
    let config = layout.add_json(CONFIG, &config)?;
    let attestation = layout.add_manifest(&config, &[statement])?;

    let of_platform = |manifest: &Value, platform: Value| {
        let mut manifest = manifest.clone();
        manifest["platform"] = platform;
        manifest
    };
    let mut attestation = of_platform(
        &attestation,
        json!({ "architecture": "unknown", "os": "unknown" }),
    );
    attestation["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": amd64["digest"],
    });
    let manifests = [
        attestation,
        of_platform(
            &add_tiny(sh, work, layout)?,
            json!({ "architecture": "arm64", "os": "linux", "variant": "v8" }),
        ),
        of_platform(amd64, json!({ "architecture": "amd64", "os": "linux" })),
    ];
    layout.add_json(
        INDEX,
        &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }),
    )
}

/// The image for arm64: one layer with the file `etc/platform`, which says `linux/arm64/v8`.
fn add_tiny(sh: &Shell, work: &Path, layout: &Layout) -> Result<Value> {
    let (root, tar, tar_gz) = (work.join("tiny"), work.join("tiny.tar"), work.join("tiny.tar.gz"));
    fs::create_dir_all(root.join("etc"))?;
    fs::write(root.join("etc/platform"), "linux/arm64/v8\n")?;
    cmd!(
        sh,
        "tar --create --file={tar} --directory={root} --owner=0 --group=0 etc"
    )
    .quiet()
    .run()?;
    cmd!(sh, "pigz --keep {tar}").quiet().run()?;
    let layer = layout.add_file(&format!("{LAYER}+gzip"), &tar_gz)?;
    let diff_id = format!("sha256:{}", hash_file(&tar)?.0);
    let config = json!({
        "architecture": "arm64", "variant": "v8", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    });
    layout.add_manifest(&layout.add_json(CONFIG, &config)?, &[layer])
}
