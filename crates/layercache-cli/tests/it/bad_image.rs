//! Images that are damaged, lie or attack: one clear line, and nothing half-written.

use layercache::core::Digest;
use serde_json::json;

use crate::image::{Image, gzip, noise, tar};
use crate::sandbox::Sandbox;

fn good() -> Image {
    Image::of_files(&[("etc/hello", b"hello"), ("data", &noise(300_000))])
}

/// The line that pulling the image fails with. Reading it fails as well, in the same way.
fn refusal(sandbox: &Sandbox, image: Image) -> String {
    let location = image.write_layout(&sandbox.path("layout"));
    let refusal = sandbox.fail(["pull", &location]);
    assert_eq!(sandbox.cached_files().len(), 0);
    let reading = sandbox.fail(["cat", &location, "/etc/hello"]);
    assert_eq!(reading.split(": ").last(), refusal.split(": ").last());
    // Early reads may print what they cannot know to be wrong yet, but never end well, and keep nothing either.
    for early in [&["--early-reads"][..], &[]] {
        let read = sandbox.run(["read", &location, "0"].iter().chain(early));
        assert_eq!(read.code, Some(1));
        assert!(!early.is_empty() || read.stdout.is_empty());
        assert_eq!(sandbox.cached_files().len(), 0);
    }
    refusal
}

fn assert_says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "{word:?} is missing: {line}");
    }
}

#[test]
fn a_good_image_is_read() {
    let sandbox = Sandbox::new();
    let location = good().write_layout(&sandbox.path("layout"));
    assert_eq!(sandbox.succeed(["cat", &location, "/etc/hello"]).text(), "hello");
}

#[test]
fn a_blob_with_another_digest() {
    let mut image = Image::default();
    let layer = tar(&[("etc/hello", b"hello")]);
    image.add_layer(&layer, &Digest::sha256_of(&layer));
    let digest = image.digest(0).to_owned();
    let other = tar(&[("etc/hello", b"HELLO")]);
    image.blobs.insert(digest.clone(), other.clone());
    let line = refusal(&Sandbox::new(), image);
    let found = Digest::sha256_of(&other).to_string();
    assert_says(
        &line,
        &["oci: ", &digest, &found, "other bytes than the manifest names"],
    );
}

#[test]
fn a_blob_of_another_size() {
    let mut image = good();
    let size = image.layers[0]["size"].as_u64().unwrap();
    image.layers[0]["size"] = json!(size + 1);
    let line = refusal(&Sandbox::new(), image);
    assert_says(&line, &["oci: ", &size.to_string(), &(size + 1).to_string()]);
}

#[test]
fn a_layer_with_another_diff_id() {
    let mut image = good();
    let (found, claimed) = (
        image.diff_ids[0].clone(),
        Digest::sha256_of(b"another layer").to_string(),
    );
    image.diff_ids[0] = claimed.clone();
    let line = refusal(&Sandbox::new(), image);
    assert_says(&line, &["diff ID", &found, &claimed, "config"]);
}

#[test]
fn a_gzip_stream_that_is_cut_short() {
    let mut image = Image::default();
    let layer = tar(&[("etc/hello", b"hello"), ("data", &noise(300_000))]);
    let blob = gzip(&layer);
    for (cut, what) in [
        (4, "in the trailer"),
        (blob.len() / 2, "in the data"),
        (blob.len() - 5, "in the header"),
    ] {
        image.layers.clear();
        image.diff_ids.clear();
        image.add_layer(&blob[..blob.len() - cut], &Digest::sha256_of(&layer));
        let line = refusal(&Sandbox::new(), image.clone());
        assert_says(&line, &["oci: ", image.digest(0), "gzip"]);
        assert!(line.len() < 400, "cut {what}: {line}");
    }
}

#[test]
fn garbage_behind_a_gzip_stream() {
    let mut image = Image::default();
    let layer = tar(&[("etc/hello", b"hello")]);
    image.add_layer(
        &[gzip(&layer), b"garbage".to_vec()].concat(),
        &Digest::sha256_of(&layer),
    );
    let line = refusal(&Sandbox::new(), image);
    assert_says(&line, &["oci: ", "gzip"]);
}

