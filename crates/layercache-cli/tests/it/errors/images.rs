//! Images that are damaged, lie or attack.

use layercache::core::Digest;
use serde_json::json;

use super::Row;
use crate::image::{Image, gzip, noise, tar};
use crate::sandbox::Sandbox;

fn good() -> Image {
    Image::of_files(&[("etc/hello", b"hello"), ("data", &noise(300_000))])
}

/// An image of one layer whose blob is this one.
fn of_blob(blob: &[u8], layer: &[u8]) -> Image {
    let mut image = Image::default();
    image.add_layer(blob, &Digest::sha256_of(layer));
    image
}

/// An image of one tar with a link to what is not there.
fn with_a_link_to_nothing() -> Image {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    builder
        .append_link(&mut header, "etc/link", "etc/nothing")
        .unwrap();
    let mut image = Image::default();
    image.add_tar(&builder.into_inner().unwrap());
    image
}

fn with_another_blob() -> Image {
    let layer = tar(&[("etc/hello", b"hello")]);
    let mut image = of_blob(&layer, &layer);
    let digest = image.digest(0).to_owned();
    image.blobs.insert(digest, tar(&[("etc/hello", b"HELLO")]));
    image
}

pub(super) fn rows() -> Vec<Row> {
    let row_of = |situation, image: Image, config: Option<&str>, command: &str| {
        let sandbox = Sandbox::new();
        let location = image.write_layout(&sandbox.path("layout"));
        let config = config.map(|config| sandbox.write("config.toml", config));
        let mut arguments = vec![command, &location];
        if let Some(config) = &config {
            arguments.extend(["--config", config.to_str().unwrap()]);
        }
        Row::of_command(situation, &sandbox, &arguments)
    };
    let row = |situation, image| row_of(situation, image, None, "pull");
    let layer = tar(&[("etc/hello", b"hello"), ("data", &noise(300_000))]);
    let blob = gzip(&layer);
    let edited = |edit: fn(&mut Image)| {
        let mut image = good();
        edit(&mut image);
        image
    };
    let sandbox = Sandbox::new();
    let file = sandbox.write("file", "neither a directory nor an archive");
    let command = |situation, location: &str| Row::of_command(situation, &sandbox, &["pull", location]);
    vec![
        command("no such layout", "oci:/no/such/layout"),
        command("a file in place of a layout", &format!("oci:{}", file.display())),
        command(
            "a file that is no archive",
            &format!("oci-archive:{}", file.display()),
        ),
        command("an archive that Docker has not written", &{
            let path = sandbox.write("other.tar", tar(&[("hello", b"hello")]));
            format!("docker-archive:{}", path.display())
        }),
        row("a blob with another digest", with_another_blob()),
        row(
            "a blob longer than it should be",
            edited(|image| image.layers[0]["size"] = json!(100)),
        ),
        row(
            "a blob shorter than it should be",
            edited(|image| image.layers[0]["size"] = json!(10_000_000)),
        ),
        row(
            "a layer with another diff ID",
            edited(|image| image.diff_ids[0] = Digest::sha256_of(b"another").to_string()),
        ),
        row(
            "a blob that ends too early",
            of_blob(&blob[..blob.len() / 2], &layer),
        ),
        row(
            "a blob with garbage behind it",
            of_blob(&[&blob, &b"garbage"[..]].concat(), &layer),
        ),
        row(
            "a blob compressed by xz",
            of_blob(b"\xfd7zXZ\x00\x00\x04", &layer),
        ),
        row_of(
            "a bomb",
            Image::of_files(&[("zeroes", &vec![0; 4 << 20])]),
            Some("max_layer_bytes = \"1MiB\"\n[[tier]]\nkind = \"disk\""),
            "pull",
        ),
        row_of(
            "a layer that is no tar",
            of_blob(&gzip(&noise(5000)), &noise(5000)),
            None,
            "ls",
        ),
        row_of("a hard link to nothing", with_a_link_to_nothing(), None, "ls"),
        row(
            "a digest that is a path",
            edited(|image| image.layers[0]["digest"] = json!("sha256:../../x")),
        ),
        row(
            "a layer that is encrypted",
            edited(|image| {
                image.layers[0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip+encrypted");
            }),
        ),
        row(
            "a layer that is none",
            edited(|image| image.layers[0]["mediaType"] = json!("application/vnd.example.model")),
        ),
        row(
            "more diff IDs than layers",
            edited(|image| image.diff_ids.push(image.diff_ids[0].clone())),
        ),
        row("a layer whose blob is not there", {
            let mut image = good();
            let digest = image.digest(0).to_owned();
            image.blobs.remove(&digest);
            image
        }),
    ]
}
