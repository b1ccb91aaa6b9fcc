//! `kill -9` at any instant: the next run serves the right bytes, and nothing is left of the one before.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use layercache::core::Digest;

use crate::environment::debian;
use crate::sandbox::{Sandbox, digests_of_stdout};

const KILLS: u32 = 50;

/// The files of the committed layers, and nothing else.
fn assert_no_stray_file(sandbox: &Sandbox, layers: &[&str]) {
    let expected: BTreeSet<_> = layers
        .iter()
        .flat_map(|digest| {
            let hex = digest.strip_prefix("sha256:").unwrap();
            ["decompressed", "index", "tree"].map(|kind| format!("layer-{hex}.{kind}"))
        })
        .collect();
    let found = sandbox.cached_files();
    assert!(found.is_subset(&expected), "{found:?}");
    for name in expected.iter().filter(|name| !name.ends_with(".tree")) {
        assert!(found.contains(name), "{name} is missing: {found:?}");
    }
}

#[test]
fn fifty_kills_at_random_moments_leave_nothing_wrong_and_nothing_behind() {
    let seed: u64 = match std::env::var("LAYERCACHE_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => fastrand::u64(..),
    };
    eprintln!("LAYERCACHE_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);

    let image = debian("small");
    let sandbox = Sandbox::new();
    let start = Instant::now();
    sandbox.succeed(["pull", &image]);
    let whole_pull = start.elapsed();
    let inspected = sandbox.succeed(["inspect", "--json", &image]).json();
    let layer = &inspected["layers"][0];
    let (digest, diff_id) = (
        layer["digest"].as_str().unwrap(),
        layer["diff_id"].as_str().unwrap(),
    );
    let diff_id: Digest = diff_id.parse().unwrap();
    let len = std::fs::metadata(
        sandbox
            .cache_dir()
            .join(format!("layer-{}.decompressed", &digest[7..])),
    )
    .unwrap()
    .len();

    let mut killed = 0;
    for number in 0..KILLS {
        sandbox.succeed(["cache", "clear"]);
        // `ls` also writes the layer's tree.
        let commands = [vec!["pull", &image], vec!["ls", &image, "/etc"]];
        let command = &commands[number as usize % commands.len()];
        let mut pull = sandbox.command(command).stdout(Stdio::null()).spawn().unwrap();
        // The one place where a test waits: the moment of the kill is what it is about.
        let delay = Duration::from_secs_f64(random.f64() * whole_pull.as_secs_f64());
        std::thread::sleep(delay);
        pull.kill().unwrap();
        killed += u32::from(pull.wait().unwrap().code().is_none());

        let read = sandbox.command(["read", &image, "0"]);
        assert_eq!(
            digests_of_stdout(read, &[len]),
            [diff_id],
            "kill {number} after {delay:?}"
        );
        assert_no_stray_file(&sandbox, &[digest]);
    }
    // The random moments lie within the time of a whole pull: most find it at work.
    assert!(killed > KILLS / 4, "only {killed} processes were killed");

    sandbox.succeed(["cache", "gc"]);
    assert_no_stray_file(&sandbox, &[digest]);
    let verified = sandbox.succeed(["cache", "verify", "--json"]).json();
    assert_eq!(verified["outcome"], "intact");
}
