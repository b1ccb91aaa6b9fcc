//! `demo`: reads files of an image with and without the cache, and shows what each way costs.
//!
//! Each way runs in a process of its own, so that its memory is its own and the last one finds nothing but the warm
//! directory:
//! 1. the old way: a stack of the registry alone, where every read inflates its layer;
//! 2. the cache, cold: an empty directory in front of the registry;
//! 3. the cache, restarted: the same directory again.

mod image;
mod phase;
mod plan;
mod registry;
mod table;
mod way;

use std::path::Path;

use anyhow::{Context as _, Result};
use layercache::registry::{ImageLocation, Platform};
use serde_json::Value;

use self::phase::Outcome;
use self::plan::Plan;
use self::registry::DemoRegistry;
use self::way::Way;
use super::args::{Demo, Global};

pub(super) use self::phase::run as run_phase;

pub(super) async fn run(global: &Global, command: &Demo) -> Result<()> {
    let scratch = tempfile::tempdir().context("a directory for the demo")?;
    let platform = global.platform.clone().unwrap_or_else(Platform::host);
    let (_registry, location) = match &command.image {
        Some(location) => (None, location.clone()),
        None => {
            eprintln!("building an image of three layers ...");
            let (registry, location) = serve(scratch.path(), &platform).await?;
            (Some(registry), location)
        }
    };
    eprintln!("choosing {} files of {location} ...", command.files);
    let plan = Plan::make(
        &location,
        &platform,
        command.files,
        global.plain_http,
        scratch.path(),
    )
    .await?;
    let path = scratch.path().join("plan.json");
    std::fs::write(&path, serde_json::to_vec(&plan)?)?;
    let mut outcomes = Vec::new();
    for way in [Way::Registry, Way::Cold, Way::Warm] {
        eprintln!("reading: {} ...", way.label());
        outcomes.push(phase::spawn(way, &path, global.plain_http, scratch.path()).await?);
    }
    super::output::write(table::render(&plan, &outcomes).as_bytes())?;
    match &global.stats {
        Some(path) => super::stats::write(&figures(&outcomes), path),
        None => Ok(()),
    }
}

/// The figures of each way, by its key.
fn figures(outcomes: &[Outcome]) -> Value {
    let figures = |outcome: &Outcome| (outcome.way.key().to_owned(), outcome.figures.clone());
    outcomes.iter().map(figures).collect()
}

async fn serve(dir: &Path, platform: &Platform) -> Result<(DemoRegistry, ImageLocation)> {
    let (dir, platform) = (dir.join("registry"), platform.clone());
    let image = tokio::task::spawn_blocking(move || image::build(&dir, &platform)).await??;
    let registry = DemoRegistry::start(image).await?;
    let location = registry.location().parse()?;
    Ok((registry, location))
}
