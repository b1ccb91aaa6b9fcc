//! `explain`: which tier would serve each layer of an image, and why.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bytesize::ByteSize;
use layercache::core::{Copying, ErrorKind};
use layercache::ops::{copying_name, error_line};
use layercache::tree::{Entry, Follow};
use layercache::{Asked, Explanation, Finding, KnownTree, Plan, ReadCost, Reading};
use serde_json::{Value, json};

use super::args::Explain;
use super::context::Context;
use super::output;

pub(super) async fn run(context: &Context, command: Explain) -> Result<()> {
    let image = context.resolve(&command.image).await?;
    let layers = context.stack.explain_all(&image.layers).await;
    let file = match &command.path {
        Some(path) => {
            let place = || format!("{} in {}", path.display(), command.image);
            Some(File::find(context, path, &layers).await.with_context(place)?)
        }
        None => None,
    };
    if command.json {
        let layers: Vec<_> = layers.iter().map(layer_to_json).collect();
        let file = file.map(|file| file.to_json());
        return output::json(&json!({ "image": command.image.to_string(), "layers": layers, "file": file }));
    }
    let mut text = String::new();
    for (number, layer) in layers.iter().enumerate() {
        write_layer(&mut text, number, layer)?;
    }
    if let Some(file) = file {
        file.write(&mut text)?;
    }
    output::write(text.as_bytes())
}

fn write_layer(text: &mut String, number: usize, explanation: &Explanation) -> Result<()> {
    let layer = &explanation.layer;
    let size = layer
        .size
        .map_or_else(String::new, |size| format!("  {} compressed", ByteSize(size)));
    writeln!(text, "layer {number}  {}{size}", layer.digest)?;
    for asked in &explanation.asked {
        writeln!(
            text,
            "  {:<11} {}",
            asked.name,
            what_was_found(asked, explanation)
        )?;
    }
    let Some(plan) = &explanation.plan else {
        writeln!(text, "  no source serves it")?;
        return Ok(());
    };
    if let Some(lease) = &plan.lease {
        writeln!(
            text,
            "  first       the lease at {lease}, or what another worker writes there"
        )?;
    }
    for copy in &plan.copies {
        let when = match copy.when {
            Copying::Inline => "before it is read",
            _ => "in the background",
        };
        writeln!(text, "  then        copied to {} {when}", copy.tier)?;
    }
    Ok(())
}

fn what_was_found(asked: &Asked, explanation: &Explanation) -> String {
    let len = |plan: &Plan| {
        plan.len
            .map_or_else(String::new, |len| format!(": {}", ByteSize(len)))
    };
    match (&asked.finding, &explanation.plan) {
        (Finding::Present, Some(plan)) => {
            let how = match plan.reading {
                Reading::InPlace(unit) if unit.get() > 1 => {
                    format!(", read there in chunks of {}", ByteSize(unit.get()))
                }
                Reading::Copied => ", read once it is copied".to_owned(),
                _ => ", read there".to_owned(),
            };
            format!("serves it{}{how}", len(plan))
        }
        (Finding::NotAsked, Some(_)) => match explanation.layer.size {
            Some(size) => format!("would be asked: fetches and inflates {}", ByteSize(size)),
            None => "would be asked: fetches and inflates it".to_owned(),
        },
        (Finding::Unverified, _) => {
            "has a file for it without an index, and hashes all of it first".to_owned()
        }
        (Finding::Absent, _) if asked.takes_layers => "lacks it".to_owned(),
        (Finding::Absent, _) => "lacks it, and gets no copy".to_owned(),
        (Finding::Refused(error), _) => format!("lacks it, and takes no copy: {}", output::reason(error)),
        (Finding::Failed(error), _) if error.kind() == ErrorKind::Invalid => {
            format!("refuses the image: {}", error_line(error))
        }
        (Finding::Failed(error), _) => format!("passed over: {}", output::reason(error)),
        (Finding::Present | Finding::NotAsked, None) => "has it".to_owned(),
    }
}

