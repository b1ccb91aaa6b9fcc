//! The library: configurations, kinds and stacks put together by an application.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use layercache::core::{Digest, ErrorKind, LayerReaderExt, MemoryTier};
use layercache::registry::Platform;
use layercache::{Config, ConfigError, Kinds, Part, Stack};

use crate::image::{Image, noise};
use crate::registry::{Registry, with};
use crate::sandbox::Sandbox;

const LAYER_LEN: usize = 3_000_000;

/// The kinds of this build, and `memory`, which keeps up to `max_bytes` bytes.
fn kinds() -> Kinds {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        max_bytes: u64,
    }
    let mut kinds = Kinds::builtin();
    kinds.register("memory", |tier, _shared| {
        let Settings { max_bytes } = tier.settings()?;
        Ok(Part::tier(Arc::new(MemoryTier::new(tier.name(), max_bytes))))
    });
    kinds
}

fn assemble(toml: &str) -> Result<Stack, ConfigError> {
    Stack::assemble(&Config::parse(toml)?, &kinds())
}

fn refusal(toml: &str) -> ConfigError {
    assemble(toml).expect_err(toml)
}

const REGISTRY: &str = "[[tier]]\nkind = \"registry\"\n";

fn memory(name: &str, max_bytes: usize) -> String {
    format!("[[tier]]\nkind = \"memory\"\nname = {name:?}\nmax_bytes = {max_bytes}\n")
}

fn disk(sandbox: &Sandbox, name: &str) -> String {
    format!(
        "[[tier]]\nkind = \"disk\"\nname = {name:?}\ndir = {:?}\n",
        sandbox.path(name)
    )
}

/// The tests do their own waiting: a [`Registry`] brings a runtime, which cannot be dropped inside of another.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(test);
}

#[test]
fn any_order_of_any_sources_gives_the_same_bytes() {
    let mut image = Image::default();
    let layer = noise(LAYER_LEN);
    image.add_tar(&layer);
    let registry = Registry::of_image(image, |_| None);
    let location = registry.image().parse().unwrap();
    let sandbox = Sandbox::new();
    let large = LAYER_LEN * 2;
    let orders = [
        REGISTRY.to_owned(),
        memory("m", large) + REGISTRY,
        disk(&sandbox, "d1") + REGISTRY,
        // What stands behind the registry is never needed.
        REGISTRY.to_owned() + &disk(&sandbox, "d2"),
        memory("m", large) + &disk(&sandbox, "d3") + REGISTRY,
        disk(&sandbox, "d4") + &memory("m", large) + REGISTRY,
        memory("near", large) + &memory("far", large) + REGISTRY,
        // Too small to keep it: passed over, and never in the way.
        memory("small", LAYER_LEN / 2) + REGISTRY,
        memory("small", LAYER_LEN / 2) + &disk(&sandbox, "d5") + REGISTRY,
        disk(&sandbox, "d6") + &disk(&sandbox, "d7") + REGISTRY,
    ];
    let ranges = [
        (0, LAYER_LEN),
        (1_234_567, 100_000),
        (LAYER_LEN - 10, 100),
        (LAYER_LEN + 5, 7),
    ];
    run(async {
        for order in orders {
            for early_reads in [false, true] {
                let toml = format!("early_reads = {early_reads}\n{order}");
                let stack = assemble(&toml).unwrap();
                let image = stack.resolve(&location, &Platform::host()).await.unwrap();
                for (offset, len) in ranges {
                    let reader = stack.open(&image.layers[0]).await.unwrap();
                    let bytes = reader.read_bytes(offset as u64, len).await.unwrap();
                    let expected = &layer[offset.min(LAYER_LEN)..(offset + len).min(LAYER_LEN)];
                    assert!(bytes == expected, "{len} bytes at {offset} through {toml}");
                }
                stack.cache().close().await;
            }
        }
    });
}

#[test]
fn every_tier_in_front_is_filled_and_reported() {
    let mut image = Image::default();
    image.add_tar(&noise(LAYER_LEN));
    let registry = Registry::of_image(image, |_| None);
    let location = registry.image().parse().unwrap();
    let sandbox = Sandbox::new();
    let toml = disk(&sandbox, "disk") + &memory("remote", LAYER_LEN * 2) + REGISTRY;
    run(async {
        let stack = assemble(&toml).unwrap();
        let image = stack.resolve(&location, &Platform::host()).await.unwrap();
        for _ in 0..3 {
            let reader = stack.open(&image.layers[0]).await.unwrap();
            reader.read_bytes(0, 1).await.unwrap();
        }
        // Waits for what is written in the background.
        stack.cache().close().await;
        let sources = stack.sources();
        let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["disk", "remote", "registry"]);
        let filled: Vec<_> = sources.iter().map(|source| source.counts.filled_bytes).collect();
        assert_eq!(filled, [LAYER_LEN as u64, LAYER_LEN as u64, 0]);
        assert_eq!(sources[0].counts.hits, 2);
        assert_eq!(stack.inflate_stats().inflates(), 1);
        let (requests, bytes) = stack.origin_cost();
        assert!((3..10).contains(&requests) && bytes > 0);
    });
}

