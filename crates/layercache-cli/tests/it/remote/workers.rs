//! Many workers that start one image at once.

use std::process::Stdio;

use cache_testkit::RedisServer;

use super::relay::Relay;
use super::share::{REGISTRY, SmallImage, disk, prefix, redis, s3};
use crate::environment::open_registry;
use crate::sandbox::{Outcome, Sandbox};

const WORKERS: usize = 16;

/// Starts workers with empty disks of their own, all at once, and returns how many inflates they needed together.
fn pull_with_all(image: &str, shared: &str) -> u64 {
    let started: Vec<_> = (0..WORKERS)
        .map(|_| {
            let sandbox = Sandbox::new();
            let config = sandbox.write("config.toml", disk(&sandbox, "disk") + shared + REGISTRY);
            let stats = sandbox.stats_file();
            let mut command = sandbox.command(["pull", image, "--config", config.to_str().unwrap()]);
            command.arg("--stats").arg(&stats);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            (command.spawn().unwrap(), stats, sandbox)
        })
        .collect();
    let outcomes = started.into_iter().map(|(child, stats, _sandbox)| {
        let outcome = Outcome::new(&child.wait_with_output().unwrap(), &stats);
        // What could not be shared is told as a warning.
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.inflates()
    });
    outcomes.sum()
}

#[test]
fn each_layer_is_fetched_from_the_registry_once() {
    let image = SmallImage::new();
    let server = RedisServer::start(&[]);
    let inflates = pull_with_all(&image.registry.image(), &redis(&server.url()));
    assert_eq!(image.fetches(), [1, 1, 1]);
    assert_eq!(inflates, 3);
}

#[test]
fn a_real_layer_is_fetched_from_the_registry_once() {
    let relay = Relay::start(&open_registry());
    let image = relay.debian("small");
    let inspected = Sandbox::new().succeed(["inspect", "--json", &image]).json();
    let layer = inspected["layers"][0]["digest"].as_str().unwrap().to_owned();
    let server = RedisServer::start(&[]);
    let inflates = pull_with_all(&image, &redis(&server.url()));
    assert_eq!((relay.fetches(&layer), inflates), (1, 1));
}

/// Redis holds the leases, but not the layers: whoever was waited for says so, and the others fetch for themselves.
#[test]
fn layers_that_are_too_long_to_be_shared_hold_nobody_up() {
    let image = SmallImage::new();
    let server = RedisServer::start(&[]);
    let redis = redis(&server.url()) + "max_layer_bytes = \"2MiB\"\n";
    pull_with_all(&image.registry.image(), &redis);
    let mut fetches = image.fetches();
    fetches.sort_unstable();
    // The two that fit, and the one that does not.
    assert_eq!(fetches[..2], [1, 1]);
    assert!(fetches[2] > 1 && fetches[2] as usize <= WORKERS, "{fetches:?}");
}

/// S3 has no leases: each worker may fetch for itself, and whatever they publish over each other is right.
#[test]
fn without_leases_every_worker_gets_the_image_all_the_same() {
    let image = SmallImage::new();
    let s3 = s3(&prefix());
    pull_with_all(&image.registry.image(), &s3);
    let published = image.fetches();
    assert!(
        published
            .iter()
            .all(|&fetches| (1..=WORKERS as u32).contains(&fetches))
    );
    assert_eq!(pull_with_all(&image.registry.image(), &s3), 0);
    assert_eq!(image.fetches(), published);
}
