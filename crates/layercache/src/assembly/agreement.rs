//! What is described of the kinds is what they take: key by key, in both directions, and with the same defaults.

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::Kinds;
use crate::{Config, Setting, TierConfig, Unset, ValueType};

/// What a table is made into, as a text that shows all of it but secrets.
type Read = fn(&TierConfig) -> Result<String, String>;

fn shown<T: Debug>(read: Result<T, crate::ConfigError>) -> Result<String, String> {
    read.map(|read| format!("{read:?}"))
        .map_err(|error| error.to_string())
}

/// Every kind of this build.
fn kinds() -> Vec<(&'static str, Read)> {
    vec![
        #[cfg(feature = "disk")]
        ("disk", |tier| shown(super::disk::config(tier))),
        #[cfg(feature = "redis")]
        ("redis", |tier| shown(super::redis::read(tier))),
        #[cfg(feature = "s3")]
        ("s3", |tier| shown(super::s3::read(tier))),
        #[cfg(feature = "registry")]
        ("registry", |tier| shown(super::origins::config(tier))),
    ]
}

/// A table with what a kind requires, and more.
fn table(kind: &str, settings: &[Setting], more: &str) -> TierConfig {
    let required = settings
        .iter()
        .filter(|setting| matches!(setting.unset, Unset::Required))
        .filter(|setting| {
            !setting
                .keys()
                .iter()
                .any(|key| more.starts_with(&format!("{key} =")))
        })
        .map(|setting| format!("{} = {}\n", setting.key, setting.example.unwrap()));
    let text = format!(
        "[[tier]]\nkind = \"{kind}\"\n{}{more}",
        required.collect::<String>()
    );
    let config = Config::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    config.tiers.into_iter().next().unwrap()
}

#[test]
fn every_kind_of_this_build_is_described() {
    let builtin = Kinds::builtin();
    let described: Vec<_> = builtin.described().map(|(kind, _)| kind).collect();
    let read: Vec<_> = kinds().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(described, read);
    for kind in described {
        builtin.check(kind).unwrap();
    }
}

/// A kind names what it takes when it is given something else.
#[test]
fn a_kind_takes_no_key_that_is_not_described() {
    let builtin = Kinds::builtin();
    for (kind, read) in kinds() {
        let settings = builtin.settings(kind).unwrap();
        let error = read(&table(kind, settings, "no_such_key = 1")).unwrap_err();
        let (_, known) = error
            .split_once("unknown field `no_such_key`, expected ")
            .unwrap_or_else(|| panic!("{kind}: {error}"));
        let taken: BTreeSet<_> = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let described: BTreeSet<_> = settings.iter().flat_map(Setting::keys).collect();
        assert_eq!(taken, described, "{kind}");
    }
}

#[test]
fn a_kind_takes_every_key_that_is_described() {
    let builtin = Kinds::builtin();
    let dir = tempfile::tempdir().unwrap();
    for (kind, read) in kinds() {
        let settings = builtin.settings(kind).unwrap();
        for setting in settings {
            let key = setting.key;
            for value in setting.example.into_iter().chain(default_of(setting)) {
                let mut more = format!("{key} = {value}\n");
                if matches!(setting.value_type, ValueType::Path) && key != "dir" {
                    // Its error is about the file, so it was taken. Not that of the example, which this host may have.
                    let more = format!("{key} = {:?}\n", dir.path().join("missing"));
                    let error = read(&table(kind, settings, &more)).unwrap_err();
                    assert!(error.contains("cannot be read") && error.contains(key), "{error}");
                    continue;
                }
                if setting.instead_of.is_some() {
                    let tier = alone(kind, &more);
                    read(&tier).unwrap_or_else(|error| panic!("{kind} {more}: {error}"));
                    continue;
                }
                // One half of a pair is refused for want of the other.
                let other = match key {
                    "access_key_id" => "secret_access_key = \"x\"\n",
                    "secret_access_key" => "access_key_id = \"x\"\n",
                    _ => "",
                };
                for key in setting.keys() {
                    if key.ends_with("_file") {
                        let file = dir.path().join(&key);
                        let text: toml::Value = value.parse().unwrap();
                        std::fs::write(&file, text.as_str().unwrap()).unwrap();
                        more = format!("{key} = {file:?}\n");
                    } else if key.ends_with("_env") {
                        // Which value a variable has is not the kind's business; that it is not set is its error.
                        let tier = table(
                            kind,
                            settings,
                            &format!("{key} = \"LAYERCACHE_TEST_NO_SUCH\"\n{other}"),
                        );
                        let error = read(&tier).unwrap_err();
                        assert!(
                            error.contains(&format!(
                                "`{key}`: the environment variable that it names is not set"
                            )),
                            "{error}"
                        );
                        continue;
                    }
                    read(&table(kind, settings, &format!("{more}{other}")))
                        .unwrap_or_else(|error| panic!("{kind} {more}: {error}"));
                }
            }
        }
    }
}

/// Only this key, whatever else is required.
fn alone(kind: &str, more: &str) -> TierConfig {
    toml::from_str(&format!("kind = \"{kind}\"\n{more}")).unwrap()
}

fn default_of(setting: &Setting) -> Option<&'static str> {
    match setting.unset {
        Unset::Value(value) => Some(value),
        _ => None,
    }
}

#[test]
fn what_is_described_as_the_default_changes_nothing() {
    let builtin = Kinds::builtin();
    for (kind, read) in kinds() {
        let settings = builtin.settings(kind).unwrap();
        for context in [
            "",
            "read_only = true\n",
            "write_back = \"off\"\n",
            "endpoint = \"http://127.0.0.1:1\"\n",
        ] {
            let applies = settings
                .iter()
                .any(|setting| context.starts_with(&format!("{} =", setting.key)));
            if !context.is_empty() && !applies {
                continue;
            }
            let bare = table(kind, settings, context);
            let expected = read(&bare).unwrap();
            let mut spelled_out = bare.clone();
            for setting in settings {
                let is_set = setting.keys().iter().any(|key| bare.settings.contains_key(key));
                if let Some(value) = setting.default_in(&bare.settings).filter(|_| !is_set) {
                    spelled_out.set(setting.key, value);
                }
            }
            assert_eq!(read(&spelled_out).as_ref(), Ok(&expected), "{kind} {context}");
        }
    }
}

/// Descriptions are printed as they are.
#[test]
fn descriptions_are_short_lines() {
    let builtin = Kinds::builtin();
    for (kind, settings) in builtin.described() {
        for setting in settings {
            for line in setting.about.lines() {
                assert!(line.len() <= 120 && !line.is_empty(), "{kind}: {line}");
            }
            assert!(setting.about.ends_with('.'), "{kind}: {}", setting.about);
        }
    }
}