#[test]
fn a_decompression_bomb() {
    let sandbox = Sandbox::new();
    let image = Image::of_files(&[("etc/hello", b"hello"), ("zeroes", &vec![0; 64 << 20])]);
    let location = image.write_layout(&sandbox.path("layout"));
    let config = sandbox.write(
        "config.toml",
        "max_layer_bytes = \"1MiB\"\n[[tier]]\nkind = \"disk\"\n[[tier]]\nkind = \"registry\"",
    );
    for command in [vec!["pull", &location], vec!["cat", &location, "/etc/hello"]] {
        let mut command = sandbox.command(command);
        command.arg("--config").arg(&config);
        let outcome = sandbox.finish(command);
        let peak = outcome.stats["peak_rss_bytes"].as_u64().unwrap();
        assert!(peak < 48 << 20, "{peak} bytes were in memory");
        let line = outcome.failed();
        assert_says(&line, &["max_layer_bytes (1048576)", "bomb"]);
        assert_eq!(sandbox.cached_files().len(), 0);
    }
}

#[test]
fn a_digest_that_is_a_path() {
    for digest in [
        "sha256:../../../../etc/passwd",
        "sha256:",
        "../escape",
        "md5:00",
        "sha256:zz\u{1b}[2J",
    ] {
        let mut image = good();
        image.layers[0]["digest"] = json!(digest);
        let sandbox = Sandbox::new();
        let line = refusal(&sandbox, image);
        assert_says(
            &line,
            &["image manifest is malformed", "not a digest", "line 1 column"],
        );

        // On the command line it is a mistake of the user, who is told before anything is done.
        for command in [vec!["cache", "remove", digest], vec!["read", "debian", digest]] {
            let outcome = sandbox.run(command);
            assert_eq!((outcome.code, outcome.stdout.len()), (Some(2), 0));
            assert!(outcome.stderr.contains("digest"), "{}", outcome.stderr);
            assert!(!outcome.stderr.contains('\u{1b}'), "{:?}", outcome.stderr);
        }
    }
}

#[test]
fn a_layer_that_is_no_tar_is_kept_but_not_read_as_files() {
    let sandbox = Sandbox::new();
    let mut image = Image::default();
    let layer = noise(5000);
    image.add_layer(&gzip(&layer), &Digest::sha256_of(&layer));
    let digest = image.digest(0).to_owned();
    let location = image.write_layout(&sandbox.path("layout"));
    let line = sandbox.fail(["ls", &location]);
    assert_says(&line, &[&digest, "tar"]);
    assert!(sandbox.succeed(["read", &location, "0"]).stdout == layer);
}

#[test]
fn an_image_with_nothing_readable_about_it() {
    let sandbox = Sandbox::new();
    for (file, contents) in [
        ("layout/index.json", "{"),
        ("layout/index.json", "[]"),
        ("layout/index.json", "{\"schemaVersion\":2,\"manifests\":[]}"),
        ("layout/oci-layout", "<html>"),
    ] {
        good().write_layout(&sandbox.path("layout"));
        sandbox.write(file, contents);
        let line = sandbox.fail(["pull", &format!("oci:{}", sandbox.path("layout").display())]);
        assert_says(&line, &["oci: "]);
    }
    let line = sandbox.fail(["pull", "oci:/nowhere/at/all"]);
    assert_says(&line, &["oci:/nowhere/at/all", "No such file"]);
    let file = sandbox.write("file", "no directory");
    let line = sandbox.fail(["pull", &format!("oci:{}", file.display())]);
    assert_says(&line, &[&format!("{} is not a directory", file.display())]);
    let line = sandbox.fail(["pull", &format!("oci-archive:{}", file.display())]);
    assert_eq!(line.matches("not an intact tar file").count(), 1, "{line}");
    assert_eq!(sandbox.cached_files().len(), 0);
}

/// Regression: the file tree next to the layer was taken without a look at what the image says of the layer.
#[test]
fn an_image_that_lies_about_a_layer_in_the_cache_is_refused_and_the_layer_stays() {
    let sandbox = Sandbox::new();
    let location = good().write_layout(&sandbox.path("good"));
    sandbox.succeed(["ls", &location]);
    let cached = sandbox.cached_files();
    assert_eq!(cached.len(), 3);

    let mut lying = good();
    lying.diff_ids[0] = Digest::sha256_of(b"another layer").to_string();
    let claimed = lying.diff_ids[0].clone();
    let lying = lying.write_layout(&sandbox.path("lying"));
    for command in [
        vec!["ls", &lying],
        vec!["cat", &lying, "/etc/hello"],
        vec!["pull", &lying],
    ] {
        assert_says(&sandbox.fail(command), &["diff ID", &claimed]);
    }
    assert_eq!(sandbox.cached_files(), cached);
    let printed = sandbox.succeed(["cat", &location, "/etc/hello"]);
    assert_eq!((printed.text(), printed.inflates()), ("hello", 0));
}
