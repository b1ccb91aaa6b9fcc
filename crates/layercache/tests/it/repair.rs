//! `cache verify` that keeps what is wrong, or fetches it anew.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::image::{Image, noise, tar};
use crate::registry::{Registry, with};
use crate::sandbox::{Outcome, Sandbox};

fn layer_file(digest: &str) -> String {
    format!("layer-{}.decompressed", digest.strip_prefix("sha256:").unwrap())
}

/// Turns one bit of a cached layer; the bytes that are there then.
fn spoil(sandbox: &Sandbox, digest: &str) -> Vec<u8> {
    let path = sandbox.cache_dir().join(layer_file(digest));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[700] ^= 1;
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    bytes
}

/// An image of two layers, with their digests.
fn image() -> (Image, [String; 2]) {
    let mut image = Image::of_files(&[("data", &noise(100_000))]);
    image.add_tar(&tar(&[("etc/motd", b"welcome")]));
    let digests = [0, 1].map(|layer| image.digest(layer).to_owned());
    (image, digests)
}

fn of_layer(verified: &Outcome, digest: &str) -> Value {
    let lines = verified.json_lines();
    lines.into_iter().find(|line| line["digest"] == digest).unwrap()
}

fn last_line(outcome: &Outcome) -> &str {
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    outcome.stderr.lines().last().unwrap()
}

#[test]
fn what_is_wrong_is_kept_aside_and_counted() {
    let (image, digests) = image();
    let sandbox = Sandbox::new();
    let name = image.write_layout(&sandbox.path("layout"));
    sandbox.succeed(["pull", &name]);
    let wrong = spoil(&sandbox, &digests[0]);
    let verified = sandbox.run(["cache", "verify", "--quarantine", "--json"]);
    assert!(last_line(&verified).contains("1 layer was wrong and has been put into quarantine"));
    assert_eq!(of_layer(&verified, &digests[0])["action"], "quarantined");
    let intact = of_layer(&verified, &digests[1]);
    assert_eq!(
        (&intact["outcome"], &intact["action"]),
        (&json!("intact"), &Value::Null)
    );

    let kept = sandbox
        .cache_dir()
        .join("quarantine")
        .join(layer_file(&digests[0]));
    assert!(std::fs::read(&kept).unwrap() == wrong);
    let usage = sandbox.succeed(["cache", "usage", "--json"]).json();
    assert_eq!(
        (&usage["layers"], &usage["quarantined_layers"]),
        (&json!(1), &json!(1))
    );
    assert!(usage["quarantined_bytes"].as_u64().unwrap() > 100_000);
    // Readers get the right one.
    assert!(sandbox.succeed(["cat", &name, "/data"]).stdout == noise(100_000));
    assert!(kept.exists());
    let report = sandbox.succeed(["cache", "gc", "--json"]).json();
    assert_eq!(
        (&report["removed_quarantined"], &report["layers"]),
        (&json!(1), &json!(2))
    );
    assert!(!kept.exists());
}

#[test]
fn what_is_wrong_is_fetched_anew_by_the_digest_of_its_manifest() {
    let (image, digests) = image();
    let moved = Image::of_files(&[("other", b"other")]).finish();
    // The tag means another image once the first one was pulled; that one is there by its digest.
    let registry = Registry::of_image(image, move |asked| {
        let is_moved = asked.name() == "latest" && asked.before > 0;
        is_moved.then(|| {
            with(
                200,
                &[("content-type", crate::image::MANIFEST_TYPE)],
                moved.clone(),
            )
        })
    });
    let sandbox = Sandbox::new();
    sandbox.succeed(["pull", &registry.image()]);
    for digest in &digests {
        spoil(&sandbox, digest);
    }
    let verified = sandbox.run(["cache", "verify", "--refetch", "--json"]);
    let last = last_line(&verified);
    assert!(
        last.contains("2 layers were wrong and have been removed and fetched anew"),
        "{last}"
    );
    for digest in &digests {
        let line = of_layer(&verified, digest);
        assert_eq!(
            (&line["outcome"], &line["action"], &line["error"]),
            (&json!("corrupt"), &json!("refetched"), &Value::Null)
        );
    }
    for line in sandbox.succeed(["cache", "verify", "--json"]).json_lines() {
        assert_eq!(line["outcome"], "intact");
    }
}

#[test]
fn what_cannot_be_fetched_anew_is_said_and_gone_all_the_same() {
    let (image, digests) = image();
    let registry = Registry::of_image(image, |_| None);
    let sandbox = Sandbox::new();
    sandbox.succeed(["pull", &registry.image()]);
    drop(registry);
    spoil(&sandbox, &digests[0]);
    let verified = sandbox.run(["cache", "verify", "--refetch", "--quarantine", "--json"]);
    let last = last_line(&verified);
    assert!(
        last.contains("put into quarantine; 1 could not be fetched anew"),
        "{last}"
    );
    let line = of_layer(&verified, &digests[0]);
    assert_eq!(line["action"], "quarantined");
    assert!(line["error"].as_str().unwrap().contains("team/app"), "{line}");
    assert!(!sandbox.cache_dir().join(layer_file(&digests[0])).exists());
}

#[test]
fn a_layer_of_no_image_is_asked_of_tiers_that_need_none() {
    let (image, digests) = image();
    let sandbox = Sandbox::new();
    let name = image.write_layout(&sandbox.path("layout"));
    // Two disk tiers: what one has, the other can give.
    let config = sandbox.write(
        "config.toml",
        "[[tier]]\nkind = \"disk\"\nname = \"near\"\ndir = \"near\"\n[[tier]]\nkind = \"disk\"\nname = \"far\"\ndir = \"far\"",
    );
    let config = config.to_str().unwrap();
    sandbox.succeed(["pull", &name, "--cache-dir", "far"]);
    sandbox.succeed(["cat", &name, "/data", "--config", config]);
    let near = sandbox.path("near").join(layer_file(&digests[0]));
    let mut bytes = std::fs::read(&near).unwrap();
    bytes[700] ^= 1;
    std::fs::set_permissions(&near, Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&near, &bytes).unwrap();
    std::fs::remove_dir_all(sandbox.path("layout")).unwrap();
    std::fs::remove_dir_all(sandbox.path("far/image")).unwrap();
    let verified = sandbox.run(["cache", "verify", "--refetch", "--config", config]);
    let last = last_line(&verified);
    assert!(
        last.contains("1 layer was wrong and has been removed and fetched anew"),
        "{last}"
    );
    bytes[700] ^= 1;
    assert!(std::fs::read(&near).unwrap() == bytes);
}

#[test]
fn bars_show_how_much_of_all_is_verified() {
    let (image, _) = image();
    let sandbox = Sandbox::new();
    let name = image.write_layout(&sandbox.path("layout"));
    sandbox.succeed(["pull", &name]);
    let verified = sandbox.run(["cache", "verify", "--progress", "always"]);
    assert_eq!(
        (verified.code, verified.text().matches("intact").count()),
        (Some(0), 2)
    );
}
