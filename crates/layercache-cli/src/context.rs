//! The context of every command: the stack, the platform, the terminal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use layercache::core::ErrorKind;
use layercache::ops::{self, Event, Progress};
use layercache::registry::{Image, ImageLocation, Platform};
use layercache::{ConfigBuilder, ConfigError, ImageHandle, Kinds, SetBy, Stack};

use super::args::Global;
use super::logging::{self, Mute};
use super::progress::Bars;

pub(crate) struct Context {
    /// Shared with the server of the metrics.
    pub(crate) stack: Arc<Stack>,
    /// The platform that was asked for in so many words.
    platform: Option<Platform>,
    pub(crate) bars: Bars,
}

impl Context {
    /// A command that `only_looks` finds things as they are: it creates no directory, and can do with one that it may only read.
    pub(crate) fn new(global: &Global, only_looks: bool, mute: &Mute) -> Result<Self> {
        let bars = Bars::new(global.progress);
        logging::start(global.log_format, &bars, mute);
        let kinds = Kinds::builtin();
        let builder = configuration(global, &kinds)?;
        let config = builder.build()?;
        let stack = match only_looks {
            true => Stack::assemble_to_look(&config, &kinds),
            false => Stack::assemble(&config, &kinds),
        };
        let stack = stack.map_err(|error| placed(global, &builder, error))?;
        Ok(Self {
            stack: Arc::new(stack),
            platform: global.platform.clone(),
            bars,
        })
    }

    /// Returns the platform that was asked for in so many words.
    pub(crate) fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }

    /// Finds an image and its layers.
    pub(crate) async fn resolve(&self, location: &ImageLocation) -> Result<Image> {
        Ok(ops::resolve(&self.stack, location, self.platform()).await?)
    }

    /// Runs an operation on the stack: draws its progress, and prints with `print` the reports that
    /// it tells. The operation is dropped when nothing can be printed any more.
    pub(crate) async fn run<T>(
        &self,
        print: impl Fn(Event<'_>) -> Result<()> + Send + Sync,
        operation: impl AsyncFnOnce(&Stack, &dyn Progress) -> T,
    ) -> Result<T> {
        self.bars
            .show(print, async |progress| operation(&self.stack, progress).await)
            .await
    }

    /// Resolves the image and opens it: its file tree and its layers.
    pub(crate) async fn open_image(&self, location: &ImageLocation) -> Result<ImageHandle> {
        Ok(ops::open_image(&self.stack, location, self.platform()).await?)
    }
}

/// The configuration file that is to be read.
fn file(global: &Global) -> Option<PathBuf> {
    global.config.clone().or_else(|| variable("LAYERCACHE_CONFIG"))
}

/// What is wrong with a configuration, behind where it stands: in a variable or argument, or else in the file.
pub(super) fn placed(global: &Global, builder: &ConfigBuilder, error: ConfigError) -> anyhow::Error {
    let set_by = match &error {
        ConfigError::Tier { name, key, .. } => key.as_ref().and_then(|key| builder.override_of(name, key)),
        // What the world is like is no mistake of the file.
        ConfigError::Source(error) if error.kind() != ErrorKind::Invalid => {
            return anyhow::Error::new(error.clone());
        }
        _ => None,
    };
    let place = match set_by {
        Some(by) => Some(by.name().to_owned()),
        None => file(global).map(|path| path.display().to_string()),
    };
    let error = anyhow::Error::new(error);
    match place {
        Some(place) => error.context(place),
        None => error,
    }
}

/// What the file, the environment and the arguments say together, each overriding the ones before.
pub(crate) fn configuration(global: &Global, kinds: &Kinds) -> Result<ConfigBuilder> {
    let mut config = match file(global) {
        Some(path) => ConfigBuilder::load(&path).with_context(|| path.display().to_string())?,
        None => ConfigBuilder::default(),
    };
    // That of a tier, which overrides it, says more precisely which directory is meant.
    if let Some(dir) = variable("LAYERCACHE_DIR").filter(|_| global.cache_dir.is_none()) {
        let by = SetBy::Environment("LAYERCACHE_DIR".into());
        config.set_of_only("disk", "dir", text(&dir, "LAYERCACHE_DIR")?, by)?;
    }
    config.set_from_environment(std::env::vars_os(), kinds)?;
    if global.early_reads {
        config.set("early_reads", true, SetBy::Argument("--early-reads".into()))?;
    }
    if let Some(dir) = &global.cache_dir {
        let by = SetBy::Argument("--cache-dir".into());
        config.set_of_only("disk", "dir", text(dir, "--cache-dir")?, by)?;
    }
    if global.plain_http {
        config.set_of_only(
            "registry",
            "plain_http",
            true,
            SetBy::Argument("--plain-http".into()),
        )?;
    }
    Ok(config)
}

/// A path from the environment. An empty one is none, as in shells and by the XDG specification.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

fn text<'a>(path: &'a Path, argument: &str) -> Result<&'a str> {
    path.to_str()
        .with_context(|| format!("{argument}: the path is not valid UTF-8"))
}
