//! `cargo xtask bench`: the library beside what it is measured against, in the same run.
//!
//! Each row is two ways to the same end. They are run in turns, so that what the machine does meanwhile happens to both, and
//! the medians are compared.

mod containerd;
mod growth;
mod image;
mod layers;
mod memory;
mod reads;
mod remote;
mod row;
mod setup;
mod stages;

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use xshell::Shell;

use self::growth::Growth;
use self::memory::Peak;
use self::row::{Measured, Row};
use self::setup::Setup;
use self::stages::Stages;
use crate::{dirs, page};

/// In the order of the table.
fn rows() -> Vec<Row> {
    [layers::rows(), reads::rows(), remote::rows()].concat()
}

/// What is measured, and what becomes of the figures.
#[derive(Debug)]
pub struct Options {
    /// The names of rows; all of them are measured if there is none.
    pub only: Vec<String>,
    /// The file that gets the figures as JSON.
    pub json: Option<PathBuf>,
    /// The runs of each row.
    pub runs: NonZeroUsize,
    /// The profile of cargo. Users get `release`.
    pub profile: String,
    /// Whether docs/performance.md gets the figures.
    pub write: bool,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

/// Measures, and prints the tables.
///
/// # Errors
///
/// If the options contradict each other, or one way of a row fails.
pub fn run(sh: &Shell, options: &Options) -> Result<()> {
    let runs = options.runs.get();
    ensure!(
        !options.write || options.profile == "release",
        "only figures of the profile that users get are written down: leave --profile out"
    );
    let known: Vec<&str> = rows()
        .iter()
        .map(|row| row.name)
        .chain([memory::NAME, stages::NAME, growth::NAME])
        .collect();
    if let Some(unknown) = options.only.iter().find(|only| !known.contains(&only.as_str())) {
        bail!("no row `{unknown}`: choose of {}", known.join(", "));
    }
    let wanted = rows().iter().filter(|row| options.wants(row.name)).count();
    ensure!(
        !options.write || wanted == 0 || wanted == rows().len(),
        "the table of rows is written as a whole: measure all of them, or none"
    );
    let setup = Setup::open(sh, &options.profile)?;
    let mut measured = Vec::new();
    for row in rows().into_iter().filter(|row| options.wants(row.name)) {
        let pair = (row.prepare)(&setup).with_context(|| format!("preparing {}", row.name))?;
        let row = row
            .measure(pair, runs)
            .with_context(|| format!("measuring {}", row.name))?;
        eprintln!("{}", row.line());
        measured.push(row);
    }
    let memory = options
        .wants(memory::NAME)
        .then(|| memory::measure(&setup))
        .transpose()?;
    let stages = options
        .wants(stages::NAME)
        .then(|| stages::measure(&setup, runs))
        .transpose()?;
    let growth = options
        .wants(growth::NAME)
        .then(|| growth::measure(&setup, runs))
        .transpose()?;
    println!("{}", row::table(&measured));
    if let Some(memory) = &memory {
        println!("{}", memory::table(memory));
    }
    if let Some(stages) = &stages {
        println!("{}", stages::table(stages));
    }
    if let Some(growth) = &growth {
        println!("{}", growth::tables(growth));
    }
    if let Some(path) = &options.json {
        fs::write(path, json(&measured)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if options.write {
        write(&measured, memory.as_deref(), stages.as_ref(), growth.as_ref())?;
    }
    Ok(())
}

fn json(measured: &[Measured]) -> String {
    let rows: Vec<_> = measured.iter().map(Measured::json).collect();
    format!("{:#}\n", serde_json::json!({ "rows": rows }))
}

/// Replaces the figures of what was measured in docs/performance.md, and the plots.
fn write(
    measured: &[Measured],
    memory: Option<&[Peak]>,
    stages: Option<&Stages>,
    growth: Option<&Growth>,
) -> Result<()> {
    let docs = dirs::workspace().join("docs");
    let path = docs.join("performance.md");
    let mut text = fs::read_to_string(&path)?;
    if !measured.is_empty() {
        text = page::replace(&text, "rows", &row::table(measured))?;
    }
    if let Some(memory) = memory {
        text = page::replace(&text, memory::NAME, &memory::table(memory))?;
    }
    if let Some(stages) = stages {
        text = page::replace(&text, stages::NAME, &stages::table(stages))?;
    }
    if let Some(growth) = growth {
        text = page::replace(&text, growth::NAME, &growth::tables(growth))?;
        for (name, svg) in growth::plots(growth)? {
            fs::write(docs.join(name), svg)?;
        }
    }
    Ok(fs::write(path, text)?)
}
