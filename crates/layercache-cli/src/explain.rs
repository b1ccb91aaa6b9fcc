//! `explain`: prints which tier would serve each layer of an image, and why.

use std::fmt::Write as _;

use anyhow::Result;
use bytesize::ByteSize;
use layercache::core::{Copying, ErrorKind};
use layercache::ops::{
    self, ExplainedFile, ExplainedFinding, ExplainedLayer, ExplainedReading, ExplainedSource,
};

use super::args::Explain;
use super::context::Context;
use super::output;

pub(super) async fn run(context: &Context, command: Explain) -> Result<()> {
    let path = command.path.as_deref();
    let explained = ops::explain(&context.stack, &command.image, path, context.platform()).await?;
    if command.json {
        return output::json(&explained);
    }
    let mut text = String::new();
    for (number, layer) in explained.layers.iter().enumerate() {
        write_layer(&mut text, number, layer)?;
    }
    if let Some(file) = &explained.file {
        write_file(&mut text, file)?;
    }
    output::write(text.as_bytes())
}

fn write_layer(text: &mut String, number: usize, layer: &ExplainedLayer) -> Result<()> {
    let size = layer
        .size
        .map_or_else(String::new, |size| format!("  {} compressed", ByteSize(size)));
    writeln!(text, "layer {number}  {}{size}", layer.digest)?;
    for source in &layer.sources {
        writeln!(text, "  {:<11} {}", source.name, finding(source, layer))?;
    }
    if layer.served_by.is_none() {
        writeln!(text, "  no source serves it")?;
    }
    if let Some(lease) = &layer.lease {
        writeln!(
            text,
            "  first       the lease at {lease}, or what another worker writes there"
        )?;
    }
    for copy in &layer.copies {
        let when = match copy.when {
            Copying::Inline => "before it is read",
            _ => "in the background",
        };
        writeln!(text, "  then        copied to {} {when}", copy.tier)?;
    }
    Ok(())
}

/// Tells the state of a layer at a source, and what follows from it.
fn finding(source: &ExplainedSource, layer: &ExplainedLayer) -> String {
    let reason = || source.error.as_ref().map(output::reason).unwrap_or_default();
    match (source.finding, layer.reading) {
        (ExplainedFinding::Present, Some(reading)) => {
            let len = layer.bytes;
            let len = len.map_or_else(String::new, |len| format!(": {}", ByteSize(len)));
            let how = match (reading, layer.unit) {
                (ExplainedReading::InPlace, Some(unit)) if unit > 1 => {
                    format!(", read there in chunks of {}", ByteSize(unit))
                }
                (ExplainedReading::Copied, _) => ", read once it is copied".to_owned(),
                _ => ", read there".to_owned(),
            };
            format!("serves it{len}{how}")
        }
        (ExplainedFinding::NotAsked, Some(_)) => match layer.size {
            Some(size) => format!("would be asked: fetches and inflates {}", ByteSize(size)),
            None => "would be asked: fetches and inflates it".to_owned(),
        },
        (ExplainedFinding::Unverified, _) => {
            "has a file for it without an index, and hashes all of it first".to_owned()
        }
        (ExplainedFinding::Absent, _) if source.takes_layers => "lacks it".to_owned(),
        (ExplainedFinding::Absent, _) => "lacks it, and gets no copy".to_owned(),
        (ExplainedFinding::Refused, _) => format!("lacks it, and takes no copy: {}", reason()),
        (ExplainedFinding::Failed, _) => match &source.error {
            Some(error) if error.kind() == ErrorKind::Invalid => {
                format!("refuses the image: {}", ops::error_line(error))
            }
            _ => format!("passed over: {}", reason()),
        },
        (ExplainedFinding::Present | ExplainedFinding::NotAsked, None) => "has it".to_owned(),
    }
}

fn write_file(text: &mut String, file: &ExplainedFile) -> Result<()> {
    match file {
        ExplainedFile::Unknown(file) => {
            let numbers: Vec<_> = file.unknown_layers.iter().map(usize::to_string).collect();
            writeln!(
                text,
                "file  not known: the tree of a layer is known once a tier has the layer, and not yet of layer {}",
                numbers.join(", ")
            )?;
        }
        ExplainedFile::Found(file) => {
            let at = file
                .offset
                .map_or_else(String::new, |offset| format!(" at {offset}"));
            writeln!(text, "file  {} bytes{at} of layer {}", file.bytes, file.layer)?;
            let source = file.served_by.as_deref().unwrap_or("no source");
            let moved = file
                .moved_bytes
                .map_or_else(|| "an unknown number of".to_owned(), |moved| moved.to_string());
            let ratio = file
                .ratio
                .map_or_else(String::new, |ratio| format!(" ({ratio:.1} times as many)"));
            writeln!(
                text,
                "  {source:<11} moves {moved} bytes for {}{ratio}",
                file.asked_bytes
            )?;
        }
    }
    Ok(())
}
