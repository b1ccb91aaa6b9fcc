//! The ways of reading that the demo compares.

use std::path::Path;

use anyhow::{Context as _, Result};
use layercache::{Config, TierConfig};

/// How the files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Registry,
    Cold,
    Warm,
}

impl Way {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Registry => "old way: registry alone",
            Self::Cold => "cache, cold",
            Self::Warm => "cache, restarted",
        }
    }

    /// Its name in the figures.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Cold => "cold",
            Self::Warm => "warm",
        }
    }

    /// The sources of this way; with a directory for the cache where it has one.
    pub(super) fn configuration(self, plain_http: bool, dir: &Path) -> Result<Config> {
        let mut registry = TierConfig::new("registry");
        registry.set("plain_http", plain_http);
        let mut config = Config::default();
        config.tiers = match self {
            Self::Registry => vec![registry],
            Self::Cold | Self::Warm => {
                let mut disk = TierConfig::new("disk");
                disk.set(
                    "dir",
                    dir.to_str()
                        .context("the directory for the demo is not valid UTF-8")?,
                );
                vec![disk, registry]
            }
        };
        Ok(config)
    }
}
