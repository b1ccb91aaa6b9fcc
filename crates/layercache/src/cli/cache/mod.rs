//! `cache`: looks after the cache directory.

mod gc;
mod list;
mod usage;
mod verify;

use anyhow::{Context as _, Result, bail};
use layercache::core::Tier;
use serde_json::json;

use super::args::Cache;
use super::context::Context;
use super::output;

pub(super) async fn run(context: &Context, command: Cache) -> Result<()> {
    let disks = context.stack.disks();
    if disks.is_empty() {
        bail!("the configuration has no tier of the kind `disk`");
    }
    let mut wrong = 0;
    let mut found = false;
    for disk in disks {
        match &command {
            Cache::List(format) => list::run(disk, format.json).await,
            Cache::Usage(format) => usage::run(disk, format.json).await,
            Cache::Verify(format) => verify::run(context, disk, format.json)
                .await
                .map(|count| wrong += count),
            Cache::Gc(gc) => {
                let report = disk.gc(gc.max_bytes.map(|size| size.0)).await?;
                gc::report(disk, &report, gc.json)
            }
            Cache::Remove(remove) => {
                found |= disk.remove(&remove.digest).await?;
                Ok(())
            }
            Cache::Clear(format) => gc::report(disk, &disk.clear().await?, format.json),
        }
        .with_context(|| disk.dir().display().to_string())?;
    }
    match wrong {
        0 => {}
        1 => bail!("1 layer was wrong and has been removed: the next pull fetches it again"),
        _ => bail!("{wrong} layers were wrong and have been removed: the next pull fetches them again"),
    }
    if let Cache::Remove(remove) = &command {
        if remove.json {
            output::json(&json!({ "digest": remove.digest.to_string(), "removed": found }))?;
        }
        if !found {
            bail!("layer {} is not in the cache", remove.digest);
        }
        if !remove.json {
            output::write(format!("removed {}\n", remove.digest).as_bytes())?;
        }
    }
    Ok(())
}
