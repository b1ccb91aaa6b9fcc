//! What variables of the environment set.
//!
//! ```text
//! LAYERCACHE_<KEY>               a key outside of the tiers
//! LAYERCACHE_TIER_<NAME>_<KEY>   a key of the tier of that name
//! ```
//! in upper case, with `_` for what is no letter and no digit.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::builder::ConfigBuilder;
use super::error::{ConfigError, SetBy};
use super::file::Config;
use super::key::{Described, KeyInfo, value_of};
use super::service_link::is_service_link;
use crate::assembly::Kinds;

const PREFIX: &str = "LAYERCACHE_";
const TIER: &str = "TIER_";

/// What the command line takes by itself.
const ARGUMENTS: [&str; 2] = ["CONFIG", "DIR"];
/// What tests are told begins with this.
const TESTS: &str = "TEST_";

/// A key that a variable may mean.
struct Meant<'a> {
    /// Of the tier.
    position: usize,
    key: String,
    /// Unless the keys of its kind are not described.
    info: Option<&'a KeyInfo>,
}

impl ConfigBuilder {
    /// Sets what variables of the environment say: `LAYERCACHE_<KEY>` is a key outside of the tiers, `LAYERCACHE_TIER_<NAME>_<KEY>` one
    /// of the tier of that name, in upper case and with `_` for every other character than letters and digits. A value is TOML where it can be
    /// read as such, and else a text; a secret is always taken as it stands. An empty variable is one that is not set.
    ///
    /// Where a secret is set in one of its places (`<key>`, `<key>_file`, `<key>_env`), what the file says of the others is dropped.
    /// `LAYERCACHE_CONFIG` and `LAYERCACHE_DIR`, which are arguments, and `LAYERCACHE_TEST_…` are passed over, as are variables
    /// that do not begin with `LAYERCACHE_`, and those by which Kubernetes tells where a service is whose name begins with `layercache`.
    ///
    /// # Errors
    /// [`ConfigError::Override`] for a variable with this prefix that means no key, or more than one, or is not valid UTF-8. The error
    /// names the variable, and does not repeat what may be a secret.
    pub fn set_from_environment(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        kinds: &Kinds,
    ) -> Result<(), ConfigError> {
        let given: BTreeMap<String, OsString> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, value)| is_ours(name) && !value.is_empty())
            .collect();
        let (keys, mut of_tiers) = (Config::keys(), Vec::new());
        let infos = keys.infos();
        for (name, value) in given {
            let by = SetBy::Environment(name.clone());
            let refuse = |message: String| ConfigError::Override {
                by: SetBy::Environment(name.clone()),
                message,
            };
            let value = value
                .into_string()
                .map_err(|_| refuse("not valid UTF-8".into()))?;
            let rest = &name[PREFIX.len()..];
            match rest.strip_prefix(TIER) {
                Some(rest) => {
                    let meant = self.meant(rest, kinds).map_err(refuse)?;
                    of_tiers.push((meant, value, by));
                }
                None => match infos.iter().find(|info| upper(info.name) == rest) {
                    Some(info) => self.set(info.name, info.value_of(info.name, &value), by)?,
                    None if is_service_link(&name) => {}
                    None => return Err(refuse(unknown_key(&infos))),
                },
            }
        }
        // First all that gives way, so that two places which the environment names for one secret are noticed as two.
        for (meant, _, _) in &of_tiers {
            for key in gives_way(meant, kinds.keys(self.tiers[meant.position].kind())) {
                self.unset_at(meant.position, &key);
            }
        }
        for (Meant { position, key, info }, text, by) in of_tiers {
            let value = match info {
                Some(info) => info.value_of(&key, &text),
                None => value_of(&text),
            };
            self.set_at(position, &key, value, by);
        }
        Ok(())
    }

    /// The key that `<NAME>_<KEY>` means.
    fn meant<'a>(&self, rest: &str, kinds: &'a Kinds) -> Result<Meant<'a>, String> {
        let mut found: Vec<Meant<'a>> = Vec::new();
        let mut named = Vec::new();
        for (position, tier) in self.tiers.iter().enumerate() {
            let Some(key) = rest
                .strip_prefix(&upper(tier.name()))
                .and_then(|rest| rest.strip_prefix('_'))
                .filter(|key| !key.is_empty())
            else {
                continue;
            };
            named.push(tier.name());
            let mut add = |key, info| found.push(Meant { position, key, info });
            match kinds.keys(tier.kind()) {
                None if ["KIND", "NAME"].contains(&key) => {}
                None => add(key.to_lowercase(), None),
                Some(keys) => {
                    for info in keys.infos() {
                        let names = info.names().into_iter();
                        for name in names.filter(|name| upper(name) == key) {
                            add(name, Some(info));
                        }
                    }
                }
            }
        }
        match (found.len(), named.as_slice()) {
            (1, _) => Ok(found.remove(0)),
            (0, []) => {
                let names: Vec<_> = self
                    .tiers
                    .iter()
                    .map(|tier| format!("`{}`", tier.name()))
                    .collect();
                Err(format!("no tier has this name: there are {}", names.join(", ")))
            }
            (0, [name, ..]) => Err(format!("the tier `{name}` has no such key")),
            _ => {
                let names: Vec<_> = found
                    .iter()
                    .map(|meant| {
                        format!(
                            "`{}` of the tier `{}`",
                            meant.key,
                            self.tiers[meant.position].name()
                        )
                    })
                    .collect();
                Err(format!("it may mean {}: rename a tier", names.join(" or ")))
            }
        }
    }
}

