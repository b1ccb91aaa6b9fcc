//! `cache`: looking after the directory.

use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};

use serde_json::{Value, json};

use crate::image::{Image, noise, tar};
use crate::sandbox::Sandbox;

/// A sandbox with an image of two layers in its cache, the image, and the digests of its layers.
fn filled() -> (Sandbox, String, [String; 2]) {
    let mut image = Image::of_files(&[("etc/hello", b"hello"), ("data", &noise(700_000))]);
    image.add_tar(&tar(&[("etc/motd", b"welcome")]));
    let digests = [image.digest(0).to_owned(), image.digest(1).to_owned()];
    let sandbox = Sandbox::new();
    let location = image.write_layout(&sandbox.path("layout"));
    sandbox.succeed(["ls", &location]);
    assert_eq!(sandbox.cached_files().len(), 6);
    (sandbox, location, digests)
}

fn json(sandbox: &Sandbox, command: &[&str]) -> Value {
    sandbox.succeed(command.iter().chain(&["--json"])).json()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn list_and_usage_agree() {
    let (sandbox, _, digests) = filled();
    let list = json(&sandbox, &["cache", "list"]);
    assert_eq!(list["dir"], sandbox.cache_dir().to_str().unwrap());
    let layers = list["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    let mut bytes = 0;
    for layer in layers {
        assert_eq!(keys(layer), ["bytes", "digest", "last_used"]);
        assert!(digests.iter().any(|digest| layer["digest"] == **digest));
        bytes += layer["bytes"].as_u64().unwrap();
    }
    let usage = json(&sandbox, &["cache", "usage"]);
    assert_eq!(
        keys(&usage),
        [
            "bytes",
            "dir",
            "eviction_order",
            "free_bytes",
            "images",
            "layers",
            "max_bytes",
            "min_free_bytes",
            "pinned_bytes",
            "pinned_layers",
            "pinned_total_bytes",
            "quarantined_bytes",
            "quarantined_layers",
            "tier",
            "unattributed_bytes",
            "unattributed_layers"
        ]
    );
    assert_eq!((&usage["layers"], &usage["max_bytes"]), (&json!(2), &Value::Null));
    // Their companions take a little as well.
    assert!(usage["bytes"].as_u64().unwrap() >= bytes, "{usage} {list}");

    let text = sandbox.succeed(["cache", "list"]);
    assert_eq!(text.text().lines().count(), 2);
    assert!(digests.iter().all(|digest| text.text().contains(digest.as_str())));
    let text = sandbox.succeed(["cache", "usage"]);
    assert!(
        text.text().contains(sandbox.cache_dir().to_str().unwrap()),
        "{}",
        text.text()
    );
    assert!(text.text().contains("layers     2\n"), "{}", text.text());
}

#[test]
fn nothing_is_there_at_first() {
    let sandbox = Sandbox::new();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(sandbox.cache_dir())
        .unwrap();
    assert_eq!(json(&sandbox, &["cache", "list"])["layers"], json!([]));
    assert_eq!(json(&sandbox, &["cache", "usage"])["bytes"], 0);
    assert_eq!(sandbox.succeed(["cache", "verify"]).text(), "");
    assert_eq!(sandbox.succeed(["cache", "list"]).text(), "");
}

#[test]
fn verify_finds_one_wrong_byte_and_the_next_read_repairs() {
    let (sandbox, image, digests) = filled();
    for line in sandbox.succeed(["cache", "verify", "--json"]).json_lines() {
        assert_eq!(line["outcome"], "intact");
    }
    assert_eq!(
        sandbox
            .succeed(["cache", "verify"])
            .text()
            .matches("intact")
            .count(),
        2
    );

    let hex = digests[0].strip_prefix("sha256:").unwrap();
    let file = sandbox.cache_dir().join(format!("layer-{hex}.decompressed"));
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&file, &bytes).unwrap();

    let verified = sandbox.run(["cache", "verify", "--json"]);
    assert_eq!(verified.code, Some(1));
    for line in verified.json_lines() {
        let expected = if line["digest"] == *digests[0] {
            "corrupt"
        } else {
            "intact"
        };
        assert_eq!(line["outcome"], expected);
    }
    assert!(verified.stderr.contains(&digests[0]), "{}", verified.stderr);
    let last = verified.stderr.lines().last().unwrap();
    assert!(
        last.starts_with("layercache: ") && last.contains("1 layer was wrong and has been removed"),
        "{last}"
    );
    let left = sandbox.cached_files();
    assert!(left.iter().all(|name| !name.contains(hex)), "{left:?}");

    let printed = sandbox.succeed(["cat", &image, "/data"]);
    assert!(printed.stdout == noise(700_000));
    assert_eq!(printed.inflates(), 1);
    sandbox.succeed(["cache", "verify"]);
}

#[test]
fn remove_takes_one_layer() {
    let (sandbox, image, digests) = filled();
    let removed = json(&sandbox, &["cache", "remove", &digests[1]]);
    assert_eq!(removed, json!({ "digest": digests[1], "removed": true }));
    assert_eq!(json(&sandbox, &["cache", "usage"])["layers"], 1);
    assert_eq!(sandbox.cached_files().len(), 3);

    // Once more there is nothing to remove, which is a failure, in JSON as well.
    let again = sandbox.run(["cache", "remove", &digests[1], "--json"]);
    assert_eq!(
        (again.code, again.json()),
        (Some(1), json!({ "digest": digests[1], "removed": false }))
    );
    assert!(
        sandbox
            .fail(["cache", "remove", &digests[1]])
            .contains(&digests[1])
    );

    let printed = sandbox.succeed(["cat", &image, "/etc/motd", "/etc/hello"]);
    assert_eq!((printed.text(), printed.inflates()), ("welcomehello", 1));
    let removed = sandbox.succeed(["cache", "remove", &digests[0]]);
    assert_eq!(removed.text(), format!("removed {}\n", digests[0]));
}

#[test]
fn gc_takes_the_least_recently_used_and_what_crashes_have_left() {
    let (sandbox, _, digests) = filled();
    let untouched = json(&sandbox, &["cache", "gc"]);
    assert_eq!(
        (&untouched["removed_layers"], &untouched["layers"]),
        (&json!(0), &json!(2))
    );

    // The larger layer was used long ago.
    let hex = digests[0].strip_prefix("sha256:").unwrap();
    let file = std::fs::File::open(sandbox.cache_dir().join(format!("layer-{hex}.decompressed"))).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    drop(file);
    let stray = format!(".cache/clip/layer-{}.index", "0".repeat(64));
    sandbox.write(&stray, "left behind");

    let collected = json(&sandbox, &["cache", "gc", "--max-bytes", "100KiB"]);
    assert_eq!(
        keys(&collected),
        [
            "bytes",
            "dry_run",
            "layers",
            "removed",
            "removed_bytes",
            "removed_images",
            "removed_layers",
            "removed_leftovers",
            "removed_quarantined",
            "tier"
        ]
    );
    assert_eq!(
        (&collected["removed_layers"], &collected["layers"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(collected["removed_leftovers"], 1);
    let left = sandbox.cached_files();
    assert!(
        left.len() == 3 && left.iter().all(|name| !name.contains(hex)),
        "{left:?}"
    );
    assert!(
        sandbox
            .succeed(["cache", "gc"])
            .text()
            .contains("removed 0 layers")
    );
}

#[test]
fn clear_takes_everything() {
    let (sandbox, image, _) = filled();
    let cleared = json(&sandbox, &["cache", "clear"]);
    assert_eq!(
        (&cleared["removed_layers"], &cleared["layers"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(sandbox.cached_files().len(), 0);
    assert_eq!(sandbox.succeed(["cat", &image, "/etc/hello"]).inflates(), 2);
    assert!(
        sandbox
            .succeed(["cache", "clear"])
            .text()
            .contains("removed 2 layers")
    );
}

#[test]
fn an_operator_may_remove_any_file_at_any_time() {
    let (sandbox, image, _) = filled();
    for name in sandbox.cached_files() {
        std::fs::remove_file(sandbox.cache_dir().join(&name)).unwrap();
        // The first run repairs, and the second one has nothing left to do.
        for inflates in [u64::from(name.ends_with(".decompressed")), 0] {
            let printed = sandbox.succeed(["cat", &image, "/etc/hello", "/etc/motd"]);
            assert_eq!(printed.text(), "hellowelcome", "without {name}");
            assert_eq!(printed.inflates(), inflates, "without {name}");
        }
        assert_eq!(sandbox.cached_files().len(), 6, "without {name}");
    }
    std::fs::remove_dir_all(sandbox.cache_dir()).unwrap();
    assert_eq!(sandbox.succeed(["cat", &image, "/etc/hello"]).text(), "hello");
}

#[test]
fn a_stray_file_of_the_user_is_left_alone() {
    let (sandbox, _, _) = filled();
    sandbox.write(".cache/clip/README", "mine");
    sandbox.succeed(["cache", "gc"]);
    sandbox.succeed(["cache", "clear"]);
    assert_eq!(sandbox.cached_files().into_iter().collect::<Vec<_>>(), ["README"]);
}