#[test]
fn an_application_brings_kinds_of_its_own() {
    let made = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&made);
    let mut kinds = Kinds::builtin();
    // A kind that is there may be replaced.
    for kind in ["shelf", "disk"] {
        let count = Arc::clone(&count);
        kinds.register(kind, move |tier, _shared| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Part::tier(Arc::new(MemoryTier::new(tier.name(), 1 << 20))))
        });
    }
    let config = Config::parse("[[tier]]\nkind = \"shelf\"\n[[tier]]\nkind = \"disk\"").unwrap();
    let stack = Stack::assemble(&config, &kinds).unwrap();
    assert_eq!(made.load(Ordering::Relaxed), 2);
    let names: Vec<_> = stack.sources().into_iter().map(|source| source.name).collect();
    assert_eq!(names, ["shelf", "disk"]);
    assert!(stack.disks().is_empty());
}

#[test]
fn a_configuration_that_cannot_be_assembled_says_why() {
    let sandbox = Sandbox::new();
    let twice = refusal(&(memory("m", 1) + &memory("m", 2)));
    assert!(
        matches!(&twice, ConfigError::DuplicateName(name) if name == "m"),
        "{twice:?}"
    );
    assert!(twice.to_string().contains("another `name`"), "{twice}");
    // The origins of layouts and archives are in every stack, and their names are taken.
    assert!(matches!(
        refusal(&memory("oci", 1)),
        ConfigError::DuplicateName(_)
    ));

    let unknown = refusal("[[tier]]\nkind = \"tape\"");
    let text = unknown.to_string();
    assert!(
        matches!(unknown, ConfigError::Kind { .. }) && text.contains("`tape`") && text.contains("`memory`"),
        "{text}"
    );

    for (toml, words) in [
        (memory("m", 1) + "size = 2", "size"),
        ("[[tier]]\nkind = \"memory\"".to_owned(), "max_bytes"),
        (disk(&sandbox, "d") + "dirs = 1", "dirs"),
    ] {
        let error = refusal(&toml);
        assert!(
            matches!(error, ConfigError::Tier { .. }) && error.to_string().contains(words),
            "{error}"
        );
    }
    let unusable = refusal("[[tier]]\nkind = \"disk\"\ndir = \"/dev/null\"");
    assert!(matches!(unusable, ConfigError::Source(_)), "{unusable:?}");
}

#[test]
fn a_configuration_is_the_same_when_it_was_written_and_read() {
    let sandbox = Sandbox::new();
    let toml = format!(
        "early_reads = true\nmax_layer_bytes = 123456789\n{}max_bytes = \"1.5GiB\"\n{REGISTRY}plain_http = true\n",
        disk(&sandbox, "fast")
    );
    let config = Config::parse(&toml).unwrap();
    let written = config.to_toml().unwrap();
    let again = Config::parse(&written).unwrap();
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
    assert_eq!(again.to_toml().unwrap(), written);
    assert_eq!(
        (again.max_layer_bytes, again.tiers[0].name()),
        (123_456_789, "fast")
    );
}

#[test]
fn a_layer_that_nobody_has_is_not_found() {
    run(async {
        let stack = assemble(&memory("m", 1 << 20)).unwrap();
        let layer = layercache::core::LayerDescriptor::new(Digest::sha256_of(b"nothing"))
            .with_repository("registry.example/team/app");
        let error = stack.open(&layer).await.unwrap_err();
        assert_eq!(error.kind(), layercache::core::ErrorKind::NotFound, "{error}");
        // Without an origin for it, no image can be found either.
        let error = stack
            .resolve(&"debian".parse().unwrap(), &Platform::host())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("`registry`"), "{error}");
    });
}

/// Regression: with several registries the last one had the last word, and an outage of the first became an absence.
#[test]
fn an_image_is_absent_only_when_every_registry_says_so() {
    let two =
        "[[tier]]\nkind = \"registry\"\nname = \"first\"\n[[tier]]\nkind = \"registry\"\nname = \"second\"\n";
    let attempts = layercache::registry::RegistryConfig::default().max_retries as usize + 1;
    for (status, times, kind) in [
        (503, attempts, ErrorKind::Unavailable),
        (403, 1, ErrorKind::Permanent),
        (404, 1, ErrorKind::NotFound),
    ] {
        let registry = Registry::start(move |asked| match asked.before < times {
            true => with(status, &[("retry-after", "0")], ""),
            false => with(404, &[], ""),
        });
        let location = registry.image().parse().unwrap();
        run(async {
            let stack = assemble(two).unwrap();
            let error = stack.resolve(&location, &Platform::host()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
        });
    }
}
