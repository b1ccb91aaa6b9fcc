//! `cargo xtask tidy`: the project's own rules about its source files and pages, which no other tool knows.

mod errors;
mod events;
mod pages;

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use lab::dirs;
use walkdir::WalkDir;

use crate::{mutants, planted};

/// Unfinished or forgotten code. In pieces, or this file would break its own rule.
const FORBIDDEN: &[&str] = &[
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("db", "g!("),
    concat!("#[ig", "nore"),
];

/// Code that users never run.
const FOR_TESTS: [&str; 6] = [
    "/tests/",
    "/tests.rs",
    "crates/scheduled/",
    "crates/cache-testkit/",
    "crates/lab/",
    "crates/properties/",
];

/// Code that assembles: nothing else may ask which features are on.
const ASSEMBLY: [&str; 2] = ["crates/layercache/", "crates/layercache-cli/src/main.rs"];
const ASKS_FEATURE: &str = concat!("cfg(fea", "ture");

pub(crate) fn run() -> Result<()> {
    let mut problems = Vec::new();
    let sources = sources()?;
    for (path, text) in &sources {
        problems.extend(
            problems_of(path, text)
                .into_iter()
                .map(|problem| format!("{path}: {problem}")),
        );
    }
    problems.extend(events::problems(&sources)?);
    problems.extend(mutants::problems(&sources)?);
    problems.extend(planted::problems(&sources)?);
    problems.extend(pages::problems()?);
    if !problems.is_empty() {
        bail!("not tidy:\n  {}", problems.join("\n  "));
    }
    Ok(())
}

/// The Rust sources and manifests of all crates, with their paths in the workspace.
fn sources() -> Result<Vec<(String, String)>> {
    let root = dirs::workspace();
    let mut sources = Vec::new();
    for entry in ["crates", "fuzz/fuzz_targets", "xtask"]
        .iter()
        .flat_map(|directory| WalkDir::new(root.join(directory)).sort_by_file_name())
    {
        let entry = entry?;
        let is_source = entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "rs");
        if entry.file_type().is_file() && (is_source || entry.file_name() == "Cargo.toml") {
            let path = entry.path().strip_prefix(root)?.to_string_lossy().into_owned();
            sources.push((path, fs::read_to_string(entry.path())?));
        }
    }
    Ok(sources)
}

fn problems_of(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let file_name = Path::new(path).file_name();
    if file_name.is_some_and(|name| name == "Cargo.toml") {
        if !text.contains("[lints]\nworkspace = true") {
            problems.push("does not inherit the lints of the workspace".to_owned());
        }
        return problems;
    }
    if (path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs")) && !text.starts_with("//!") {
        problems.push("does not begin with what the crate is".to_owned());
    }
    problems.extend(errors::problems_of(path, text));
    for (number, line) in text.lines().enumerate() {
        let found = FORBIDDEN.iter().filter(|word| line.contains(**word));
        problems.extend(found.map(|word| format!("line {}: `{word}`", number + 1)));
        if line.contains(ASKS_FEATURE) && !ASSEMBLY.iter().any(|assembly| path.starts_with(assembly)) {
            problems.push(format!(
                "line {}: only {} may ask for features",
                number + 1,
                ASSEMBLY.join(" and ")
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_breach() {
        let breaches = [
            ("crates/a/Cargo.toml", "[package]\nname = \"a\"\n".to_owned()),
            ("crates/a/src/lib.rs", "pub mod b;\n".to_owned()),
            ("crates/a/src/b.rs", format!("fn f() {{ {}) }}\n", FORBIDDEN[0])),
            ("crates/a/src/b.rs", format!("#[{ASKS_FEATURE} = \"x\")]\n")),
        ];
        for (path, text) in breaches {
            assert_eq!(problems_of(path, &text).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn what_follows_the_rules_passes() {
        let asks = format!("//! Crate.\n#[{ASKS_FEATURE} = \"x\")]\n");
        assert!(problems_of("crates/layercache/src/lib.rs", &asks).is_empty());
        assert!(problems_of("crates/a/src/lib.rs", "//! Crate.\n").is_empty());
        assert!(problems_of("crates/a/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n").is_empty());
    }
}
