//! `cargo xtask mutants`: finds changes of the code that no test notices.
//!
//! A run over everything takes many hours, so it is no part of `ci`: ask about the files at hand, or about a part.
//! Settings, and the mutants that may live with the reason of each, are in `.cargo/mutants.toml`.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use lab::{apt, dirs, tools};
use xshell::{Shell, cmd};

/// The packages that are mutated unless one is named.
const PACKAGES: &[&str] = &["cache-core", "cache-disk"];
const SETTINGS: &str = ".cargo/mutants.toml";

/// Mutates, and prints what survives. `arguments` go to cargo-mutants.
pub(crate) fn run(sh: &Shell, arguments: &[String]) -> Result<()> {
    apt::ensure(sh, apt::STRACE)?;
    let tool = tools::ensure(sh, tools::MUTANTS)?;
    let output = dirs::target(sh)?.join("mutants");
    fs::create_dir_all(&output)?;
    let names_package = arguments
        .iter()
        .any(|word| word.starts_with("-p") || word.starts_with("--package"));
    let packages = PACKAGES
        .iter()
        .filter(|_| !names_package)
        .flat_map(|package| ["--package", package]);
    // One at a time: each is a build, which has use for every core.
    cmd!(
        sh,
        "{tool} mutants --jobs 1 --no-shuffle --colors never --cargo-arg=--locked --output {output} {packages...} {arguments...}"
    )
    .run()
    .with_context(|| format!("write a test, or say in {SETTINGS} why a mutant may live"))
}

/// Finds the exclusions in the settings that name a function or a file which is not there, given the sources with their
/// paths.
pub(crate) fn problems(sources: &[(String, String)]) -> Result<Vec<String>> {
    let settings = fs::read_to_string(dirs::workspace().join(SETTINGS))?;
    let exclusions: Vec<_> = exclusions(&settings).collect();
    ensure!(
        !exclusions.is_empty(),
        "{SETTINGS}: there is no list `exclude_re`"
    );
    let gone = exclusions
        .iter()
        .filter(|exclusion| !names_existing(exclusion, sources));
    Ok(gone
        .map(|exclusion| format!("{SETTINGS}: `{exclusion}` names no function or file that is there"))
        .collect())
}

/// The regular expressions of `exclude_re`, one on each line.
fn exclusions(settings: &str) -> impl Iterator<Item = &str> {
    let (_, list) = settings.split_once("\nexclude_re = [\n").unwrap_or_default();
    let lines = list.lines().take_while(|line| *line != "]");
    lines.filter_map(|line| line.trim().strip_prefix('\'')?.strip_suffix("',"))
}

/// Whether the function that a mutant is in is in the sources, or else its file.
fn names_existing(exclusion: &str, sources: &[(String, String)]) -> bool {
    let file = exclusion
        .split_once("\\.rs")
        .map(|(file, _)| format!("/{file}.rs").replace('\\', ""));
    let mut sources = sources.iter().filter(|(path, _)| {
        path.contains("/src/")
            && file
                .as_ref()
                .is_none_or(|file| format!("/{path}").ends_with(file))
    });
    match function(exclusion) {
        Some(function) => {
            let (of, name) = function.rsplit_once("::").unwrap_or(("", function));
            // Of `<impl Trait for Type>` and `Type<'a>`, whatever stands for the lifetime.
            let of = of.trim_end_matches('>').rsplit(' ').next().unwrap_or_default();
            let of = of.split('<').next().unwrap_or_default();
            sources.any(|(_, text)| {
                let is_there = |end| text.contains(&format!("fn {name}{end}"));
                text.contains(of) && (is_there("(") || is_there("<"))
            })
        }
        None => file.is_none() || sources.next().is_some(),
    }
}

/// The function that a mutant is in, as cargo-mutants names it, or that it replaces.
fn function(exclusion: &str) -> Option<&str> {
    let change = exclusion
        .split_once("replace ")
        .map_or(exclusion, |(_, change)| change);
    let inside = change
        .rsplit_once(" in ")
        .map(|(_, function)| function.trim_end_matches('$'));
    let ends = [" -> ", " with \\(\\)"];
    inside.or_else(|| ends.iter().find_map(|end| Some(change.split_once(end)?.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exclusion_names_what_is_there() {
        let text =
            "const A: u64 = 2 * 3;\nimpl Read for Disk<'_> {\n    fn read(&self) {}\n}\nfn check<T>() {}\n";
        let sources = [("crates/a/src/b.rs".to_owned(), text.to_owned())];
        for (exclusion, wanted) in [
            ("tracing::", true),
            ("replace < with <= in check$", true),
            ("replace < with <= in chec$", false),
            (
                "replace Disk<.+>::read -> Result<Option<Hit>> with Ok\\(None\\)",
                true,
            ),
            ("replace Tape::read with \\(\\)", false),
            ("delete ! in <impl Read for Disk<.+>>::read$", true),
            ("delete ! in <impl Read for Disk<.+>>::write$", false),
            ("a/src/b\\.rs:[0-9:]+ replace \\* with \\+$", true),
            ("a/src/c\\.rs:[0-9:]+ replace \\* with \\+$", false),
            ("src/b\\.rs.* replace check with \\(\\)", true),
            ("src/c\\.rs.* replace check with \\(\\)", false),
        ] {
            assert_eq!(names_existing(exclusion, &sources), wanted, "{exclusion}");
        }
    }

    #[test]
    fn exclusions_are_the_quoted_lines_of_one_list() {
        let settings = "exclude_globs = ['x']\nexclude_re = [\n    # A reason.\n    'a',\n    'b',\n]\nskip_calls = [\n    'c',\n]\n";
        assert_eq!(exclusions(settings).collect::<Vec<_>>(), ["a", "b"]);
    }
}
