//! Which kinds of sources there are, and how each is made.

use std::fmt;
use std::sync::Arc;

use cache_core::inflate::Inflater;

use super::part::Part;
use crate::config::{ConfigError, Described, Key, Keys, TierConfig};

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
///
/// A kind with keys of its own says what it reads them into. Its defaults are those of the type:
///
/// ```
/// # use std::sync::Arc;
/// # use layercache::{Config, Key, Kinds, Part, Stack, core::MemoryTier};
/// struct Memory {
///     max_bytes: u64,
/// }
///
/// impl Default for Memory {
///     fn default() -> Self {
///         Self { max_bytes: 64 << 20 }
///     }
/// }
///
/// let mut kinds = Kinds::builtin();
/// let keys = [Key::size("max_bytes", "How much is kept.", |memory: &mut Memory| &mut memory.max_bytes)];
/// kinds.register_with_keys("memory", keys, |memory, tier, _shared| {
///     Ok(Part::tier(Arc::new(MemoryTier::new(tier.name(), memory.max_bytes))))
/// });
/// let config = Config::parse("[[tier]]\nkind = \"memory\"\nmax_bytes = \"1GiB\"").unwrap();
/// let stack = Stack::assemble(&config, &kinds).unwrap();
/// ```
#[derive(Default)]
pub struct Kinds {
    /// In the order in which they were registered, which is that of the example file.
    kinds: Vec<Kind>,
}

struct Kind {
    name: Box<str>,
    /// The keys of its tables besides `kind` and `name`, unless they are not described.
    keys: Option<Arc<dyn Described>>,
    constructor: Constructor,
}

/// Kinds that this crate can have, each with the feature of its name.
const FEATURES: [&str; 4] = ["disk", "redis", "registry", "s3"];

impl Kinds {
    /// Adds or replaces a kind whose keys are not described: its constructor reads them with
    /// [`TierConfig::settings`], if it has any.
    ///
    /// `config show` hides every value of such a kind, the example file has nothing about it, and
    /// the environment may set any key.
    pub fn register(
        &mut self,
        kind: &str,
        constructor: impl Fn(&TierConfig, &Shared) -> Result<Part, ConfigError> + Send + Sync + 'static,
    ) {
        self.insert(kind, None, Box::new(constructor));
    }

    /// Adds or replaces a kind with all the keys that its tables have besides `kind` and `name`. The
    /// constructor is handed the `T` that they were read into.
    pub fn register_with_keys<T: Default + 'static>(
        &mut self,
        kind: &str,
        keys: impl IntoIterator<Item = Key<T>>,
        constructor: impl Fn(T, &TierConfig, &Shared) -> Result<Part, ConfigError> + Send + Sync + 'static,
    ) {
        let keys = Arc::new(Keys::new(keys));
        let read = Arc::clone(&keys);
        let constructor: Constructor =
            Box::new(move |tier, shared| constructor(tier.read(&read)?, tier, shared));
        self.insert(kind, Some(keys), constructor);
    }

    fn insert(&mut self, name: &str, keys: Option<Arc<dyn Described>>, constructor: Constructor) {
        self.kinds.retain(|kind| *kind.name != *name);
        self.kinds.push(Kind {
            name: name.into(),
            keys,
            constructor,
        });
    }

    /// The keys of a kind, if they are described.
    pub(crate) fn keys(&self, kind: &str) -> Option<&dyn Described> {
        self.described()
            .find_map(|(described, keys)| (described == kind).then_some(keys))
    }

    /// Every kind whose keys are described.
    pub(crate) fn described(&self) -> impl Iterator<Item = (&str, &dyn Described)> {
        let kinds = self.kinds.iter();
        kinds.filter_map(|kind| Some((&*kind.name, kind.keys.as_deref()?)))
    }

    /// Refuses a kind that is not known.
    pub(crate) fn check(&self, kind: &str) -> Result<(), ConfigError> {
        self.constructor(kind).map(drop)
    }

    fn constructor(&self, name: &str) -> Result<&Constructor, ConfigError> {
        let found = self.kinds.iter().find(|kind| *kind.name == *name);
        found
            .map(|kind| &kind.constructor)
            .ok_or_else(|| ConfigError::Kind {
                kind: name.to_owned(),
                why: match FEATURES.contains(&name) {
                    true => format!("needs the feature `{name}`, which this build is without"),
                    false => format!("is unknown: this build has {}", self.names().join(", ")),
                },
            })
    }

    /// The names of all kinds, quoted and in the order of the alphabet.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.kinds.iter().map(|kind| format!("`{}`", kind.name)).collect();
        names.sort();
        names
    }

    pub(super) fn part(&self, tier: &TierConfig, shared: &Shared) -> Result<Part, ConfigError> {
        let kind = tier.kind();
        Ok(self.constructor(kind)?(tier, shared)?.of_kind(kind))
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.kinds.iter().map(|kind| &kind.name))
            .finish()
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
            assert_eq!(kinds.check(feature).is_ok(), built_in, "{feature}");
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
