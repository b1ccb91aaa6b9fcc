//! `cache verify`: hashes the layers again.

use anyhow::Result;
use layercache::core::{Digest, ErrorKind, Tier};
use layercache::disk::{DiskTier, Verification};
use serde_json::json;

use super::list::layers;
use super::{Context, output};

/// Verifies every layer and removes those that are wrong; how many these were.
pub(super) async fn run(context: &Context, disk: &DiskTier, json: bool) -> Result<usize> {
    let mut wrong = 0;
    for layer in layers(disk).await? {
        let outcome = verify_layer(context, disk, &layer.digest).await?;
        wrong += usize::from(outcome == "corrupt");
        if json {
            output::json(
                &json!({ "digest": layer.digest.to_string(), "bytes": layer.len, "outcome": outcome }),
            )?;
        } else {
            output::write(format!("{}  {outcome}\n", layer.digest).as_bytes())?;
        }
    }
    Ok(wrong)
}

async fn verify_layer(context: &Context, disk: &DiskTier, digest: &Digest) -> Result<&'static str> {
    let bar = context.bars.bytes(digest.hex().chars().take(12).collect());
    let progress = bar.clone();
    let outcome = disk
        .verify(digest, move |hashed| progress.set_position(hashed))
        .await;
    bar.finish_and_clear();
    match outcome {
        Ok(Verification::Intact(_)) => Ok("intact"),
        Ok(Verification::Absent) => Ok("absent"),
        Ok(_) => Ok("unverifiable"),
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            tracing::warn!(%error, "removing a layer that is wrong");
            disk.remove(digest).await?;
            Ok("corrupt")
        }
        Err(error) => Err(error.into()),
    }
}
