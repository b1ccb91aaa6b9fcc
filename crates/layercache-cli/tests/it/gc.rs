//! `cache gc` by age, for all but some images, and as a rehearsal.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use cache_testkit::crash::{Action, Point, Strace};
use serde_json::{Value, json};

use crate::image::{Image, noise};
use crate::sandbox::Sandbox;

/// Three images of one layer each, last used now, two and ten days ago.
fn filled() -> (Sandbox, [String; 3], [String; 3]) {
    let sandbox = Sandbox::new();
    let image = |number: usize| {
        let image = Image::of_files(&[("data", &noise(10_000 + number))]);
        let digest = image.digest(0).to_owned();
        let name = image.write_layout(&sandbox.path(&format!("image{number}")));
        sandbox.succeed(["pull", &name]);
        (name, digest)
    };
    let [now, days, week] = [0, 1, 2].map(image);
    let ago = |digest: &str, days: u64| {
        let used = SystemTime::now() - Duration::from_secs(days * 86_400 + 60);
        let layer = std::fs::File::open(layer_path(&sandbox, digest)).unwrap();
        layer.set_modified(used).unwrap();
    };
    ago(&days.1, 2);
    ago(&week.1, 10);
    let (names, digests) = ([now.0, days.0, week.0], [now.1, days.1, week.1]);
    (sandbox, names, digests)
}

fn layer_path(sandbox: &Sandbox, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").unwrap();
    sandbox.cache_dir().join(format!("layer-{hex}.decompressed"))
}

fn gc(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let command = ["cache", "gc", "--json"].iter().chain(arguments);
    sandbox.succeed(command).json()
}

fn removed(report: &Value) -> Vec<&str> {
    let removed = report["removed"].as_array().unwrap();
    removed
        .iter()
        .map(|layer| layer["digest"].as_str().unwrap())
        .collect()
}

#[test]
fn what_is_older_goes_and_its_image_is_forgotten() {
    let (sandbox, names, digests) = filled();
    let rehearsed = gc(&sandbox, &["--older-than", "7d", "--dry-run"]);
    assert_eq!(
        (&rehearsed["dry_run"], removed(&rehearsed)),
        (&json!(true), vec![&*digests[2]])
    );
    assert!(digests.iter().all(|digest| layer_path(&sandbox, digest).exists()));

    let report = gc(&sandbox, &["--older-than", "7d"]);
    assert_eq!(
        (&report["dry_run"], removed(&report)),
        (&json!(false), vec![&*digests[2]])
    );
    for key in ["removed_layers", "removed_bytes", "layers", "bytes"] {
        assert_eq!(report[key], rehearsed[key], "{key}");
    }
    assert_eq!(report["removed_images"], 1);
    let usage = sandbox.succeed(["cache", "usage", "--json"]).json();
    let images = usage["images"].as_array().unwrap();
    let left: Vec<_> = images
        .iter()
        .map(|image| image["image"].as_str().unwrap())
        .collect();
    assert_eq!(left, names[..2]);
}

#[test]
fn all_but_the_named_images_go_and_the_pinned() {
    let (sandbox, names, digests) = filled();
    sandbox.succeed(["cache", "pin", &names[2]]);
    let report = gc(&sandbox, &["--keep", &names[0]]);
    assert_eq!(removed(&report), [&*digests[1]]);
    // To say which ones are old as well is to remove less.
    let report = gc(&sandbox, &["--keep", &names[2], "--older-than", "1h"]);
    assert_eq!(removed(&report), [""; 0]);
    sandbox.succeed(["cache", "unpin", &names[2]]);
    let report = gc(&sandbox, &["--keep", &names[0], "--max-bytes", "0"]);
    assert_eq!(
        (removed(&report), &report["layers"]),
        (vec![&*digests[2]], &json!(1))
    );
}

/// The file of what is known of an image, in the cache directory.
fn record(sandbox: &Sandbox, image: &str) -> PathBuf {
    let directory = sandbox.cache_dir().join("image");
    let records = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap());
    let of_image = |path: &PathBuf| {
        let known: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        known["name"] == image
    };
    let path = records.map(|entry| entry.path()).find(of_image);
    path.unwrap()
        .strip_prefix(sandbox.cache_dir())
        .unwrap()
        .to_owned()
}

#[test]
fn what_is_known_of_an_image_and_cannot_be_read_now_is_not_forgotten() {
    let (sandbox, names, digests) = filled();
    sandbox.succeed(["cache", "pin", &names[2]]);
    let unread = Point {
        call: "openat".to_owned(),
        nth: 0,
        on: vec![record(&sandbox, &names[2])],
    };
    let strace = Strace::new(sandbox.path("strace.log")).with(&unread, Action::Fail("EACCES"));
    let collected = sandbox.finish(strace.command(&sandbox.command(["cache", "gc", "--json"])));
    assert_eq!(collected.code, Some(0), "{}", collected.stderr);
    assert!(
        collected.stderr.contains("cannot be read"),
        "{}",
        collected.stderr
    );
    assert_eq!(collected.json()["removed_images"], 0);
    // The pin holds once it can be read.
    assert_eq!(removed(&gc(&sandbox, &["--keep", &names[0]])), [&*digests[1]]);
}

#[test]
fn what_one_directory_knows_of_an_image_keeps_it_in_all() {
    let (sandbox, names, digests) = filled();
    let config = sandbox.write(
        "config.toml",
        "[[tier]]\nkind = \"disk\"\nname = \"near\"\ndir = \"near\"\n[[tier]]\nkind = \"disk\"\nname = \"far\"\ndir = \".cache/clip\"",
    );
    let config = config.to_str().unwrap();
    sandbox.succeed(["pull", &names[0], &names[1], "--config", config]);
    std::fs::remove_dir_all(sandbox.path("near/image")).unwrap();
    let command = ["cache", "gc", "--json", "--config", config, "--keep", &names[0]];
    let reports = sandbox.succeed(command).json_lines();
    assert_eq!(reports.len(), 2);
    assert_eq!(removed(&reports[0]), [&*digests[1]]);
    assert_eq!(removed(&reports[1]), [&*digests[2], &*digests[1]]);
}

#[test]
fn an_image_that_nothing_is_known_of_is_a_mistake() {
    let (sandbox, names, _) = filled();
    let unknown = "host.example/team/app:1";
    let error = sandbox.fail(["cache", "gc", "--keep", &names[0], unknown]);
    assert!(
        error.contains(unknown) && error.contains("nothing is known"),
        "{error}"
    );
    assert_eq!(sandbox.succeed(["cache", "usage", "--json"]).json()["layers"], 3);
}

#[test]
fn a_rehearsal_in_words_names_the_layers() {
    let (sandbox, _, digests) = filled();
    let told = sandbox.succeed(["cache", "gc", "--older-than", "1d", "--dry-run"]);
    let lines: Vec<_> = told.text().lines().collect();
    assert_eq!(lines.len(), 3, "{}", told.text());
    assert!(lines[0].starts_with(&digests[2]) && lines[1].starts_with(&digests[1]));
    assert!(lines[2].starts_with("would remove 2 layers ("), "{}", lines[2]);
}
