//! What every command needs: the stack, the platform, the terminal.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use layercache::registry::{Image, ImageLocation, Platform};
use layercache::{Config, Kinds, Stack, TierConfig};

use super::args::Global;
use super::logging::{self, Mute};
use super::progress::Bars;

pub(crate) struct Context {
    pub(crate) stack: Stack,
    pub(crate) platform: Platform,
    pub(crate) bars: Bars,
}

impl Context {
    pub(crate) fn new(global: &Global, mute: &Mute) -> Result<Self> {
        let bars = Bars::new(global.progress);
        logging::start(global.log_format, &bars, mute);
        let stack = Stack::assemble(&configuration(global)?, &Kinds::builtin())?;
        let platform = global.platform.clone().unwrap_or_else(Platform::host);
        Ok(Self {
            stack,
            platform,
            bars,
        })
    }

    pub(crate) async fn resolve(&self, location: &ImageLocation) -> Result<Image> {
        self.stack
            .resolve(location, &self.platform)
            .await
            .with_context(|| location.to_string())
    }
}

/// The configuration file, or the defaults, with what the arguments override.
pub(crate) fn configuration(global: &Global) -> Result<Config> {
    let mut config = match global.config.clone().or_else(|| variable("LAYERCACHE_CONFIG")) {
        Some(path) => Config::load(&path).with_context(|| path.display().to_string())?,
        None => Config::default(),
    };
    config.early_reads |= global.early_reads;
    let dir = match &global.cache_dir {
        Some(dir) => Some(("--cache-dir", dir.clone())),
        None => variable("LAYERCACHE_DIR").map(|dir| ("LAYERCACHE_DIR", dir)),
    };
    if let Some((argument, dir)) = dir {
        let dir = dir
            .to_str()
            .with_context(|| format!("{argument}: the path is not valid UTF-8"))?;
        only(&mut config, "disk", argument)?.set("dir", dir);
    }
    if global.plain_http {
        only(&mut config, "registry", "--plain-http")?.set("plain_http", true);
    }
    Ok(config)
}

/// A path from the environment. An empty one is none, as in shells and by the XDG specification.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// The only tier of a kind, which an argument speaks of.
fn only<'a>(config: &'a mut Config, kind: &str, argument: &str) -> Result<&'a mut TierConfig> {
    let mut tiers = config.tiers.iter_mut().filter(|tier| tier.kind() == kind);
    match (tiers.next(), tiers.next()) {
        (Some(tier), None) => Ok(tier),
        (None, _) => bail!("{argument}: the configuration has no tier of the kind `{kind}`"),
        (Some(_), Some(_)) => bail!("{argument}: the configuration has several tiers of the kind `{kind}`"),
    }
}
