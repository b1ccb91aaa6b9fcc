//! A layer is inflated once, however many readers there are, in one process and on one host.

use std::process::{Child, Stdio};

use futures_util::future::try_join_all;
use layercache::core::{Digest, LayerReaderExt};
use layercache::registry::Platform;
use layercache::{Config, Kinds, Stack};

use crate::environment::debian;
use crate::sandbox::{Outcome, Sandbox, digest_of};

/// The diff IDs of an image's layers.
fn diff_ids(sandbox: &Sandbox, image: &str) -> Vec<Digest> {
    let inspected = sandbox.succeed(["inspect", "--json", image]).json();
    let layers = inspected["layers"].as_array().unwrap();
    layers
        .iter()
        .map(|layer| layer["diff_id"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_readers_of_one_cold_layer_inflate_it_once() {
    let sandbox = Sandbox::new();
    let toml = format!(
        "[[tier]]\nkind = \"disk\"\ndir = {:?}\n[[tier]]\nkind = \"registry\"",
        sandbox.cache_dir()
    );
    let config = Config::parse(&toml).unwrap();
    let stack = Stack::assemble(&config, &Kinds::builtin()).unwrap();
    let location = debian("small").parse().unwrap();
    let image = stack.resolve(&location, &Platform::host()).await.unwrap();
    let layer = &image.layers[0];

    let reads = try_join_all((0..50u64).map(|number| {
        let stack = &stack;
        async move {
            let reader = stack.open(layer).await?;
            let bytes = reader.read_bytes(number * 3_000_000, 100_000).await?;
            Ok::<_, layercache::core::Error>((number, bytes))
        }
    }));
    let reads = reads.await.unwrap();
    assert_eq!(stack.inflate_stats().inflates(), 1);

    let whole = std::fs::read(
        sandbox
            .cache_dir()
            .join(format!("layer-{}.decompressed", layer.digest.hex())),
    )
    .unwrap();
    assert_eq!(Some(Digest::sha256_of(&whole)), layer.diff_id);
    for (number, bytes) in reads {
        let start = usize::try_from(number * 3_000_000).unwrap();
        assert_eq!(bytes, whole[start..start + 100_000], "read {number}");
    }
    stack.cache().close().await;
}

#[test]
fn eight_processes_on_a_cold_directory_inflate_each_layer_once() {
    let sandbox = Sandbox::new();
    let image = debian("gzip");
    let diff_ids = {
        // In another home: asking what the layers are leaves no trace in the one that is looked at.
        let other = Sandbox::new();
        diff_ids(&other, &image)
    };

    // Each layer is read by two processes, and two more pull all of them.
    let mut started = Vec::new();
    for number in 0..8 {
        let stats = sandbox.stats_file();
        let layer = number % 4;
        let mut command = match diff_ids.get(layer) {
            Some(_) => sandbox.command(["read", &image, &layer.to_string()]),
            None => sandbox.command(["pull", &image]),
        };
        command.arg("--stats").arg(&stats);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child: Child = command.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let hashing = std::thread::spawn(move || digest_of(&mut stdout));
        started.push((child, hashing, stats, diff_ids.get(layer)));
    }
    let mut inflates = 0;
    for (child, hashing, stats, diff_id) in started {
        let outcome = Outcome::new(&child.wait_with_output().unwrap(), &stats).succeeded();
        inflates += outcome.inflates();
        let (digest, _) = hashing.join().unwrap();
        // What a pull prints is not the layer.
        assert!(diff_id.is_none_or(|diff_id| *diff_id == digest));
    }
    assert_eq!(inflates, diff_ids.len() as u64);
}

#[test]
fn ranges_of_a_layer_are_those_of_the_whole() {
    let sandbox = Sandbox::new();
    let image = debian("small");
    let whole = sandbox.succeed(["read", &image, "0"]).stdout;
    assert_eq!(Digest::sha256_of(&whole), diff_ids(&sandbox, &image)[0]);

    let len = whole.len();
    let ranges = [
        (0, 1),
        (511, 2),
        (524_287, 524_290),
        (len / 2, 1_000_000),
        (len - 1, 1),
        (len - 1, 1000),
        (len, 1),
        (len + 1_000_000, 10),
        (7, 0),
        (1, usize::MAX),
    ];
    for (offset, length) in ranges {
        let expected = &whole[offset.min(len)..offset.saturating_add(length).min(len)];
        let (offset, length) = (offset.to_string(), length.to_string());
        let range = ["read", &image, "0", "--offset", &offset, "--length", &length];
        let printed = sandbox.succeed(range);
        assert!(printed.stdout == expected, "{length} bytes at {offset}");
        assert_eq!(printed.inflates(), 0);
    }
    let rest = sandbox.succeed(["read", &image, "0", "--offset", "100000000"]);
    assert!(rest.stdout == whole[100_000_000..]);
}

#[test]
fn early_reads_are_the_same_bytes() {
    let image = debian("small");
    let late = Sandbox::new();
    let whole = late.succeed(["read", &image, "0"]).stdout;
    let early = Sandbox::new();
    let range = ["--offset", "160000000", "--length", "5000000"];
    let cold = early.succeed(["read", "--early-reads", &image, "0"].iter().chain(&range));
    assert!(cold.stdout == whole[160_000_000..165_000_000]);
    assert_eq!(cold.inflates(), 1);
    let warm = early.succeed(["read", "--early-reads", &image, "0"]);
    assert!(warm.stdout == whole);
    assert_eq!(warm.inflates(), 0);

    let other = Sandbox::new();
    let cold = other.succeed(["read", "--early-reads", &image, "0"]);
    assert!(cold.stdout == whole);
}
