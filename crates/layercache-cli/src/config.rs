//! `config`: shows the settings in effect and those that could be set, and asks each source.

use anyhow::Result;
use layercache::Kinds;
use layercache::ops::{self, CheckAnswer, CheckedSource, copying_name, error_line};

use super::args::{Global, Json};
use super::context::{Context, configuration, placed};
use super::output;

/// Prints the effective configuration. Assembles nothing, so that it works where that fails.
pub(super) fn show(global: &Global, format: &Json) -> Result<()> {
    let kinds = Kinds::builtin();
    let builder = configuration(global, &kinds)?;
    let shown = builder
        .show(&kinds)
        .map_err(|error| placed(global, &builder, error))?;
    let text = match format.json {
        true => format!("{}\n", serde_json::to_string(&shown)?),
        false => shown.to_string(),
    };
    output::write(text.as_bytes())
}

/// Prints a configuration file with every key.
pub(super) fn example() -> Result<()> {
    output::write(layercache::Config::example(&Kinds::builtin()).as_bytes())
}

pub(super) async fn check(context: &Context, format: Json) -> Result<()> {
    let checked = ops::check(&context.stack).await;
    if format.json {
        output::json(&checked)?;
    } else {
        let lines: String = checked.sources.iter().map(to_lines).collect();
        output::write(lines.as_bytes())?;
    }
    output::end(checked.failure())
}

/// Puts a source into words: its answer, and its facts below.
fn to_lines(source: &CheckedSource) -> String {
    let answer = match (source.answer, &source.error) {
        (CheckAnswer::Ok, _) => "ok".to_owned(),
        (CheckAnswer::NotAsked, _) => "not asked".to_owned(),
        (CheckAnswer::Failed, Some(error)) => format!("failed: {}", error_line(error)),
        (CheckAnswer::Failed, None) => "failed".to_owned(),
    };
    let mut line = format!("{}  {answer}\n", source.name);
    let mut about = |key: &str, value: &str| line.push_str(&format!("  {key:<11} {value}\n"));
    about("kind", &source.kind);
    if !source.description.is_empty() {
        about("at", &source.description);
    }
    if let Some(fill) = source.fill {
        about("fill", copying_name(fill));
    }
    if let Some(write_back) = source.write_back {
        about("write_back", copying_name(write_back));
        about("lease", if source.lease { "yes" } else { "no" });
    }
    line
}
