//! The log: an event that is there when nobody asks for more is in the table of the page for operators, and what is there is logged.

use std::fs;

use anyhow::{Context, Result};

use super::FOR_TESTS;
use crate::dirs;

const PAGE: &str = "docs/operations.md";
const HEADING: &str = "\n## Log\n";
/// What a command tells whoever runs it.
const COMMANDS: &str = "crates/layercache/src/cli/";

/// What is wrong with the table of events, given the sources with their paths.
pub(super) fn problems(sources: &[(String, String)]) -> Result<Vec<String>> {
    let page = fs::read_to_string(dirs::workspace().join(PAGE))?;
    let (_, behind) = page
        .split_once(HEADING)
        .context("the page has no section of the log")?;
    let section = behind.split("\n## ").next().unwrap_or_default();
    let library: Vec<_> = sources
        .iter()
        .filter(|(path, _)| {
            path.contains("/src/") && path.starts_with("crates/") && !path.starts_with(COMMANDS)
        })
        .filter(|(path, _)| !FOR_TESTS.iter().any(|part| path.contains(part)))
        .collect();
    let mut problems = Vec::new();
    for (path, text) in &library {
        let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((text, ""));
        for event in events(code).filter(|event| !rows(section).any(|row| is_same(row, event))) {
            problems.push(format!(
                "{path}: the event \"{event}\" is not in the table of {PAGE}"
            ));
        }
    }
    for row in rows(section) {
        let begins = row.split('…').next().unwrap_or_default();
        if !library
            .iter()
            .any(|(_, text)| text.contains(&format!("\"{begins}")))
        {
            problems.push(format!("{PAGE}: nothing logs `{row}`"));
        }
    }
    Ok(problems)
}

/// The events in the first column, where … stands for what differs.
fn rows(section: &str) -> impl Iterator<Item = &str> {
    section.lines().filter_map(|line| {
        line.strip_prefix("| `")?
            .split_once("` |")
            .map(|(event, _)| event)
    })
}

/// Whether a row is about the event that is logged with this text.
fn is_same(row: &str, event: &str) -> bool {
    match (row.split_once('…'), event.split_once('{')) {
        (Some((row, _)), Some((event, _))) => row == event,
        _ => row == event,
    }
}

/// The texts of the events of some code, but those that the debugging of it is for. What is put together elsewhere is passed over.
fn events(code: &str) -> impl Iterator<Item = &str> {
    let logged = |level: &'static str| code.split(level).skip(1);
    ["tracing::error!(", "tracing::warn!(", "tracing::info!("]
        .into_iter()
        .flat_map(logged)
        .filter_map(text_of)
        .filter(|text| !text.starts_with('{'))
}

/// The last literal of the arguments at the beginning of `code`.
fn text_of(code: &str) -> Option<&str> {
    let (mut depth, mut text, mut begun) = (1, None, None);
    let mut escaped = false;
    for (at, char) in code.char_indices() {
        match (begun, char) {
            (Some(from), '"') if !escaped => {
                if depth == 1 {
                    text = Some(&code[from..at]);
                }
                begun = None;
            }
            (Some(_), _) => {}
            (None, '"') => begun = Some(at + 1),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, _) => {}
        }
        escaped = char == '\\' && !escaped;
        if depth == 0 {
            return text;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_with_their_texts() {
        let code = "tracing::warn!(\n    error = chain(\"x)\", \"\\\"y\"),\n    \"it is\n\");\ntracing::debug!(\"no\");\
                    tracing::info!(%a, \"opens for {s:.1} s\"); tracing::warn!(%error, \"{so}\")";
        assert_eq!(
            events(code).collect::<Vec<_>>(),
            ["it is\n", "opens for {s:.1} s"]
        );
    }

    #[test]
    fn a_row_is_about_an_event() {
        let section = "| event | means |\n|---|---|\n| `it is` | x |\n| `opens for …` | y |\n";
        assert_eq!(rows(section).collect::<Vec<_>>(), ["it is", "opens for …"]);
        assert!(is_same("it is", "it is") && is_same("opens for …", "opens for {s:.1} s"));
        assert!(!is_same("it is", "it is not") && !is_same("opens …", "opens for {s:.1} s"));
    }
}
