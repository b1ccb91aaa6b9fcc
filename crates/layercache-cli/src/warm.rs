//! `warm`: brings the layers of a list of images into the cache, and goes on where one of them fails.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt, stream};
use layercache::registry::ImageLocation;
use serde_json::json;

use super::args::Warm;
use super::context::Context;
use super::pull::{Pulled, bring};
use super::{images, output};

/// Longest list in bytes.
const MAX_LIST_LEN: u64 = 4 << 20;

/// One image that was asked for: as it was written, and what that means.
type Wanted = (String, Result<ImageLocation>);

pub(super) async fn run(context: &Context, command: Warm) -> Result<()> {
    let mut wanted: Vec<Wanted> = command
        .images
        .into_iter()
        .map(|location| (location.to_string(), Ok(location)))
        .collect();
    if let Some(file) = command.file {
        let list = tokio::task::spawn_blocking(move || read(&file)).await??;
        wanted.extend(parse(&list));
    }
    let mut known = HashSet::new();
    wanted.retain(|(text, location)| {
        let name = location
            .as_ref()
            .ok()
            .and_then(|location| images::name(location).ok());
        known.insert(name.unwrap_or_else(|| text.clone()))
    });
    let total = wanted.len();
    if total == 0 {
        tracing::warn!("the list names no image: there is nothing to bring");
    }
    let mut brought = stream::iter(wanted)
        .map(|(text, location)| async {
            let pulled = match location {
                Ok(location) => bring(context, &location, |_, _| Ok(())).await,
                Err(error) => Err(error),
            };
            (text, pulled)
        })
        .buffer_unordered(usize::from(command.jobs));
    let mut failed = Vec::new();
    while let Some((text, pulled)) = brought.next().await {
        let print = || report(&text, &pulled, command.json);
        context.bars.suspend(print)?;
        if pulled.is_err() {
            failed.push(text);
        }
    }
    if !failed.is_empty() {
        failed.sort_unstable();
        bail!(
            "{} of {} failed: {}",
            failed.len(),
            output::count(total as u64, "image"),
            failed.join(", ")
        );
    }
    Ok(())
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

/// The images of a list. What is none fails by itself.
fn parse(list: &str) -> impl Iterator<Item = Wanted> {
    let images = list.lines().enumerate().filter_map(|(number, line)| {
        let text = without_remark(line).trim();
        (!text.is_empty()).then_some((number, text))
    });
    images.map(|(number, text)| {
        let location = text.parse::<ImageLocation>();
        let location = location.with_context(|| format!("line {} of the list", number + 1));
        (text.to_owned(), location)
    })
}

/// A remark begins with a # at the start or behind a space: a path may have one inside.
fn without_remark(line: &str) -> &str {
    let begins = |(at, _): &(usize, &str)| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    let remark = line.match_indices('#').find(begins);
    remark.map_or(line, |(at, _)| &line[..at])
}

/// Why the image of this name was not brought, without its name.
fn reason(text: &str, error: &anyhow::Error) -> String {
    let line = output::one_line(error);
    let named = line.strip_prefix(text).and_then(|rest| rest.strip_prefix(": "));
    named.map_or_else(|| line.clone(), str::to_owned)
}

fn report(text: &str, pulled: &Result<Pulled>, json: bool) -> Result<()> {
    let error = pulled.as_ref().err().map(|error| reason(text, error));
    if json {
        let pulled = pulled.as_ref().ok();
        let digest = pulled.and_then(|pulled| pulled.image.manifest_digest);
        return output::json(&json!({
            "image": text,
            "outcome": if error.is_none() { "warm" } else { "failed" },
            "digest": digest.map(|digest| digest.to_string()),
            "layers": pulled.map(|pulled| pulled.image.layers.len()),
            "bytes": pulled.map(|pulled| pulled.bytes),
            "error": error,
        }));
    }
    let what = match (pulled, error) {
        (Ok(pulled), _) => format!("warm  {}", pulled.extent()),
        (_, error) => format!("failed  {}", error.unwrap_or_default()),
    };
    output::write(format!("{}  {what}\n", output::plain(text)).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_an_image_a_line_and_remarks() {
        let list = "# what workers need\ndebian:12\n\n  app.example/team/app:1  # the app\r\n#debian:11\nUPPER CASE\noci:/srv/a#b#remark\n";
        let parsed: Vec<_> = parse(list).collect();
        let names: Vec<_> = parsed.iter().map(|(text, _)| text.as_str()).collect();
        let path = "oci:/srv/a#b#remark";
        assert_eq!(names, ["debian:12", "app.example/team/app:1", "UPPER CASE", path]);
        assert!(parsed[0].1.is_ok() && parsed[1].1.is_ok());
        let error = format!("{:#}", parsed[2].1.as_ref().unwrap_err());
        assert!(error.starts_with("line 6 of the list: "), "{error}");
    }

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
