//! `cache verify` that keeps what is wrong, or fetches it anew.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use cache_testkit::crash::{Action, Point, Strace};
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
            (
                &line["outcome"],
                &line["action"],
                &line["refetched"],
                &line["error"]
            ),
            (&json!("corrupt"), &json!("removed"), &json!(true), &Value::Null)
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
    assert_eq!(
        (&line["action"], &line["refetched"]),
        (&json!("quarantined"), &json!(false))
    );
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

    // The far one is not filled from the near one, and does not say that it was.
    let far = sandbox.path("far").join(layer_file(&digests[0]));
    std::fs::remove_file(&far).unwrap();
    bytes[700] ^= 1;
    std::fs::write(&far, &bytes).unwrap();
    let verified = sandbox.run(["cache", "verify", "--refetch", "--json", "--config", config]);
    let last = last_line(&verified);
    assert!(
        last.contains("1 layer was wrong and has been removed; 1 could not be fetched anew"),
        "{last}"
    );
    let lines = verified.json_lines();
    let wrong = lines.iter().find(|line| line["outcome"] == "corrupt").unwrap();
    assert_eq!(wrong["refetched"], false);
    assert!(
        wrong["error"].as_str().unwrap().contains("has not taken it"),
        "{wrong}"
    );
    assert!(!far.exists() && near.exists());
}

#[test]
fn what_is_kept_aside_makes_room_for_the_right_one_and_that_is_said() {
    let (image, digests) = image();
    let sandbox = Sandbox::new();
    let name = image.write_layout(&sandbox.path("layout"));
    let config = sandbox.write(
        "config.toml",
        "[[tier]]\nkind = \"disk\"\nmax_bytes = 150000\n[[tier]]\nkind = \"registry\"",
    );
    let config = config.to_str().unwrap();
    sandbox.succeed(["pull", &name, "--config", config]);
    spoil(&sandbox, &digests[0]);
    let command = [
        "cache",
        "verify",
        "--quarantine",
        "--refetch",
        "--json",
        "--config",
        config,
    ];
    let verified = sandbox.run(command);
    let last = last_line(&verified);
    assert!(
        last.contains("1 layer was wrong and has been removed and fetched anew"),
        "{last}"
    );
    let line = of_layer(&verified, &digests[0]);
    assert_eq!(
        (&line["action"], &line["refetched"]),
        (&json!("removed"), &json!(true))
    );

    // There is room for that of a small layer.
    spoil(&sandbox, &digests[1]);
    let verified = sandbox.run(command);
    let last = last_line(&verified);
    assert!(
        last.contains("1 layer was wrong and has been put into quarantine and fetched anew"),
        "{last}"
    );
    let usage = sandbox
        .succeed(["cache", "usage", "--json", "--config", config])
        .json();
    assert_eq!(
        (&usage["layers"], &usage["quarantined_layers"]),
        (&json!(2), &json!(1))
    );
}

#[test]
fn where_there_can_be_no_quarantine_it_is_removed_and_that_is_said() {
    let (image, digests) = image();
    let sandbox = Sandbox::new();
    let name = image.write_layout(&sandbox.path("layout"));
    sandbox.succeed(["pull", &name]);
    spoil(&sandbox, &digests[0]);
    sandbox.write(".cache/clip/quarantine", "not a directory");
    let verified = sandbox.run(["cache", "verify", "--quarantine", "--json"]);
    let last = last_line(&verified);
    assert!(
        last.contains("1 layer was wrong and has been removed: the next pull"),
        "{last}"
    );
    assert_eq!(of_layer(&verified, &digests[0])["action"], "removed");
    assert!(!sandbox.cache_dir().join(layer_file(&digests[0])).exists());
}

#[test]
fn a_registry_that_is_out_is_asked_for_one_image_only() {
    let (image, digests) = image();
    let (out, asked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(Mutex::new(BTreeSet::new())),
    );
    let (is_out, was_asked) = (Arc::clone(&out), Arc::clone(&asked));
    let registry = Registry::of_image(image, move |request| {
        is_out.load(Relaxed).then(|| {
            was_asked.lock().unwrap().insert(request.path.clone());
            with(503, &[], "")
        })
    });
    let sandbox = Sandbox::new();
    for image in ["one", "two", "three"] {
        sandbox.succeed(["pull", &format!("{}/team/{image}", registry.host())]);
    }
    out.store(true, Relaxed);
    for digest in &digests {
        spoil(&sandbox, digest);
    }
    let verified = sandbox.run(["cache", "verify", "--refetch", "--json"]);
    let last = last_line(&verified);
    assert!(last.contains("2 could not be fetched anew"), "{last}");
    let asked = asked.lock().unwrap();
    let manifests = asked.iter().filter(|path| path.contains("/manifests/"));
    assert_eq!(manifests.count(), 1, "{asked:?}");
}

#[test]
fn a_layer_that_cannot_be_read_stops_nobody_from_looking_at_the_others() {
    let (image, digests) = image();
    let sandbox = Sandbox::new();
    let name = image.write_layout(&sandbox.path("layout"));
    sandbox.succeed(["pull", &name]);
    let lost = Point {
        call: "pread64".to_owned(),
        nth: 0,
        on: vec![sandbox.cache_dir().join(layer_file(&digests[0]))],
    };
    let strace = Strace::new(sandbox.path("strace.log")).of("pread64");
    let strace = strace.with(&lost, Action::Fail("EIO"));
    let verified = sandbox.finish(strace.command(&sandbox.command(["cache", "verify", "--json"])));
    let last = last_line(&verified);
    assert!(last.contains("1 layer could not be read"), "{last}");
    let line = of_layer(&verified, &digests[0]);
    assert_eq!(
        (&line["outcome"], &line["action"]),
        (&json!("unreadable"), &Value::Null)
    );
    assert!(line["error"].as_str().unwrap().contains(&digests[0]), "{line}");
    assert!(
        verified.stderr.contains("a layer could not be read"),
        "{}",
        verified.stderr
    );
    assert_eq!(of_layer(&verified, &digests[1])["outcome"], "intact");
    // It may be read once more, by somebody who has no other.
    assert!(sandbox.cache_dir().join(layer_file(&digests[0])).exists());
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
