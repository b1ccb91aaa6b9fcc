//! `layercache explain`, and what `pull` tells of each layer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cache_testkit::RedisServer;

use crate::image::{Image, noise};
use crate::registry::Registry;
use crate::remote::share::{REGISTRY, disk, prefix, redis_at, s3};
use crate::sandbox::Sandbox;

/// An image of two layers in a registry that counts how often one of them was asked for.
fn image() -> (Registry, Arc<AtomicU32>) {
    let large = noise(1_000_000);
    let mut image = Image::of_files(&[("etc/motd", b"hello"), ("usr/bin/tool", &large)]);
    image.add_tar(&crate::image::tar(&[("etc/hosts", b"127.0.0.1 localhost")]));
    let digests = [0, 1].map(|layer| image.digest(layer).to_owned());
    let fetches = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&fetches);
    let registry = Registry::of_image(image, move |asked| {
        if digests.iter().any(|digest| digest == asked.name()) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        None
    });
    (registry, fetches)
}

#[test]
fn a_cold_image_is_explained_and_not_fetched() {
    let (registry, fetches) = image();
    let (sandbox, image) = (Sandbox::new(), registry.image());
    let explained = sandbox.succeed(["explain", "--json", &image, "/etc/motd"]).json();
    assert_eq!(explained["image"], image);
    let layers = explained["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for layer in layers {
        assert_eq!(layer["sources"][0]["name"], "disk");
        assert_eq!(layer["sources"][0]["finding"], "absent");
        assert_eq!(layer["sources"][1]["finding"], "not asked");
        assert_eq!(
            (&layer["served_by"], &layer["reading"]),
            (&"registry".into(), &"inflated".into())
        );
        assert_eq!(layer["copies"][0]["tier"], "disk");
    }
    assert_eq!(explained["file"]["unknown_layers"], serde_json::json!([0, 1]));

    let text = sandbox.succeed(["explain", &image, "/etc/motd"]);
    for words in [
        "\n  disk        lacks it\n",
        "\n  registry    would be asked: fetches and inflates ",
        "\n  then        copied to disk before it is read\n",
        "\nfile  not known: ",
    ] {
        assert!(
            text.text().contains(words),
            "{words:?} is missing: {}",
            text.text()
        );
    }
    assert_eq!(
        (fetches.load(Ordering::Relaxed), sandbox.cached_files().len()),
        (0, 0)
    );
    assert_eq!(text.inflates(), 0);
}

#[test]
fn a_warm_image_is_explained_from_the_disk_and_left_as_it_is() {
    let (registry, _) = image();
    let (sandbox, image) = (Sandbox::new(), registry.image());
    sandbox.succeed(["pull", &image]);
    let times = || {
        let files = sandbox.cached_files().into_iter();
        let time = |name: String| {
            let path = sandbox.cache_dir().join(&name);
            (name, std::fs::metadata(path).unwrap().modified().unwrap())
        };
        files.map(time).collect::<Vec<_>>()
    };
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for (name, _) in times() {
        let file = std::fs::File::open(sandbox.cache_dir().join(name)).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    let before = times();
    let explained = sandbox
        .succeed(["explain", "--json", &image, "/usr/bin/tool"])
        .json();
    for layer in explained["layers"].as_array().unwrap() {
        assert_eq!(
            (&layer["served_by"], &layer["reading"]),
            (&"disk".into(), &"in place".into())
        );
        assert_eq!(layer["sources"].as_array().unwrap().len(), 1);
    }
    let file = &explained["file"];
    assert_eq!(
        (&file["layer"], &file["bytes"], &file["ratio"]),
        (&0.into(), &1_000_000.into(), &1.0.into())
    );
    assert_eq!(file["moved_bytes"], 1_000_000);
    let text = sandbox.succeed(["explain", &image, "/usr/bin/tool"]);
    let line = "\n  disk        moves 1000000 bytes for 1000000 (1.0 times as many)\n";
    assert!(text.text().ends_with(line), "{}", text.text());
    assert_eq!(times(), before);

    // The bytes are where they are said to be.
    let offset = file["offset"].as_u64().unwrap().to_string();
    let read = sandbox.succeed(["read", &image, "0", "--offset", &offset, "--length", "1000000"]);
    assert!(read.stdout == noise(1_000_000));
    let line = sandbox.fail(["explain", &image, "/nothing"]);
    assert!(
        line.contains("/nothing in ") && line.contains("no such file"),
        "{line}"
    );
}

#[test]
fn a_tier_that_is_passed_over_says_why() {
    let (registry, _) = image();
    let sandbox = Sandbox::new();
    let redis = "[[tier]]\nkind = \"redis\"\nurl = \"redis://:hunter2@127.0.0.1:1\"\ntimeout = \"500ms\"\n";
    let config = sandbox.write("config.toml", disk(&sandbox, "disk") + redis + REGISTRY);
    let arguments = [
        "--config",
        config.to_str().unwrap(),
        "explain",
        "--json",
        &registry.image(),
    ];
    // Without a warning besides: it would say the same.
    let outcome = sandbox.succeed(arguments);
    let explained = outcome.json();
    let passed_over = &explained["layers"][0]["sources"][1];
    assert_eq!(
        (&passed_over["name"], &passed_over["finding"]),
        (&"redis".into(), &"failed".into())
    );
    let error = passed_over["error"].as_str().unwrap();
    assert!(error.starts_with("redis: open sha256:"), "{error}");
    assert_eq!(error.matches("Connection refused").count(), 1, "{error}");
    assert!(!outcome.text().contains("hunter2"));
    // Only the disk: what is down gets no copy.
    let copies = explained["layers"][0]["copies"].as_array().unwrap();
    assert_eq!((copies.len(), &copies[0]["tier"]), (1, &"disk".into()));
}

#[test]
fn pull_tells_where_each_layer_came_from() {
    let (registry, _) = image();
    let (sandbox, image) = (Sandbox::new(), registry.image());
    let inspected = sandbox.succeed(["inspect", "--json", &image]).json();
    let sizes = |digest: &str| {
        let layers = inspected["layers"].as_array().unwrap();
        let layer = layers.iter().find(|layer| layer["digest"] == digest).unwrap();
        layer["size"].as_u64().unwrap()
    };
    let cold = sandbox.succeed(["pull", "--json", &image]).json_lines();
    assert_eq!(cold.len(), 2);
    for layer in &cold {
        let moved = sizes(layer["digest"].as_str().unwrap());
        assert_eq!(
            (&layer["source"], &layer["tier"]),
            (&"registry".into(), &"disk".into())
        );
        assert_eq!(layer["moved_bytes"], moved);
        let len = layer["bytes"].as_u64().unwrap();
        let ratio = layer["ratio"].as_f64().unwrap() * moved as f64;
        assert_eq!(ratio.round(), len as f64);
        assert!(layer["seconds"].as_f64().unwrap() > 0.0);
    }
    for layer in sandbox.succeed(["pull", "--json", &image]).json_lines() {
        assert_eq!(
            (&layer["source"], &layer["tier"]),
            (&"disk".into(), &"disk".into())
        );
        assert_eq!(
            (&layer["moved_bytes"], &layer["ratio"]),
            (&0.into(), &serde_json::Value::Null)
        );
    }
    let text = sandbox.succeed(["pull", &image]);
    let lines: Vec<_> = text.text().lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines.iter().all(|line| line.contains("  disk  already there, ")),
        "{lines:?}"
    );
}

