//! What the user asks for cannot be.

use serde_json::json;

use super::Row;
use crate::image::Image;
use crate::remote::share::{REGISTRY, disk};
use crate::sandbox::Sandbox;

const NO_SUCH: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

pub(super) fn rows() -> Vec<Row> {
    let sandbox = Sandbox::new();
    let image = Image::of_files(&[("etc/motd", b"hello")]).write_layout(&sandbox.path("layout"));
    let image = image.as_str();
    let row = |situation, arguments: &[&str]| Row::of_command(situation, &sandbox, arguments);
    let two = two_images(&sandbox);
    let written = |name: &str, toml: &str| sandbox.write(name, toml).to_str().unwrap().to_owned();
    let registry_alone = written("registry.toml", REGISTRY);
    let two_disks = disk(&sandbox, "one") + &disk(&sandbox, "two").replace("dir", "name = \"other\"\ndir");
    let two_disks = written("two.toml", &two_disks);
    vec![
        row(
            "a path that the image does not have",
            &["cat", image, "/etc/passwd"],
        ),
        row("a directory in place of a file", &["cat", image, "/etc"]),
        row("a directory that the image does not have", &["ls", image, "/var"]),
        row(
            "a file that an image does not have is explained",
            &["explain", image, "/var"],
        ),
        row(
            "a number that is none of the image's layers",
            &["read", image, "7"],
        ),
        row(
            "a digest that is none of the image's layers",
            &["read", image, NO_SUCH],
        ),
        row(
            "a layer is removed that is not there",
            &["cache", "remove", NO_SUCH],
        ),
        row(
            "an image for one platform, and another is asked for",
            &["--platform", "windows/s390x", "pull", image],
        ),
        row("a layout of several images, and no tag", &["pull", &two]),
        row(
            "a layout that does not have the tag",
            &["pull", &format!("{two}:v9")],
        ),
        row("`push` without a tier that is shared", &["push", image]),
        row(
            "figures that cannot be written",
            &["pull", image, "--stats", "no/such/dir/stats"],
        ),
        row("a reference that is none", &["pull", "Registry.example/UPPER"]),
        row("a location without a path", &["pull", "oci:"]),
        row(
            "a platform that is none",
            &["pull", "debian", "--platform", "linux"],
        ),
        row("a layer named by what is no digest", &["read", image, "first"]),
        row("a size that is none", &["cache", "gc", "--max-bytes", "much"]),
        row(
            "an argument about a tier that is not configured",
            &["--config", &registry_alone, "--cache-dir", "x", "pull", image],
        ),
        row(
            "an argument about a tier that is configured twice",
            &["--config", &two_disks, "--cache-dir", "x", "pull", image],
        ),
    ]
}

/// A layout of two images with tags.
fn two_images(sandbox: &Sandbox) -> String {
    let location = Image::of_files(&[("etc/motd", b"hello")]).write_layout(&sandbox.path("two"));
    let path = sandbox.path("two/index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let manifests = index["manifests"].as_array_mut().unwrap();
    let mut other = manifests[0].clone();
    for (manifest, tag) in [(&mut manifests[0], "v1"), (&mut other, "v2")] {
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    }
    manifests.push(other);
    std::fs::write(path, index.to_string()).unwrap();
    location
}