fn is_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|rest| !ARGUMENTS.contains(&rest) && !rest.starts_with(TESTS))
}

fn unknown_key(infos: &[&KeyInfo]) -> String {
    let known: Vec<_> = infos
        .iter()
        .map(|info| format!("{PREFIX}{}", upper(info.name)))
        .collect();
    format!(
        "no key has this name: there are {}, and those of tiers, {PREFIX}{TIER}<NAME>_<KEY>",
        known.join(", ")
    )
}

/// The names of all keys that say what a key says.
fn gives_way(meant: &Meant<'_>, keys: Option<&dyn Described>) -> Vec<String> {
    let (Some(meant), Some(keys)) = (meant.info, keys) else {
        return Vec::new();
    };
    let infos = keys.infos().into_iter();
    infos
        .filter(|info| info.means_the_same_as(meant))
        .flat_map(KeyInfo::names)
        .collect()
}

/// The name of a key or tier as it stands in the name of a variable.
fn upper(name: &str) -> String {
    let char = |char: char| match char.is_alphanumeric() {
        true => char.to_ascii_uppercase(),
        false => '_',
    };
    name.chars().map(char).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::config::{Key, Secret};

    /// What `store` reads.
    #[derive(Default)]
    struct Store {
        secret: Option<Secret>,
        urls: Vec<String>,
        bucket: Option<String>,
    }

    /// A kind whose keys are described, `store`, and one whose keys are not, `opaque`.
    fn kinds() -> Kinds {
        type Of = Key<Store>;
        let mut kinds = Kinds::default();
        let keys = [
            Of::secret_url("url", "", |store| &mut store.secret),
            Of::secret_urls("urls", "", |store| &mut store.urls).instead_of("url"),
            Of::text("bucket", "", |store| &mut store.bucket),
            Of::text("b_bucket", "", |store| &mut store.bucket),
        ];
        kinds.register_with_keys("store", keys, |_, _, _| Err(ConfigError::Empty));
        kinds.register("opaque", |_, _| Err(ConfigError::Empty));
        kinds
    }

    const TIERS: &str = "max_concurrent_fills = 2
        [[tier]]
        kind = \"store\"
        name = \"near-1.a\"
        url_env = \"URL\"
        [[tier]]
        kind = \"store\"
        name = \"near-1.a_b\"
        [[tier]]
        kind = \"opaque\"";

    fn set(variables: &[(&str, &str)]) -> Result<ConfigBuilder, String> {
        let mut builder = ConfigBuilder::parse(TIERS).unwrap();
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        match builder.set_from_environment(variables, &kinds()) {
            Ok(()) => Ok(builder),
            Err(error) => Err(error.to_string()),
        }
    }

    fn settings(builder: &ConfigBuilder, position: usize) -> String {
        builder.tiers[position]
            .settings
            .to_string()
            .trim()
            .replace('\n', ", ")
    }

    #[test]
    fn variables_set_keys_of_tiers_and_others() {
        let builder = set(&[
            ("LAYERCACHE_EARLY_READS", "true"),
            ("LAYERCACHE_MAX_LAYER_BYTES", "2GiB"),
            ("LAYERCACHE_TIER_NEAR_1_A_BUCKET", "1234"),
            ("LAYERCACHE_TIER_OPAQUE_SIZE", "7"),
            ("LAYERCACHE_TIER_OPAQUE_LABEL", "seven"),
            // None of these is a key.
            ("LAYERCACHE_CONFIG", "x"),
            ("LAYERCACHE_DIR", "x"),
            ("LAYERCACHE_TEST_BIN", "x"),
            ("LAYERCACHE_PORT", "tcp://10.0.0.1:80"),
            ("LAYERCACHE_REDIS_PORT_6379_TCP_ADDR", "10.0.0.2"),
            ("LAYERCACHE_COLOUR", ""),
            ("PATH", "x"),
        ])
        .unwrap();
        let config = builder.build().unwrap();
        assert_eq!(
            (
                config.early_reads,
                config.max_layer_bytes,
                config.max_concurrent_fills
            ),
            (true, 2 << 30, 2)
        );
        assert_eq!(settings(&builder, 0), "bucket = \"1234\", url_env = \"URL\"");
        assert_eq!(settings(&builder, 2), "label = \"seven\", size = 7");
        let by = |position, key| builder.set_by(position, key).to_string();
        assert_eq!(by(None, "early_reads"), "environment: LAYERCACHE_EARLY_READS");
        assert_eq!(by(None, "max_concurrent_fills"), "file");
        assert_eq!(
            by(Some(0), "bucket"),
            "environment: LAYERCACHE_TIER_NEAR_1_A_BUCKET"
        );
        assert_eq!(by(Some(0), "url_env"), "file");
    }

    #[test]
    fn a_secret_takes_the_place_of_what_the_file_says_of_it() {
        for (variable, value, left) in [
            ("URL", "redis://host", "url = \"redis://host\""),
            ("URL_FILE", "/run/url", "url_file = \"/run/url\""),
            ("URLS", "[\"redis://host\"]", "urls = [\"redis://host\"]"),
        ] {
            let name = format!("LAYERCACHE_TIER_NEAR_1_A_{variable}");
            let builder = set(&[(&name, value)]).unwrap();
            assert_eq!(settings(&builder, 0), left);
        }
        // Two places in the environment are two, which the kind refuses.
        let both = set(&[
            ("LAYERCACHE_TIER_NEAR_1_A_URL", "a"),
            ("LAYERCACHE_TIER_NEAR_1_A_URL_FILE", "b"),
        ]);
        assert_eq!(settings(&both.unwrap(), 0), "url = \"a\", url_file = \"b\"");
    }

    #[test]
    fn a_variable_that_means_nothing_is_named() {
        for (name, value, words) in [
            ("LAYERCACHE_EARLYREADS", "hunter2", "LAYERCACHE_EARLY_READS"),
            ("LAYERCACHE_TIER", "hunter2", "no key has this name"),
            (
                "LAYERCACHE_TIER_FAR_URL",
                "hunter2",
                "no tier has this name: there are `near-1.a`, `near-1.a_b`, `opaque`",
            ),
            (
                "LAYERCACHE_TIER_NEAR_1_A_PASSWORD",
                "hunter2",
                "the tier `near-1.a` has no such key",
            ),
            ("LAYERCACHE_TIER_NEAR_1_A_KIND", "hunter2", "no such key"),
            ("LAYERCACHE_TIER_OPAQUE_", "hunter2", "no tier has this name"),
            ("LAYERCACHE_TIER_OPAQUE_NAME", "hunter2", "no such key"),
            (
                "LAYERCACHE_TIER_NEAR_1_A_B_BUCKET",
                "hunter2",
                "`b_bucket` of the tier `near-1.a` or `bucket` of the tier `near-1.a_b`",
            ),
            // Only a secret may stand elsewhere.
            ("LAYERCACHE_TIER_NEAR_1_A_BUCKET_FILE", "hunter2", "no such key"),
            // A service is not told of like this.
            ("LAYERCACHE_PORTS", "hunter2", "no key has this name"),
            ("LAYERCACHE_TIER_NEAR_1_A_PORT", "hunter2", "no such key"),
        ] {
            let error = set(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(&format!("{name}: ")), "{error}");
            assert!(
                error.contains(words) && !error.contains("hunter2"),
                "{words}: {error}"
            );
        }
        assert_eq!(
            set(&[("LAYERCACHE_MAX_CONCURRENT_FILLS", "many")]).unwrap_err(),
            "LAYERCACHE_MAX_CONCURRENT_FILLS: `max_concurrent_fills`: expected a whole number from 1"
        );
        let mut builder = ConfigBuilder::default();
        let variable = ("LAYERCACHE_EARLY_READS".into(), OsString::from_vec(vec![0xff]));
        let error = builder.set_from_environment([variable], &kinds()).unwrap_err();
        assert_eq!(error.to_string(), "LAYERCACHE_EARLY_READS: not valid UTF-8");
    }
}