fn layer_to_json(explanation: &Explanation) -> Value {
    let plan = explanation.plan.as_ref();
    let sources: Vec<_> = explanation.asked.iter().map(asked_to_json).collect();
    let copies = plan.map_or(&[][..], |plan| &plan.copies);
    let copies: Vec<_> = copies
        .iter()
        .map(|copy| json!({ "tier": copy.tier, "when": copying_name(copy.when) }))
        .collect();
    let reading = plan.map(|plan| match plan.reading {
        Reading::InPlace(_) => "in place",
        Reading::Copied => "copied",
        Reading::Inflated => "inflated",
    });
    let unit = plan.and_then(|plan| match plan.reading {
        Reading::InPlace(unit) => Some(unit.get()),
        Reading::Copied | Reading::Inflated => None,
    });
    json!({
        "digest": explanation.layer.digest.to_string(),
        "size": explanation.layer.size,
        "sources": sources,
        "served_by": plan.map(|plan| &plan.source),
        "bytes": plan.and_then(|plan| plan.len),
        "reading": reading,
        "unit": unit,
        "copies": copies,
        "lease": plan.and_then(|plan| plan.lease.as_ref()),
    })
}

fn asked_to_json(asked: &Asked) -> Value {
    let (finding, error) = match &asked.finding {
        Finding::Present => ("present", None),
        Finding::Unverified => ("unverified", None),
        Finding::Absent => ("absent", None),
        Finding::Refused(error) => ("refused", Some(error_line(error))),
        Finding::Failed(error) => ("failed", Some(error_line(error))),
        Finding::NotAsked => ("not asked", None),
    };
    json!({
        "name": asked.name,
        "kind": asked.kind,
        "finding": finding,
        "takes_layers": asked.takes_layers,
        "error": error,
    })
}

/// What is known of a file, and of what a read of it costs.
enum File {
    Found {
        layer: usize,
        source: Option<String>,
        /// Where its bytes are in the layer; `None` where they are nowhere, or in more than one run.
        offset: Option<u64>,
        len: u64,
        cost: ReadCost,
    },
    /// The trees of these layers are not known.
    Unknown(Vec<usize>),
}

impl File {
    async fn find(context: &Context, path: &Path, layers: &[Explanation]) -> Result<Self> {
        let tree = match context.stack.known_tree(layers).await? {
            KnownTree::Whole(tree) => tree,
            KnownTree::Unknown(layers) => return Ok(Self::Unknown(layers)),
        };
        let Some(node) = tree.resolve(path.as_os_str().as_bytes(), Follow::All)? else {
            bail!("no such file");
        };
        if node.entry().is_dir() {
            bail!("is a directory");
        }
        Ok(Self::found(node.layer(), node.entry(), &layers[node.layer()]))
    }

    fn found(layer: usize, entry: &Entry, explanation: &Explanation) -> Self {
        let extents = entry.file().map_or(&[][..], |file| file.extents());
        let ranges = extents
            .iter()
            .map(|extent| extent.offset..extent.offset + extent.len);
        Self::Found {
            layer,
            source: explanation.plan.as_ref().map(|plan| plan.source.clone()),
            offset: match extents {
                [extent] if extent.len > 0 => Some(extent.offset),
                _ => None,
            },
            len: entry.size(),
            cost: explanation.read_cost(ranges),
        }
    }

    fn write(&self, text: &mut String) -> Result<()> {
        match self {
            Self::Unknown(layers) => {
                let numbers: Vec<_> = layers.iter().map(usize::to_string).collect();
                writeln!(
                    text,
                    "file  not known: the tree of a layer is known once a tier has the layer, and not yet of layer {}",
                    numbers.join(", ")
                )?;
            }
            Self::Found {
                layer,
                source,
                offset,
                len,
                cost,
            } => {
                let at = offset.map_or_else(String::new, |offset| format!(" at {offset}"));
                writeln!(text, "file  {len} bytes{at} of layer {layer}")?;
                let source = source.as_deref().unwrap_or("no source");
                let moved = cost
                    .moved
                    .map_or_else(|| "an unknown number of".to_owned(), |moved| moved.to_string());
                let ratio = cost
                    .ratio()
                    .map_or_else(String::new, |ratio| format!(" ({ratio:.1} times as many)"));
                writeln!(
                    text,
                    "  {source:<11} moves {moved} bytes for {}{ratio}",
                    cost.asked
                )?;
            }
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Unknown(layers) => json!({ "known": false, "unknown_layers": layers }),
            Self::Found {
                layer,
                source,
                offset,
                len,
                cost,
            } => json!({
                "known": true,
                "layer": layer,
                "served_by": source,
                "offset": offset,
                "bytes": len,
                "asked_bytes": cost.asked,
                "moved_bytes": cost.moved,
                "ratio": cost.ratio(),
            }),
        }
    }
}
