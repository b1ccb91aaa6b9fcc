//! The example file: every key with its documentation and its default.

use toml::{Table, Value};

use super::setting::{Setting, Unset};
use super::{Config, SETTINGS};
use crate::Kinds;

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
    /// A configuration file that says what this [default](Config::default) says, with every key of the kinds that are
    /// [described](Kinds::describe), what it means, and its default, commented out.
    pub fn example(kinds: &Kinds) -> String {
        let mut text = HEAD.to_owned();
        for setting in &SETTINGS {
            add(&mut text, setting, &Table::new());
        }
        text += SOURCES;
        let default = Self::default();
        for (kind, settings) in kinds.described() {
            let mark = if default.tiers.iter().any(|tier| tier.kind() == kind) {
                ""
            } else {
                "#"
            };
            // What has to be there decides what the rest would be.
            let required = settings
                .iter()
                .filter(|setting| matches!(setting.unset, Unset::Required));
            let table: Table = required
                .filter_map(|setting| Some((setting.key.to_owned(), setting.example?.parse().ok()?)))
                .collect();
            text += &format!("\n{mark}[[tier]]\n{mark}kind = {}\n", Value::from(kind));
            text += &format!("{NAME}#name = {}\n", Value::from(kind));
            for setting in settings {
                add(&mut text, setting, &table);
            }
        }
        text
    }
}

fn add(text: &mut String, setting: &Setting, table: &Table) {
    let Setting {
        key,
        about,
        value_type,
        unset,
        example,
        instead_of: _,
        elsewhere,
    } = setting;
    text.push('\n');
    for line in about.lines() {
        text.push_str(&format!("# {line}\n"));
    }
    let mut words = value_type.words();
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    // The default as TOML, or what to put into the description.
    let (note, default) = match unset {
        Unset::Value(value) => (None, Some((*value).to_owned())),
        Unset::Follows { how, value } => (Some(format!("Default: {how}.")), Some(value(table).to_string())),
        Unset::Found { how, .. } => (Some(format!("Default: {how}.")), None),
        Unset::Nothing(what) => (Some(format!("Not set: {what}.")), None),
        Unset::Required => (Some("Required.".to_owned()), example.map(str::to_owned)),
    };
    text.push_str(&format!("# {words}."));
    if let Some(note) = note {
        text.push_str(&format!(" {note}"));
    }
    text.push('\n');
    if *elsewhere {
        text.push_str(&format!(
            "# It may stand in the file that `{key}_file` names, or in the variable that `{key}_env` names.\n"
        ));
    }
    if let Some(example) = example.filter(|_| !matches!(unset, Unset::Required)) {
        let form = if *elsewhere { "_file" } else { "" };
        text.push_str(&format!("# For example: {key}{form} = {example}\n"));
    }
    if let Some(value) = default {
        text.push_str(&format!("#{key} = {value}\n"));
    }
}
