//! `cache`: looks after the cache directory.

mod args;
mod gc;
mod list;
mod pin;
mod refetch;
mod remove;
mod usage;
mod verify;

use anyhow::{Context as _, Result, bail};
use layercache::disk::DiskTier;

pub(crate) use self::args::{Cache, EXAMPLES};
use super::context::Context;
use super::{images, output, pull};

pub(super) async fn run(context: &Context, command: Cache) -> Result<()> {
    let disks = context.stack.disks();
    if disks.is_empty() {
        bail!("the configuration has no tier of the kind `disk`, which these commands look after: add one");
    }
    for disk in &disks {
        let path = disk.dir();
        if matches!(tokio::fs::try_exists(path).await, Ok(false)) {
            tracing::warn!(path = %path.display(), "the cache directory is not there: is it mistyped, or has nothing been brought yet?");
        }
    }
    match command {
        Cache::List(format) => {
            each(&disks, !format.json, async |disk| {
                list::run(disk, format.json).await
            })
            .await
        }
        Cache::Usage(format) => each(&disks, false, async |disk| usage::run(disk, format.json).await).await,
        Cache::Verify(verify) => verify::run(context, &disks, &verify).await,
        Cache::Gc(gc) => gc::run(context, &disks, &gc).await,
        Cache::Pin(images) => pin::pin(context, &disks, &images).await,
        Cache::Unpin(images) => pin::unpin(context, &disks, &images).await,
        Cache::Remove(remove) => remove::run(&disks, &remove).await,
        Cache::Clear(format) => {
            each(&disks, !format.json, async |disk| {
                gc::clear(disk, format.json).await
            })
            .await
        }
    }
}

/// Does it to one directory after the other; the error names the directory.
async fn each(
    disks: &[&DiskTier],
    headed: bool,
    command: impl AsyncFn(&DiskTier) -> Result<()>,
) -> Result<()> {
    for &disk in disks {
        head(disks, disk, headed)?;
        let done = command(disk).await;
        done.with_context(|| disk.dir().display().to_string())?;
    }
    Ok(())
}

/// Names one of several directories above what is printed of it, as `ls` does, where it is to be `headed`: JSON has the name of the tier in
/// each object.
fn head(disks: &[&DiskTier], disk: &DiskTier, headed: bool) -> Result<()> {
    match headed && disks.len() > 1 {
        true => output::write(
            format!(
                "{}:
",
                disk.dir().display()
            )
            .as_bytes(),
        ),
        false => Ok(()),
    }
}
