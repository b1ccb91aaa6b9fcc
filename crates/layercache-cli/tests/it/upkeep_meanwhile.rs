//! Everything that an operator does, while workers read.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::image::{Image, noise, tar};
use crate::sandbox::Sandbox;

/// Workers at a time, and how often each of them reads.
const WORKERS: usize = 3;
const READS: usize = 25;

#[test]
fn workers_read_what_is_right_whatever_the_operator_does() {
    let sandbox = Sandbox::in_memory();
    let mut image = Image::of_files(&[("data", &noise(300_000))]);
    image.add_tar(&tar(&[("etc/motd", &noise(40_000))]));
    let name = image.write_layout(&sandbox.path("layout"));
    let other = Image::of_files(&[("other", &noise(100_000))]).write_layout(&sandbox.path("other"));
    let expected = [noise(300_000), noise(40_000)].concat();
    sandbox.succeed(["pull", &name, &other]);
    let commands: &[&[&str]] = &[
        &["cache", "usage", "--json"],
        &["cache", "pin", &name],
        &["cache", "gc", "--max-bytes", "350KB", "--json"],
        &["cache", "verify"],
        &["warm", &name, &other],
        &["cache", "gc", "--keep", &name, "--json"],
        &["cache", "unpin", &name],
        &["cache", "verify", "--quarantine"],
        &["cache", "gc", "--older-than", "0s"],
        &["cache", "list"],
        &["cache", "clear"],
        &["cache", "verify", "--refetch"],
        &["cache", "gc"],
    ];
    let working = AtomicUsize::new(WORKERS);
    let rounds = std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                for _ in 0..READS {
                    let read = sandbox.run(["cat", &name, "/data", "/etc/motd"]);
                    assert_eq!(read.code, Some(0), "{}", read.stderr);
                    assert!(read.stdout == expected, "other bytes");
                }
                working.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let mut rounds = 0;
        while working.load(Ordering::Relaxed) > 0 && rounds < 100 {
            for command in commands {
                let done = sandbox.run(*command);
                assert_eq!(done.code, Some(0), "{command:?}: {}", done.stderr);
            }
            rounds += 1;
        }
        rounds
    });
    assert!(rounds > 1, "nobody was disturbed");
    sandbox.succeed(["cache", "gc"]);
    assert!(sandbox.succeed(["cat", &name, "/data", "/etc/motd"]).stdout == expected);
    assert_eq!(
        sandbox.cached_files().len() % 3,
        0,
        "{:?}",
        sandbox.cached_files()
    );
}
