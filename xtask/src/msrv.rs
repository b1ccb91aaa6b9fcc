//! `cargo xtask msrv`: no dependency asks for a later Rust than the workspace declares as its `rust-version`.
//!
//! What the workspace's own code asks for, clippy's `incompatible_msrv` knows. A build with the declared version would tell both, but
//! needs that version.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshell::{Shell, cmd};

type Version = [u32; 3];

pub(crate) fn run(sh: &Shell) -> Result<()> {
    // Those that deny.toml looks at.
    let targets = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
    let targets = targets.iter().flat_map(|target| ["--filter-platform", target]);
    let metadata = cmd!(
        sh,
        "cargo metadata --locked --format-version 1 --all-features {targets...}"
    )
    .quiet()
    .read()?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?;
    let (declared, highest) = compare(packages)?;
    eprintln!("Rust {declared} is declared, and the dependencies need {highest}");
    Ok(())
}

/// The version that the workspace declares, and the highest one that a dependency asks for, which must not be later.
fn compare(packages: &[Value]) -> Result<(String, String)> {
    let mut declared: Option<(Version, &str)> = None;
    let mut highest = ([0; 3], "none", "nobody");
    for package in packages {
        let name = package["name"].as_str().context("a package without a name")?;
        // Packages of the workspace alone come from nowhere.
        let is_ours = package["source"].is_null();
        let Some(text) = package["rust_version"].as_str() else {
            ensure!(!is_ours, "{name} does not inherit `rust-version`");
            continue;
        };
        let version = parse(text).with_context(|| format!("{name} asks for Rust {text:?}"))?;
        if is_ours {
            ensure!(
                declared.is_none_or(|(other, _)| other == version),
                "{name} declares another `rust-version` than the rest of the workspace"
            );
            declared = Some((version, text));
        } else if version > highest.0 {
            highest = (version, text, name);
        }
    }
    let (version, declared) = declared.context("the workspace declares no `rust-version`")?;
    ensure!(
        highest.0 <= version,
        "{} needs Rust {}, and `rust-version` in Cargo.toml says {declared}",
        highest.2,
        highest.1
    );
    Ok((declared.to_owned(), format!("{} ({})", highest.1, highest.2)))
}

/// `1.85` is `1.85.0`.
fn parse(text: &str) -> Option<Version> {
    let mut version = [0; 3];
    let mut parts = text.split('.');
    for place in &mut version {
        let Some(part) = parts.next() else { break };
        *place = part.parse().ok()?;
    }
    parts.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, version: Option<&str>) -> Value {
        let source = (!name.starts_with("our")).then_some("registry");
        json!({ "name": name, "rust_version": version, "source": source })
    }

    #[test]
    fn the_highest_version_that_is_asked_for_counts() {
        let packages = [
            package("ours", Some("1.94.1")),
            package("a", Some("1.85")),
            package("b", Some("1.9.0")),
            package("c", None),
        ];
        assert_eq!(
            compare(&packages).unwrap(),
            ("1.94.1".to_owned(), "1.85 (a)".to_owned())
        );
    }

    #[test]
    fn what_asks_for_more_or_says_nothing_is_named() {
        let ours = || package("ours", Some("1.94.1"));
        for (packages, words) in [
            (vec![ours(), package("new", Some("1.95"))], "new needs Rust 1.95"),
            (
                vec![ours(), package("odd", Some("nightly"))],
                "odd asks for Rust \"nightly\"",
            ),
            (
                vec![ours(), package("our-other", Some("1.94"))],
                "our-other declares another",
            ),
            (vec![package("ours", None)], "ours does not inherit"),
            (vec![package("a", Some("1.85"))], "declares no `rust-version`"),
        ] {
            let error = format!("{:#}", compare(&packages).unwrap_err());
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