#[test]
fn pull_tells_of_a_layer_that_it_copies_between_shared_tiers() {
    let (registry, _) = image();
    let (sandbox, image) = (Sandbox::new(), registry.image());
    let far = s3(&prefix());
    let with = |config: String, arguments: &[&str]| {
        let config = sandbox.write("config.toml", config + REGISTRY);
        let config = ["--config", config.to_str().unwrap()];
        sandbox.succeed(config.iter().chain(arguments))
    };
    with(far.clone(), &["pull", &image]);
    for write_back in ["background", "inline"] {
        let server = RedisServer::start(&[]);
        let near = redis_at(server.address()) + &format!("write_back = {write_back:?}\n");
        let both = near + &far;
        let explained = with(both.clone(), &["explain", "--json", &image]).json();
        for layer in explained["layers"].as_array().unwrap() {
            assert_eq!(
                (&layer["served_by"], &layer["reading"]),
                (&"s3".into(), &"in place".into())
            );
        }
        for layer in with(both.clone(), &["pull", "--json", &image]).json_lines() {
            assert_eq!(
                (&layer["source"], &layer["tier"], &layer["copied_to"]),
                (&"s3".into(), &"s3".into(), &serde_json::json!(["redis"]))
            );
            assert_eq!(layer["moved_bytes"], layer["bytes"]);
        }
        for layer in with(both, &["pull", "--json", &image]).json_lines() {
            assert_eq!(
                (&layer["source"], &layer["moved_bytes"], &layer["copied_to"]),
                (&"redis".into(), &0.into(), &serde_json::json!([]))
            );
        }
    }
    let server = RedisServer::start(&[]);
    let pulled = with(redis_at(server.address()) + &far, &["pull", &image]);
    let lines: Vec<_> = pulled.text().lines().collect();
    assert!(
        lines
            .iter()
            .all(|line| line.contains("  s3  ") && line.ends_with(" s, then copied to redis")),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 2);
}

/// The configuration of a disk that takes the second layer of [`image`] and not the first.
fn small_disk(sandbox: &Sandbox) -> String {
    let config = "[[tier]]\nkind = \"disk\"\nmax_bytes = 5000\n[[tier]]\nkind = \"registry\"";
    let config = sandbox.write("config.toml", config);
    config.to_str().unwrap().to_owned()
}

#[test]
fn a_layer_that_nothing_keeps_is_not_fetched_again_and_the_reason_is_told() {
    let (registry, fetches) = image();
    let sandbox = Sandbox::new();
    let config = small_disk(&sandbox);
    let outcome = sandbox.run(["--config", &config, "pull", &registry.image()]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let line = outcome.stderr.lines().last().unwrap();
    for words in [" is not brought: no tier keeps it: disk: ", "max_bytes"] {
        assert!(line.contains(words), "{words:?} is missing: {line}");
    }
    // Each once, and the one that does not fit for whoever would read it nevertheless.
    let asked = fetches.load(Ordering::Relaxed);
    assert!(asked <= 3, "{asked} requests for two layers");
    assert_eq!(
        outcome.stderr.matches("tier not filled").count(),
        1,
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_disk_that_does_not_take_a_layer_is_no_place_of_a_copy() {
    let (registry, _) = image();
    let sandbox = Sandbox::new();
    let config = small_disk(&sandbox);
    let arguments = ["--config", &config, "explain", "--json", &registry.image()];
    let explained = sandbox.succeed(arguments).json();
    let large = &explained["layers"][0];
    assert_eq!(large["sources"][0]["finding"], "refused");
    let error = large["sources"][0]["error"].as_str().unwrap();
    assert!(error.contains("`max_bytes` (5000)"), "{error}");
    assert_eq!(large["copies"], serde_json::json!([]));
    assert_eq!(explained["layers"][1]["copies"][0]["tier"], "disk");
}
