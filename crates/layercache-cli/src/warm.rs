//! `warm`: brings the layers of a list of images into the cache, continuing past failures.

use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use layercache::ops::{self, Event, WantedImage, WarmedImage};

use super::args::Warm;
use super::context::Context;
use super::output;
use super::pull::extent;

/// Longest list in bytes.
const MAX_LIST_LEN: u64 = 4 << 20;

pub(super) async fn run(context: &Context, command: Warm) -> Result<()> {
    let mut wanted: Vec<_> = command.images.into_iter().map(WantedImage::of).collect();
    if let Some(file) = command.file {
        let list = tokio::task::spawn_blocking(move || read(&file)).await??;
        wanted.extend(WantedImage::parse_list(&list));
    }
    let print = |event: Event<'_>| match event {
        Event::ImageDone(image) if command.json => output::json(image),
        Event::ImageDone(image) => output::write(to_line(image).as_bytes()),
        _ => Ok(()),
    };
    let warmed = context.run(print, async |stack, progress| {
        ops::warm(stack, wanted, command.jobs.into(), context.platform(), progress).await
    });
    output::end(warmed.await?.failure())
}

fn read(file: &Path) -> Result<String> {
    let mut list = String::new();
    let read = |from: &mut dyn Read, list: &mut String| from.take(MAX_LIST_LEN + 1).read_to_string(list);
    if file.as_os_str() == "-" {
        read(&mut std::io::stdin().lock(), &mut list).context("standard input")?;
    } else {
        let open = || std::fs::File::open(file);
        let opened = open().and_then(|mut opened| read(&mut opened, &mut list));
        opened.with_context(|| file.display().to_string())?;
    }
    if list.len() as u64 > MAX_LIST_LEN {
        bail!(
            "{}: the list is longer than {MAX_LIST_LEN} bytes: divide it",
            file.display()
        );
    }
    Ok(list)
}

fn to_line(image: &WarmedImage) -> String {
    let what = match (image.layers.zip(image.bytes), &image.error) {
        (Some((layers, bytes)), _) => format!("warm  {}", extent(layers, bytes)),
        (None, Some(error)) => format!("failed  {}", ops::error_line(error)),
        (None, None) => "failed".to_owned(),
    };
    format!("{}  {what}\n", output::plain(&image.image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_bounded() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("list");
        std::fs::write(&path, vec![b'\n'; MAX_LIST_LEN as usize]).unwrap();
        assert!(read(&path).is_ok());
        std::fs::write(&path, vec![b'\n'; MAX_LIST_LEN as usize + 1]).unwrap();
        assert!(read(&path).is_err());
    }
}
