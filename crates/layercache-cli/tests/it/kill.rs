//! The end of a process at any instant: the next one serves the right bytes, and nothing is left of the one before.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use layercache::core::Digest;

use crate::environment::debian;
use crate::image::{Image, noise};
use crate::registry::{Registry, stall_after};
use crate::sandbox::{Sandbox, digests_of_stdout};

/// What is killed while it fills the cache with one layer.
struct Victim {
    sandbox: Sandbox,
    arguments: Vec<String>,
    image: String,
    layer: &'static str,
    digest: Digest,
    diff_id: Digest,
    len: u64,
    /// How long it takes when nobody kills it.
    whole: Duration,
}

impl Victim {
    /// Runs the command once to its end, to learn what there is to expect.
    fn new(arguments: &[&str], image: &str, layer: &'static str) -> Self {
        let sandbox = Sandbox::new();
        let start = Instant::now();
        let whole = sandbox.succeed(arguments);
        let took = start.elapsed();
        let inspected = sandbox.succeed(["inspect", "--json", image]).json();
        let number: usize = layer.parse().unwrap();
        let digest_of = |key: &str| {
            inspected["layers"][number][key]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        };
        Self {
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            image: image.to_owned(),
            layer,
            digest: digest_of("digest"),
            diff_id: digest_of("diff_id"),
            len: whole.stats["tiers"]["disk"]["filled_bytes"].as_u64().unwrap(),
            whole: took,
            sandbox,
        }
    }

    fn start(&self) -> Child {
        let mut command = self.sandbox.command(&self.arguments);
        command.stdout(Stdio::null()).spawn().unwrap()
    }

    /// The next process reads what it should, and its end finds the files of the layer and no other.
    fn assert_survived(&self, after: Duration) {
        let read = self.sandbox.command(["read", &self.image, self.layer]);
        let printed = digests_of_stdout(read, &[self.len]);
        assert_eq!(printed, [self.diff_id], "after {after:?}");
        let file = |kind: &str| format!("layer-{}.{kind}", self.digest.hex());
        let mut found = self.sandbox.cached_files();
        found.remove(&file("tree"));
        let expected = BTreeSet::from([file("decompressed"), file("index")]);
        assert_eq!(found, expected, "after {after:?}");
    }

    fn kill_at_random_moments(&self, kills: u32) {
        let seed: u64 = match std::env::var("LAYERCACHE_TEST_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => fastrand::u64(..),
        };
        eprintln!("LAYERCACHE_TEST_SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut killed, mut attempts) = (0, 0);
        while killed < kills {
            attempts += 1;
            assert!(
                attempts <= 10 * kills,
                "only {killed} of {attempts} were killed in time"
            );
            self.sandbox.succeed(["cache", "clear"]);
            let mut process = self.start();
            // No synchronisation: that the moment is any is what this is about.
            let after = self.whole.mul_f64(random.f64());
            std::thread::sleep(after);
            process.kill().unwrap();
            // Those that had ended before do not count.
            killed += u32::from(process.wait().unwrap().code().is_none());
            self.assert_survived(after);
        }
        self.sandbox.succeed(["cache", "gc"]);
        self.assert_survived(Duration::MAX);
        let verified = self.sandbox.succeed(["cache", "verify", "--json"]).json();
        assert_eq!(verified["outcome"], "intact");
    }
}

#[test]
fn forty_kills_while_a_layer_is_read() {
    let image = debian("gzip");
    Victim::new(&["read", &image, "1"], &image, "1").kill_at_random_moments(40);
}

#[test]
fn ten_kills_while_a_layer_is_made_a_tree() {
    let image = debian("small");
    Victim::new(&["ls", &image, "/etc"], &image, "0").kill_at_random_moments(10);
}

#[test]
fn a_signal_in_the_middle_of_a_blob_leaves_nothing() {
    for (signal, code, word) in [("INT", 130, "interrupted"), ("TERM", 143, "terminated")] {
        let image = Image::of_files(&[("etc/hello", b"hello"), ("data", &noise(2_000_000))]);
        let digest = image.digest(0).to_owned();
        let blob = image.blobs[&digest].clone();
        let (asked, is_asked) = mpsc::channel();
        let registry = Registry::of_image(image, move |request| {
            (request.name() == digest && request.before == 0).then(|| {
                asked.send(()).unwrap();
                stall_after(&blob, 1_500_000)
            })
        });
        let sandbox = Sandbox::new();
        let pull = sandbox
            .command(["pull", "--stats", "stats.json", &registry.image()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        is_asked.recv_timeout(Duration::from_secs(60)).unwrap();
        // What was asked for has to arrive before it is inflated.
        let deadline = Instant::now() + Duration::from_secs(60);
        while !has_written_to(&sandbox.cache_dir(), pull.id()) {
            assert!(Instant::now() < deadline, "nothing is ever written");
            std::thread::yield_now();
        }
        let kill = Command::new("kill")
            .args(["-s", signal, &pull.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
        let output = pull.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            format!("layercache: {word}\n")
        );
        assert_eq!(sandbox.cached_files().len(), 0);
        // What it has cost until then is told all the same.
        let stats = std::fs::read(sandbox.path("stats.json")).unwrap();
        let stats: serde_json::Value = serde_json::from_slice(&stats).unwrap();
        assert_eq!(
            (&stats["inflates"], stats["tiers"].is_object()),
            (&1.into(), true)
        );
        let printed = sandbox.succeed(["cat", &registry.image(), "/etc/hello"]);
        assert_eq!(printed.text(), "hello");
        assert_eq!(sandbox.cached_files().len(), 3);
    }
}

/// Whether the process has a file open in the directory that holds something, other than a lock.
fn has_written_to(dir: &Path, pid: u32) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    descriptors.flatten().any(|descriptor| {
        let is_ours = std::fs::read_link(descriptor.path())
            .is_ok_and(|file| file.starts_with(dir) && !file.starts_with(dir.join("lock")));
        let held = std::fs::metadata(descriptor.path());
        is_ours && held.is_ok_and(|held| held.is_file() && held.len() > 0)
    })
}
