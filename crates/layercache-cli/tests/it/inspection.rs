//! `inspect`, platforms, `--stats` and logs: what is told about images and work.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::environment::debian;
use crate::image::Image;
use crate::registry::Registry;
use crate::sandbox::Sandbox;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_variants_are_one_image_compressed_in_three_ways() {
    let sandbox = Sandbox::new();
    let inspect = |tag| sandbox.succeed(["inspect", "--json", &debian(tag)]).json();
    let variants = [inspect("gzip"), inspect("zstd"), inspect("plain")];
    for variant in &variants {
        assert_eq!(
            keys(variant),
            [
                "annotations",
                "config",
                "config_digest",
                "digest",
                "image",
                "layers",
                "media_type",
                "platform",
                "repository"
            ]
        );
        let layers = variant["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 3);
        for (number, layer) in layers.iter().enumerate() {
            assert_eq!(keys(layer), ["diff_id", "digest", "size"]);
            assert_eq!(layer["diff_id"], variants[0]["layers"][number]["diff_id"]);
            assert_eq!(layer["diff_id"], variant["config"]["rootfs"]["diff_ids"][number]);
        }
        assert_eq!(variant["config_digest"], variants[0]["config_digest"]);
        assert_eq!(variant["platform"], "linux/amd64");
    }
    for (variant, other) in [(0, 1), (1, 2)] {
        assert_ne!(
            variants[variant]["layers"][0]["digest"],
            variants[other]["layers"][0]["digest"]
        );
    }
    // Without compression the blob is the layer.
    assert_eq!(
        variants[2]["layers"][0]["digest"],
        variants[2]["layers"][0]["diff_id"]
    );

    let text = sandbox.succeed(["inspect", &debian("gzip")]);
    for layer in variants[0]["layers"].as_array().unwrap() {
        for key in ["digest", "diff_id"] {
            assert!(
                text.text().contains(layer[key].as_str().unwrap()),
                "{}",
                text.text()
            );
        }
    }
    // Looking at an image fetches none of its layers.
    assert_eq!(sandbox.cached_files().len(), 0);

    // The same image by its digest, and by both.
    let digest = variants[0]["digest"].as_str().unwrap();
    for tag in [format!("@{digest}"), format!(":gzip@{digest}")] {
        let name = debian("gzip").replace(":gzip", &tag);
        let pinned = sandbox.succeed(["inspect", "--json", &name]).json();
        assert_eq!(pinned["layers"], variants[0]["layers"]);
    }
}

#[test]
fn a_platform_is_chosen_from_an_image_for_several() {
    let sandbox = Sandbox::new();
    let image = debian("multi");
    for platform in ["linux/arm64", "linux/arm64/v8"] {
        let file = sandbox.succeed(["--platform", platform, "cat", &image, "/etc/platform"]);
        assert_eq!(file.text(), "linux/arm64/v8\n");
    }
    let inspect = |platform| {
        sandbox
            .succeed(["inspect", "--json", "--platform", platform, &image])
            .json()
    };
    let gzip = sandbox.succeed(["inspect", "--json", &debian("gzip")]).json();
    assert_eq!(inspect("linux/amd64")["layers"], gzip["layers"]);
    assert_eq!(inspect("linux/arm64")["layers"].as_array().unwrap().len(), 1);

    let line = sandbox.fail(["--platform", "linux/s390x", "pull", &image]);
    assert!(line.contains("not there for linux/s390x"), "{line}");
    // What there is instead; the attestation is no platform.
    assert!(
        line.contains("linux/arm64, linux/amd64") && !line.contains("unknown"),
        "{line}"
    );
}

#[test]
fn an_image_for_one_platform_is_not_taken_for_another() {
    let registry = Registry::of_image(Image::of_files(&[("etc/hello", b"hello")]), |_| None);
    let (sandbox, image) = (Sandbox::new(), registry.image());
    let host = layercache::registry::Platform::host().to_string();
    let other = "windows/s390x";
    let line = sandbox.fail(["--platform", other, "cat", &image, "/etc/hello"]);
    assert!(
        line.contains(&format!("is for {host}, not for {other}")),
        "{line}"
    );
    assert!(sandbox.cached_files().is_empty());
    let printed = sandbox.succeed(["--platform", &host, "cat", &image, "/etc/hello"]);
    assert_eq!(printed.text(), "hello");
}

#[test]
fn the_figures_have_the_documented_keys() {
    let sandbox = Sandbox::new();
    let cold = sandbox.succeed(["pull", &debian("small")]).stats;
    assert_eq!(
        keys(&cold),
        [
            "inflate_seconds",
            "inflates",
            "origin_bytes",
            "origin_requests",
            "peak_rss_bytes",
            "tiers"
        ]
    );
    assert_eq!(keys(&cold["tiers"]), ["disk", "registry"]);
    for tier in ["disk", "registry"] {
        assert_eq!(
            keys(&cold["tiers"][tier]),
            [
                "corrupt",
                "evicted_layers",
                "filled_bytes",
                "filled_layers",
                "hits",
                "misses",
                "read_bytes",
                "unavailable"
            ]
        );
    }
    let inspected = sandbox.succeed(["inspect", "--json", &debian("small")]).json();
    let size = inspected["layers"][0]["size"].as_u64().unwrap();
    let bytes = |stats: &Value| stats["origin_bytes"].as_u64().unwrap();
    // The layer, and a manifest and a config of some hundred bytes.
    assert!((size..size + 10_000).contains(&bytes(&cold)), "{cold}");
    assert!(cold["inflate_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(
        (
            &cold["tiers"]["disk"]["misses"],
            &cold["tiers"]["disk"]["filled_layers"]
        ),
        (&1.into(), &1.into())
    );
    let len = cold["tiers"]["disk"]["filled_bytes"].as_u64().unwrap();
    assert_eq!(cold["tiers"]["registry"]["read_bytes"], len);
    // Memory does not grow with the layer, which is larger than this.
    let peak = cold["peak_rss_bytes"].as_u64().unwrap();
    assert!(
        peak < 64 << 20 && len > 150 << 20,
        "{peak} bytes of memory for {len}"
    );

    let warm = sandbox.succeed(["pull", &debian("small")]).stats;
    assert_eq!(
        (&warm["inflates"], &warm["inflate_seconds"]),
        (&0.into(), &0.0.into())
    );
    assert_eq!(warm["tiers"]["disk"]["hits"], 1);
    assert!(bytes(&warm) < 10_000, "{warm}");

    // A command that fails tells what it cost, too.
    let failed = sandbox.run(["cat", &debian("small"), "/nothing"]);
    assert_eq!(failed.code, Some(1));
    assert_eq!(failed.stats["inflates"], 0);
}

#[test]
fn operators_find_their_events() {
    let sandbox = Sandbox::new();
    let mut events: BTreeMap<String, Value> = BTreeMap::new();
    for _ in ["cold", "warm"] {
        let run = sandbox.run([
            "cat",
            "--log-format",
            "json",
            &debian("small"),
            "/etc/debian_version",
        ]);
        assert_eq!(run.code, Some(0));
        for line in run.stderr.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            for key in ["timestamp", "level", "target"] {
                assert!(event[key].is_string(), "{line}");
            }
            events.insert(event["message"].as_str().unwrap().to_owned(), event);
        }
    }
    let expected: &[(&str, &[&str])] = &[
        ("initialized OCI storage with disk cache", &["path"]),
        ("decompressing layer (first access)", &["digest"]),
        (
            "layer decompressed and cached to disk",
            &["digest", "path", "bytes", "duration"],
        ),
        ("disk cache hit", &["digest", "path", "bytes"]),
        ("Inflate CPU recorded", &["digest", "bytes", "duration"]),
        ("Layer access count", &["digest", "bytes"]),
    ];
    let inspected = sandbox.succeed(["inspect", "--json", &debian("small")]).json();
    for (message, fields) in expected {
        let event = events
            .get(*message)
            .unwrap_or_else(|| panic!("no event `{message}`"));
        for field in *fields {
            assert!(!event[*field].is_null(), "{message} has no {field}: {event}");
            // In seconds, so that it can be summed.
            assert!(*field != "duration" || event[*field].is_f64(), "{event}");
        }
        if fields.contains(&"digest") {
            assert_eq!(event["digest"], inspected["layers"][0]["digest"]);
        }
    }
    // As text they are the same events.
    let text = sandbox.run(["pull", "--log-format", "text", &debian("small")]);
    assert!(
        text.stderr.contains("disk cache hit digest=sha256:"),
        "{}",
        text.stderr
    );
    // And without being asked, nothing is said.
    sandbox.succeed(["pull", &debian("small")]);
}

#[test]
fn what_a_registry_makes_up_cannot_drive_the_terminal() {
    let mut image = Image::of_files(&[("etc/hello", b"hello")]);
    image.layers[0]["mediaType"] = "layer\x1b[2J\r\nlayercache: all is well".into();
    let registry = Registry::of_image(image, |_| None);
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(["cat", "--log-format", "text", &registry.image(), "/etc/hello"]);
    let driving = |c: char| c.is_control() && c != '\n';
    assert!(!outcome.stderr.contains(driving), "{:?}", outcome.stderr);
    let text = sandbox.run(["inspect", &registry.image()]);
    assert!(!text.text().contains(driving) && !text.stderr.contains(driving));
}
