//! `config`: what is in effect, what could be set, and whether each part answers.

use anyhow::{Result, bail};
use layercache::core::Copying;
use layercache::{Answer, Kinds, SourceCheck};
use serde_json::{Value, json};

use super::args::{Global, Json};
use super::context::{Context, configuration, placed};
use super::output;

/// Prints the effective configuration. Makes nothing of it: it is for looking into what does not work.
pub(super) fn show(global: &Global, format: &Json) -> Result<()> {
    let kinds = Kinds::builtin();
    let builder = configuration(global, &kinds)?;
    let shown = builder
        .show(&kinds)
        .map_err(|error| placed(global, &builder, error))?;
    match format.json {
        true => output::json(&shown),
        false => output::write(shown.to_string().as_bytes()),
    }
}

/// Prints a configuration file with every key.
pub(super) fn example() -> Result<()> {
    output::write(layercache::Config::example(&Kinds::builtin()).as_bytes())
}

pub(super) async fn check(context: &Context, format: Json) -> Result<()> {
    let sources = context.stack.check().await;
    if format.json {
        let sources: Vec<_> = sources.iter().map(to_json).collect();
        output::json(&json!({ "sources": sources }))?;
    } else {
        let lines: String = sources.iter().map(to_lines).collect();
        output::write(lines.as_bytes())?;
    }
    warn_of_what_is_never_filled(context, &sources);
    let failed = sources.iter().filter_map(|source| match &source.answer {
        Answer::Failed(_) => Some(format!("`{}`", source.name)),
        _ => None,
    });
    let failed: Vec<_> = failed.collect();
    if !failed.is_empty() {
        bail!("{} cannot be used now", failed.join(", "));
    }
    Ok(())
}

/// A tier behind a source that has every layer: that is asked first, and copied into what stands in front of it.
fn warn_of_what_is_never_filled(context: &Context, sources: &[SourceCheck]) {
    let mut origin = None;
    for source in sources {
        match origin {
            None if context.stack.is_origin(&source.name) => origin = Some(&source.name),
            Some(origin) if source.takes_layers => tracing::warn!(
                tier = source.name,
                behind = origin,
                "the tier stands behind an origin, so no layer of that is ever kept in it: move it in front"
            ),
            _ => {}
        }
    }
}

fn to_json(source: &SourceCheck) -> Value {
    let (answer, error) = match &source.answer {
        Answer::Answered => ("ok", None),
        Answer::Failed(error) => ("failed", Some(output::error_line(error))),
        Answer::NotAsked => ("not asked", None),
    };
    json!({
        "name": source.name,
        "kind": source.kind,
        "description": source.description,
        "fill": source.fill.map(copying),
        "write_back": source.write_back.map(copying),
        "lease": source.leases,
        "answer": answer,
        "error": error,
    })
}

/// The source and its answer, and below what can be said of it.
fn to_lines(source: &SourceCheck) -> String {
    let answer = match &source.answer {
        Answer::Answered => "ok".to_owned(),
        Answer::Failed(error) => format!("failed: {}", output::error_line(error)),
        Answer::NotAsked => "not asked".to_owned(),
    };
    let mut line = format!("{}  {answer}\n", source.name);
    let mut about = |key: &str, value: &str| line.push_str(&format!("  {key:<11} {value}\n"));
    about("kind", &source.kind);
    if !source.description.is_empty() {
        about("at", &source.description);
    }
    if let Some(fill) = source.fill {
        about("fill", copying(fill));
    }
    if let Some(write_back) = source.write_back {
        about("write_back", copying(write_back));
        about("lease", if source.leases { "yes" } else { "no" });
    }
    line
}

pub(super) fn copying(copying: Copying) -> &'static str {
    match copying {
        Copying::Background => "background",
        Copying::Inline => "inline",
        Copying::Off => "off",
    }
}
