//! Which kinds of sources there are, and how each is made.

use std::collections::BTreeMap;
use std::fmt;

use cache_core::inflate::Inflater;

use super::Part;
use crate::{ConfigError, Setting, TierConfig};

/// What the sources of one stack share.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shared {
    /// Inflates for every origin of the stack, within common limits.
    pub inflater: Inflater,
    /// Whether what a source keeps things in, such as a directory, is created where it is not there, and has to be writable: it is not for
    /// a stack that is [only looked into](super::Stack::assemble_to_look).
    pub create: bool,
}

/// Makes a source from its table in the configuration.
pub type Constructor = Box<dyn Fn(&TierConfig, &Shared) -> Result<Part, ConfigError> + Send + Sync>;

/// Kinds that a configuration may name, with their constructors.
///
/// ```
/// # use std::sync::Arc;
/// # use layercache::{Config, Kinds, Part, Stack, core::MemoryTier};
/// let mut kinds = Kinds::builtin();
/// kinds.register("memory", |tier, _shared| {
///     Ok(Part::tier(Arc::new(MemoryTier::new(tier.name(), 64 << 20))))
/// });
/// let config = Config::parse("[[tier]]\nkind = \"memory\"").unwrap();
/// let stack = Stack::assemble(&config, &kinds).unwrap();
/// ```
#[derive(Default)]
pub struct Kinds {
    constructors: BTreeMap<Box<str>, Constructor>,
    /// In the order in which a cache would ask them.
    described: Vec<(Box<str>, Vec<Setting>)>,
}

/// Kinds that this crate can have, each with the feature of its name.
const FEATURES: [&str; 4] = ["disk", "redis", "registry", "s3"];

impl Kinds {
    /// The kinds of the features that are compiled in.
    pub fn builtin() -> Self {
        #[allow(unused_mut, reason = "without any feature there is nothing to register")]
        let mut kinds = Self::default();
        #[cfg(feature = "disk")]
        {
            kinds.register("disk", super::disk::part);
            kinds.describe("disk", &super::disk::SETTINGS);
        }
        #[cfg(feature = "redis")]
        {
            kinds.register("redis", super::redis::part);
            kinds.describe("redis", &super::redis::settings());
        }
        #[cfg(feature = "s3")]
        {
            kinds.register("s3", super::s3::part);
            kinds.describe("s3", &super::s3::settings());
        }
        #[cfg(feature = "registry")]
        {
            kinds.register("registry", super::origins::registry_part);
            kinds.describe("registry", &super::origins::SETTINGS);
        }
        kinds
    }

    /// Adds a kind, or replaces it and what was [described](Self::describe) of it.
    pub fn register(
        &mut self,
        kind: &str,
        constructor: impl Fn(&TierConfig, &Shared) -> Result<Part, ConfigError> + Send + Sync + 'static,
    ) {
        self.described.retain(|(described, _)| **described != *kind);
        self.constructors.insert(kind.into(), Box::new(constructor));
    }

    /// Says which keys the tables of a kind take: all of them but `kind` and `name`. Of a kind that is not described, `config show`
    /// hides every value, the example file has nothing, and the environment may set any key.
    pub fn describe(&mut self, kind: &str, settings: &[Setting]) {
        self.described.retain(|(described, _)| **described != *kind);
        self.described.push((kind.into(), settings.to_vec()));
    }

    /// What was described of a kind.
    pub(crate) fn settings(&self, kind: &str) -> Option<&[Setting]> {
        self.described()
            .find_map(|(described, settings)| (described == kind).then_some(settings))
    }

    /// Every kind that was described, in that order.
    pub(crate) fn described(&self) -> impl Iterator<Item = (&str, &[Setting])> {
        self.described
            .iter()
            .map(|(kind, settings)| (&**kind, settings.as_slice()))
    }

    /// Refuses a kind that is not known.
    pub(crate) fn check(&self, kind: &str) -> Result<(), ConfigError> {
        self.constructor(kind).map(drop)
    }

    fn constructor(&self, kind: &str) -> Result<&Constructor, ConfigError> {
        self.constructors.get(kind).ok_or_else(|| ConfigError::Kind {
            kind: kind.to_owned(),
            why: match FEATURES.iter().find(|feature| **feature == kind) {
                Some(feature) => format!("needs the feature `{feature}`, which this build is without"),
                None => {
                    let known: Vec<_> = self.constructors.keys().map(|kind| format!("`{kind}`")).collect();
                    format!("is unknown: this build has {}", known.join(", "))
                }
            },
        })
    }

    pub(super) fn part(&self, tier: &TierConfig, shared: &Shared) -> Result<Part, ConfigError> {
        let kind = tier.kind();
        Ok(self.constructor(kind)?(tier, shared)?.of_kind(kind))
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.constructors.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_there_or_names_its_feature() {
        let kinds = Kinds::builtin();
        let shared = Shared {
            inflater: Inflater::new(Default::default()),
            create: true,
        };
        for (feature, built_in) in FEATURES.into_iter().zip([
            cfg!(feature = "disk"),
            cfg!(feature = "redis"),
            cfg!(feature = "registry"),
            cfg!(feature = "s3"),
        ]) {
            assert_eq!(kinds.constructors.contains_key(feature), built_in, "{feature}");
            if !built_in {
                let error = kinds
                    .part(&TierConfig::new(feature), &shared)
                    .unwrap_err()
                    .to_string();
                assert_eq!(
                    error,
                    format!(
                        "tier kind `{feature}` needs the feature `{feature}`, which this build is without"
                    )
                );
            }
        }
    }
}
