//! `cargo xtask features`: what a build of the facade must not pull in. A feature that is left out is not compiled.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

/// Features of `layercache`, and packages that a build with just these must not contain.
const ABSENT: &[(&[&str], &[&str])] = &[
    (
        &[],
        &[
            "cache-disk",
            "cache-remote-redis",
            "cache-remote-s3",
            "registry",
            "reqwest",
            "hyper",
            "rustls",
            "redis",
            "aws-sdk-s3",
            "axum",
            "clap",
            "anyhow",
            "metrics-exporter-prometheus",
            "metrics-util",
        ],
    ),
    (
        &["disk"],
        &[
            "registry",
            "reqwest",
            "hyper",
            "rustls",
            "redis",
            "aws-sdk-s3",
            "metrics-exporter-prometheus",
        ],
    ),
    (
        &["registry"],
        &["cache-disk", "redis", "aws-config", "aws-sdk-s3"],
    ),
    (
        &["redis"],
        &[
            "cache-disk",
            "registry",
            "reqwest",
            "hyper",
            "aws-config",
            "aws-sdk-s3",
            "aws-smithy-runtime",
            "clap",
        ],
    ),
    (&["s3"], &["cache-disk", "registry", "reqwest", "redis", "clap"]),
    (
        &["metrics"],
        &["registry", "reqwest", "hyper", "rustls", "axum", "clap"],
    ),
    (
        &["default"],
        &[
            "cache-remote-redis",
            "cache-remote-s3",
            "redis",
            "aws-config",
            "aws-sdk-s3",
            "aws-smithy-runtime",
        ],
    ),
];

/// Packages that no build may contain: a second TLS stack or HTTP client generation, code with a known fault, or what is for
/// tests alone.
const NEVER: &[&str] = &["native-tls", "openssl-sys", "ring", "tokio-tar", "cache-testkit"];

/// Every feature: what stands in [`NEVER`] must not come in by any of them.
const FULL: (&[&str], &[&str]) = (&["full"], &[]);

pub(crate) fn run(sh: &Shell) -> Result<()> {
    for (features, absent) in ABSENT.iter().chain([&FULL]) {
        let features = features.join(",");
        let tree = cmd!(
            sh,
            "cargo tree --locked --quiet --package layercache --no-default-features --features {features}
             --edges normal --prefix none"
        )
        .quiet()
        .read()?;
        let packages: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        ensure!(
            packages.contains("layercache"),
            "cargo tree does not say what is in the build: {tree}"
        );
        let wrong: Vec<_> = absent
            .iter()
            .chain(NEVER)
            .filter(|package| packages.contains(*package))
            .collect();
        ensure!(
            wrong.is_empty(),
            "layercache with features [{features}] pulls in {wrong:?}"
        );
    }
    Ok(())
}
