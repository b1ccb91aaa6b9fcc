//! Two images and a cache directory, before and after a crash.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cache_testkit::crash::{Call, State, Strace};

use crate::image::{Image, noise, tar};
use crate::sandbox::{Outcome, Sandbox};

/// Layers of the first image, the base first.
const LAYERS: [usize; 3] = [400_000, 70_000, 10];
/// The only layer of the second one.
const OTHER: usize = 300_000;

/// What the binary is run on. Its directory is restored to what it was for every run.
pub(super) struct Subject {
    pub(super) sandbox: Sandbox,
    /// Three layers.
    pub(super) image: String,
    /// One more.
    pub(super) other: String,
    before: State,
}

impl Subject {
    /// With an empty cache.
    pub(super) fn new() -> Self {
        let sandbox = Sandbox::in_memory();
        let mut image = Image::default();
        for (number, len) in LAYERS.into_iter().enumerate() {
            image.add_tar(&tar(&[(&format!("data{number}"), &noise(len))]));
        }
        let image = image.write_layout(&sandbox.path("layout"));
        let other = Image::of_files(&[("other", &noise(OTHER))]).write_layout(&sandbox.path("other"));
        Self {
            sandbox,
            image,
            other,
            before: State::default(),
        }
    }

    /// The same, with what is in the cache now as what every run begins with.
    pub(super) fn begun_here(mut self) -> Self {
        self.before = State::of(&self.sandbox.cache_dir());
        self
    }

    /// The arguments that print the image, and what they have to print.
    pub(super) fn cat(&self) -> (Vec<&str>, Vec<u8>) {
        let printed = LAYERS.map(noise).concat();
        (vec!["cat", &self.image, "/data0", "/data1", "/data2"], printed)
    }

    pub(super) fn cat_other(&self) -> (Vec<&str>, Vec<u8>) {
        (vec!["cat", &self.other, "/other"], noise(OTHER))
    }

    /// A file of the cache directory whose name ends so.
    pub(super) fn cached(&self, end: &str) -> Vec<PathBuf> {
        let names = self.sandbox.cached_files().into_iter();
        names
            .filter(|name| name.ends_with(end))
            .map(|name| self.sandbox.cache_dir().join(name))
            .collect()
    }

    /// Runs the binary under strace, in the cache directory as it was before; how it ended, and what it did.
    pub(super) fn run(
        &self,
        arguments: &[&str],
        strace: impl FnOnce(Strace) -> Strace,
    ) -> (Outcome, Vec<Call>) {
        let cache = self.sandbox.cache_dir();
        let _ = std::fs::remove_dir_all(&cache);
        if !self.before.files.is_empty() {
            self.before.write_to(&cache);
        }
        let strace = strace(Strace::new(self.sandbox.path("strace.log")));
        let mut command = self.sandbox.command(arguments);
        // strace counts for each thread.
        command.env("TOKIO_WORKER_THREADS", "1");
        let output = bare(strace.command(&command), &command).output().unwrap();
        let outcome = Outcome::new(&output, &self.sandbox.path("none"));
        (outcome, strace.trace())
    }

    /// The next processes find nothing wrong, print what they should, and leave the files of the layers and no others.
    pub(super) fn check(&self) {
        // It may not have come to that, which commands that look warn of.
        std::fs::create_dir_all(self.sandbox.cache_dir()).unwrap();
        self.sandbox.succeed(["cache", "verify"]);
        self.sandbox.succeed(["cache", "gc"]);
        // Before the layers that it is about are filled again.
        self.assert_only_layers();
        for (arguments, printed) in [self.cat(), self.cat_other()] {
            let outcome = self.sandbox.succeed(&arguments);
            assert!(outcome.stdout == printed, "{arguments:?} prints something else");
        }
        let verified = self.sandbox.succeed(["cache", "verify"]);
        assert_eq!(verified.text().matches("intact").count(), LAYERS.len() + 1);
        self.assert_only_layers();
        assert_eq!(self.sandbox.cached_files().len(), 3 * (LAYERS.len() + 1));
    }

    /// Every file is a layer's, and every layer has its index.
    pub(super) fn assert_only_layers(&self) {
        assert_only_layers(&self.sandbox.cached_files());
    }
}

pub(super) fn assert_only_layers(files: &BTreeSet<String>) {
    for name in files {
        let stem = name.split_once('.').map(|(stem, _)| stem);
        let layer = stem.map(|stem| format!("{stem}.decompressed"));
        let index = stem.map(|stem| format!("{stem}.index"));
        let has = |name: Option<String>| name.is_some_and(|name| files.contains(&name));
        assert!(has(layer) && has(index), "{name} is left over: {files:?}");
    }
}

/// A command in the environment of another one and no other, with nothing to read.
fn bare(mut command: Command, like: &Command) -> Command {
    command.env_clear().stdin(Stdio::null());
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}
