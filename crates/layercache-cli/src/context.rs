//! What every command needs: the stack, the platform, the terminal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use layercache::core::ErrorKind;
use layercache::registry::{Image, ImageLocation, Platform};
use layercache::tree::ImageTree;
use layercache::{ConfigBuilder, ConfigError, Kinds, SetBy, Stack};

use super::args::Global;
use super::logging::{self, Mute};
use super::progress::Bars;

pub(crate) struct Context {
    /// Shared with the server of the metrics.
    pub(crate) stack: Arc<Stack>,
    /// Asked for in so many words.
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

    /// The platform that was asked for in so many words.
    pub(crate) fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }

    pub(crate) async fn resolve(&self, location: &ImageLocation) -> Result<Image> {
        let wanted = self.platform.clone().unwrap_or_else(Platform::host);
        let image = self.stack.resolve(location, &wanted).await;
        let image = image.with_context(|| location.to_string())?;
        // An image without an index is for what it is for. Reading it is no mistake, unless another was asked for.
        let found = &image.platform;
        if self.platform.is_some() && !may_be_for(&wanted, found) {
            bail!("{location}: the image is for {found}, not for {wanted}");
        }
        Ok(image)
    }

    /// The image and its file tree.
    pub(crate) async fn resolve_tree(&self, location: &ImageLocation) -> Result<(Image, ImageTree)> {
        let image = self.resolve(location).await?;
        let tree = self.stack.image_tree(&image.layers).await;
        let tree = tree.with_context(|| location.to_string())?;
        Ok((image, tree))
    }
}

/// Whether an image that says it is for `found` may be meant by `wanted`: it may not say at all.
pub(super) fn may_be_for(wanted: &Platform, found: &Platform) -> bool {
    let unknown = found.os().is_empty() || found.architecture().is_empty();
    let same = wanted.os() == found.os() && wanted.architecture() == found.architecture();
    unknown || same || wanted.runs(found)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_there_or_does_not_say_may_be_meant() {
        let wanted: Platform = "linux/arm64".parse().unwrap();
        for (os, architecture, variant, may) in [
            ("linux", "arm64", "v8", true),
            ("linux", "arm64", "v9", true),
            ("linux", "arm", "v7", true),
            ("", "", "", true),
            ("linux", "amd64", "", false),
            ("windows", "arm64", "", false),
        ] {
            let found = Platform::new(os, architecture, variant);
            assert_eq!(may_be_for(&wanted, &found), may, "{found}");
        }
    }
}
