//! The example file: every key with its documentation and its default.

use toml::{Table, Value};

use super::file::Config;
use super::key::{Described, KeyInfo, Unset};
use crate::assembly::Kinds;

const HEAD: &str = "\
# The configuration of layercache: every key of this build. As it stands, this file changes nothing.
#
# A `#` right in front of a key or a table is to be removed in order to set it. The values that then stand there are the defaults, so
# that changes nothing either, but for what is said to be required; a key without a default has an example in its description.
#
# `layercache config show` prints what is in effect, and who has set it. Each key can be set by an environment variable as well:
# LAYERCACHE_<KEY>, and for the tier of a name LAYERCACHE_TIER_<NAME>_<KEY>, in upper case. The environment overrides the
# file, and arguments override both.
";

const SOURCES: &str = "
# The sources, one table each, from the nearest to the farthest: a layer is looked for in this order, and what is found farther
# away is copied to the tiers in front of it. Without any table they are the ones below that are not commented out.
";

/// About every kind.
const NAME: &str = "\
# Its name in errors, logs and figures, and in the names of environment variables. No two sources have the same.
";

impl Config {
    /// Returns a configuration file that says what the [default](Config::default) says, with every
    /// key of the kinds that are described, what it means, and its default, commented out.
    pub fn example(kinds: &Kinds) -> String {
        let mut text = HEAD.to_owned();
        add_keys(&mut text, &Self::keys());
        text += SOURCES;
        let default = Self::default();
        for (kind, keys) in kinds.described() {
            let mark = if default.tiers.iter().any(|tier| tier.kind() == kind) {
                ""
            } else {
                "#"
            };
            text += &format!("\n{mark}[[tier]]\n{mark}kind = {}\n", Value::from(kind));
            text += &format!("{NAME}#name = {}\n", Value::from(kind));
            add_keys(&mut text, keys);
        }
        text
    }
}

fn add_keys(text: &mut String, keys: &dyn Described) {
    let infos = keys.infos();
    // The keys that have to be there decide what follows for the rest.
    let required = infos
        .iter()
        .filter(|info| matches!(info.unset, Unset::Required(_)));
    let table: Table = required
        .filter_map(|info| Some((info.name.to_owned(), info.example?.parse().ok()?)))
        .collect();
    for (info, default) in infos.into_iter().zip(keys.defaults(&table)) {
        add(text, info, default);
    }
}

fn add(text: &mut String, info: &KeyInfo, default: Option<Value>) {
    let KeyInfo {
        name,
        about,
        takes,
        unset,
        example,
        instead_of: _,
    } = info;
    text.push('\n');
    for line in about.lines() {
        text.push_str(&format!("# {line}\n"));
    }
    let mut words = takes.words();
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let default = default.map(|value| value.to_string());
    // What to put into the description, and the value as TOML.
    let (note, value) = match unset {
        Unset::Default => (None, default),
        Unset::Follows(how) => (Some(format!("Default: {how}.")), default),
        Unset::Found(how) => (Some(format!("Default: {how}.")), None),
        Unset::Nothing(what) => (Some(format!("Not set: {what}.")), None),
        Unset::Required(_) => (Some("Required.".to_owned()), example.map(str::to_owned)),
    };
    text.push_str(&format!("# {words}."));
    if let Some(note) = note {
        text.push_str(&format!(" {note}"));
    }
    text.push('\n');
    if info.is_secret() {
        text.push_str(&format!(
            "# It may stand in the file that `{name}_file` names, or in the variable that `{name}_env` names.\n"
        ));
    }
    if let Some(example) = example.filter(|_| !matches!(unset, Unset::Required(_))) {
        let form = if info.is_secret() { "_file" } else { "" };
        text.push_str(&format!("# For example: {name}{form} = {example}\n"));
    }
    if let Some(value) = value {
        text.push_str(&format!("#{name} = {value}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example says the default, and so does every line of it that is not prose.
    #[test]
    fn the_example_changes_nothing() {
        let kinds = Kinds::builtin();
        let example = Config::example(&kinds);
        let config = Config::parse(&example).unwrap();
        assert_eq!(config.to_toml().unwrap(), Config::default().to_toml().unwrap());

        let all: String = example
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if !key.is_empty() && !key.starts_with(' ') => format!("{key}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let all = Config::parse(&all).unwrap_or_else(|error| panic!("{all}: {error}"));
        let names: Vec<_> = all.tiers.iter().map(|tier| tier.kind()).collect();
        assert_eq!(names, kinds.described().map(|(kind, _)| kind).collect::<Vec<_>>());
        for tier in &all.tiers {
            let keys = kinds.keys(tier.kind()).unwrap();
            let infos = keys.infos();
            let required: Table = infos
                .iter()
                .filter(|info| matches!(info.unset, Unset::Required(_)))
                .map(|info| (info.name.to_owned(), tier.settings[info.name].clone()))
                .collect();
            let defaults = keys.defaults(&required);
            for (key, value) in &tier.settings {
                let at = infos.iter().position(|info| info.name == key).unwrap();
                let default = required.get(key).or(defaults[at].as_ref());
                assert_eq!(Some(value), default, "{key} of {}", tier.kind());
            }
        }
        // Every key is there, be it as an example.
        for (kind, keys) in kinds.described() {
            for KeyInfo { name, .. } in keys.infos() {
                let there = [format!("#{name} = "), format!("For example: {name}")];
                assert!(
                    there.iter().any(|there| example.contains(there)),
                    "{name} of {kind}"
                );
            }
        }
    }

    /// Descriptions are printed as they are.
    #[test]
    fn descriptions_are_short_lines() {
        let builtin = Kinds::builtin();
        for (kind, keys) in builtin.described() {
            for KeyInfo { about, .. } in keys.infos() {
                for line in about.lines() {
                    assert!(line.len() <= 120 && !line.is_empty(), "{kind}: {line}");
                }
                assert!(about.ends_with('.'), "{kind}: {about}");
            }
        }
    }
}
