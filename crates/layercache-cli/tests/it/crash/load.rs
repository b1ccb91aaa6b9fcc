//! Random kills while several processes share a directory, its quota and its locks.

use std::process::Stdio;
use std::time::Duration;

use super::subject::{Subject, assert_only_layers};

/// Processes at a time.
const AT_ONCE: usize = 4;
/// Processes in one place, one after the other.
const ROUNDS: usize = 80;
/// What a process takes, about.
const WHOLE: Duration = Duration::from_millis(30);

/// One process after the other, of which every other one is killed at some moment, if it has not ended before: the others
/// must do what they are for. Returns how many were killed.
fn come_and_go(subject: &Subject, seed: u64) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let config = subject.sandbox.path("config.toml");
    let mut killed = 0;
    for _ in 0..ROUNDS {
        let (mut arguments, printed) = match random.usize(..5) {
            0 | 1 => subject.cat(),
            2 => subject.cat_other(),
            3 => (vec!["pull", &subject.image, &subject.other], Vec::new()),
            _ => (vec!["cache", "gc", "--max-bytes", "200KiB"], Vec::new()),
        };
        let is_read = arguments[0] == "cat";
        arguments.extend(["--config", config.to_str().unwrap()]);
        let mut command = subject.sandbox.command(&arguments);
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let is_killed = random.bool();
        if is_killed {
            // No synchronisation: that the moment is any is what this is about. What it prints may fill the pipe until then.
            std::thread::sleep(WHOLE.mul_f64(random.f64()));
            process.kill().unwrap();
        }
        let output = process.wait_with_output().unwrap();
        killed += usize::from(output.status.code().is_none());
        if !is_killed {
            let stderr = String::from_utf8_lossy(&output.stderr);
            // The layers that others read may leave no room within the quota, which a pull says.
            assert!(
                output.status.success() || (arguments[0] == "pull" && stderr.contains("no tier keeps it")),
                "{arguments:?}: {stderr}"
            );
            assert!(
                !is_read || output.stdout == printed,
                "{arguments:?} prints something else"
            );
        }
    }
    killed
}

#[test]
fn whoever_is_killed_the_others_read_what_is_right() {
    let seed: u64 = match std::env::var("LAYERCACHE_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => fastrand::u64(..),
    };
    eprintln!("LAYERCACHE_TEST_SEED={seed}");
    let subject = Subject::new();
    // Room for one image or the other.
    subject.sandbox.write(
        "config.toml",
        "[[tier]]\nkind = \"disk\"\nmax_bytes = \"650KiB\"\n[[tier]]\nkind = \"registry\"",
    );
    let killed: usize = std::thread::scope(|scope| {
        let subject = &subject;
        let places: Vec<_> = (0..AT_ONCE as u64)
            .map(|place| scope.spawn(move || come_and_go(subject, seed.wrapping_add(place))))
            .collect();
        places.into_iter().map(|place| place.join().unwrap()).sum()
    });
    assert!(killed > AT_ONCE, "only {killed} were killed in time");
    // At rest nothing is left over, and the quota is kept.
    let collected = subject.sandbox.succeed(["cache", "gc", "--json"]).json();
    assert!(collected["bytes"].as_u64().unwrap() <= 650 << 10, "{collected}");
    assert_only_layers(&subject.sandbox.cached_files());
    subject.check();
}
