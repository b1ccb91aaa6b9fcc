//! The page `docs/json.md`, to be compared with what is serialised.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// Checks that `printed`, which together show all there is, have the keys of a section of
/// `docs/json.md`: all of them, and no others.
///
/// # Panics
/// When a key is missing on the page or in `printed`, or there is no such section.
pub fn check_json_page(section: &str, printed: &[Value]) {
    let documented = documented(section);
    let mut found = BTreeSet::new();
    printed.iter().for_each(|value| keys(value, "", &mut found));
    // An empty list and a null do not show what would be inside.
    let has = |key: &String| {
        let inside = |other: &&String| {
            let rest = other.strip_prefix(key.trim_end_matches("[]"));
            rest.is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        documented.contains(key) || documented.iter().any(|other| inside(&other))
    };
    let unknown: Vec<_> = found.iter().filter(|key| !has(key)).collect();
    assert!(unknown.is_empty(), "{section}: not on the page: {unknown:?}");
    let missing: Vec<_> = documented.difference(&found).collect();
    assert!(missing.is_empty(), "{section}: never printed: {missing:?}");
}

/// Returns the keys of a section, which is headed by the commands that print them.
fn documented(section: &str) -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/json.md");
    let page = std::fs::read_to_string(page).unwrap_or_else(|error| panic!("docs/json.md: {error}"));
    let sections = page.split("\n## ").filter_map(|section| section.split_once('\n'));
    let body = sections
        .filter(|(head, _)| *head == section)
        .map(|(_, body)| body)
        .next()
        .unwrap_or_else(|| panic!("docs/json.md has no section {section}"));
    body.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key.to_owned())
        .collect()
}

/// Collects the keys of a value, as the page writes them.
fn keys(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    // The image is the author of what these contain.
    let is_foreign = ["config", "annotations"].contains(&at);
    match value {
        Value::Object(object) if !is_foreign => {
            for (key, value) in object {
                let key = if at == "tiers" && value.is_object() {
                    "<name>"
                } else {
                    key
                };
                let dot = if at.is_empty() { "" } else { "." };
                keys(value, &format!("{at}{dot}{key}"), found);
            }
        }
        Value::Array(list) => {
            let each = format!("{at}[]");
            list.iter().for_each(|value| keys(value, &each, found));
            if list.is_empty() {
                found.insert(each);
            }
        }
        _ => {
            found.insert(at.to_owned());
        }
    }
}
