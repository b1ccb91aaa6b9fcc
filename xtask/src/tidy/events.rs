//! The log: an event that is there when nobody asks for more is in the table of the page for operators, and what is there is logged.

use std::fs;

use anyhow::{Context, Result};

use super::FOR_TESTS;
use lab::dirs;

const PAGE: &str = "docs/operations.md";
const HEADING: &str = "\n## Log\n";
/// The program and the operations behind its commands: their events are for whoever runs a command.
const COMMANDS: [&str; 2] = ["crates/layercache-cli/src/", "crates/layercache/src/ops/"];
/// How an event begins, of each level that operators read.
const LEVELS: [(&str, &str); 5] = [
    ("error", "tracing::error!("),
    ("warn", "tracing::warn!("),
    ("warn", ".warn_once("),
    ("info", "tracing::info!("),
    ("debug", "tracing::debug!("),
];

/// An event that is logged, or a row about one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Event<'a> {
    level: &'a str,
    text: &'a str,
}

/// What is wrong with the table of events, given the sources with their paths.
pub(super) fn problems(sources: &[(String, String)]) -> Result<Vec<String>> {
    let page = fs::read_to_string(dirs::workspace().join(PAGE))?;
    let (_, behind) = page
        .split_once(HEADING)
        .context("the page has no section of the log")?;
    let rows: Vec<_> = rows(behind.split("\n## ").next().unwrap_or_default()).collect();
    let logged: Vec<_> = sources
        .iter()
        .filter(|(path, _)| {
            path.contains("/src/")
                && path.starts_with("crates/")
                && !COMMANDS.iter().any(|part| path.starts_with(part))
        })
        .filter(|(path, _)| !FOR_TESTS.iter().any(|part| path.contains(part)))
        .flat_map(|(path, text)| {
            let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((text, ""));
            events(code).map(move |event| (path, event))
        })
        .collect();
    let mut problems = Vec::new();
    for (path, event) in &logged {
        if event.level != "debug" && !rows.iter().any(|row| is_same(row, event)) {
            let Event { level, text } = event;
            problems.push(format!(
                "{path}: the {level} \"{text}\" is not in the table of {PAGE}"
            ));
        }
    }
    for row in &rows {
        if !logged.iter().any(|(_, event)| is_same(row, event)) {
            problems.push(format!("{PAGE}: nothing logs the {} `{}`", row.level, row.text));
        }
    }
    Ok(problems)
}

/// The events in the first columns, where … stands for what differs.
fn rows(section: &str) -> impl Iterator<Item = Event<'_>> {
    section.lines().filter_map(|line| {
        let (text, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let (level, _) = rest.split_once(" |")?;
        Some(Event { level, text })
    })
}

/// Whether a row is about the event that is logged with this text.
fn is_same(row: &Event<'_>, event: &Event<'_>) -> bool {
    row.level == event.level
        && match (row.text.split_once('…'), event.text.split_once('{')) {
            (Some((row, _)), Some((event, _))) => row == event,
            _ => row.text == event.text,
        }
}

/// The events of some code.
fn events(code: &str) -> impl Iterator<Item = Event<'_>> {
    LEVELS.into_iter().flat_map(move |(level, begins)| {
        let texts = code.split(begins).skip(1).filter_map(text_of);
        // A text that is handed on is found where it is handed to.
        let texts = texts.filter(|text| !text.starts_with('{'));
        texts.map(move |text| Event { level, text })
    })
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

    fn event<'a>(level: &'a str, text: &'a str) -> Event<'a> {
        Event { level, text }
    }

    #[test]
    fn events_are_found_with_their_texts() {
        let code = "tracing::warn!(\n    error = chain(\"x)\", \"\\\"y\"),\n    \"it is\n\");\ntracing::debug!(\"no\");\
                    tracing::info!(%a, \"opens for {s:.1} s\"); tracing::warn!(%error, \"{so}\")";
        let found: Vec<_> = events(code).collect();
        let expected = [
            event("warn", "it is\n"),
            event("info", "opens for {s:.1} s"),
            event("debug", "no"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_row_is_about_an_event() {
        let section = "| event | level | means |\n|---|---|---|\n| `it is` | warn | x |\n| `opens for …` | info | y |\n";
        let rows: Vec<_> = rows(section).collect();
        assert_eq!(rows, [event("warn", "it is"), event("info", "opens for …")]);
        assert!(is_same(&rows[0], &event("warn", "it is")));
        assert!(is_same(&rows[1], &event("info", "opens for {s:.1} s")));
        for (row, other) in [
            (0, event("warn", "it is not")),
            (0, event("info", "it is")),
            (1, event("info", "opens {s:.1} s")),
        ] {
            assert!(!is_same(&rows[row], &other), "{other:?}");
        }
    }
}
