//! `cargo xtask bench`: the library beside what it is measured against, in the same run.
//!
//! Each row is two ways to the same end. They are run in turns, so that what the machine does meanwhile happens to both, and
//! the medians are compared.

mod containerd;
mod growth;
mod image;
mod lab;
mod layers;
mod memory;
pub(crate) mod page;
mod plot;
mod reads;
mod remote;
mod row;
mod stages;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use xshell::Shell;

use self::lab::Lab;
use self::row::{Measured, Row};

/// In the order of the table.
fn rows() -> Vec<Row> {
    [layers::rows(), reads::rows(), remote::rows()].concat()
}

struct Options {
    /// Rows by name; all of them unless there are any.
    only: Vec<String>,
    json: Option<PathBuf>,
    runs: usize,
    /// Of cargo: what users get, unless told otherwise.
    profile: String,
    /// Whether docs/performance.md gets the figures.
    write: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            only: Vec::new(),
            json: None,
            runs: 5,
            profile: "release".to_owned(),
            write: false,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match word.as_str() {
                "--only" => options.only.extend(value()?.split(',').map(str::to_owned)),
                "--json" => options.json = Some(value()?.into()),
                "--runs" => options.runs = value()?.parse().context("--runs")?,
                "--profile" => options.profile = value()?.clone(),
                "--write" => options.write = true,
                _ => bail!(
                    "`cargo xtask bench [--only ROW,...] [--json FILE] [--runs N] [--profile NAME] [--write]`"
                ),
            }
        }
        ensure!(options.runs > 0, "--runs 0 measures nothing");
        ensure!(
            !options.write || options.profile == "release",
            "what is written down is measured with the profile that users get"
        );
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

pub(crate) fn run(sh: &Shell, arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
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
    let lab = Lab::open(sh, &options.profile)?;
    let mut measured = Vec::new();
    for row in rows().into_iter().filter(|row| options.wants(row.name)) {
        let pair = (row.prepare)(&lab).with_context(|| format!("preparing {}", row.name))?;
        let row = row
            .measure(pair, options.runs)
            .with_context(|| format!("measuring {}", row.name))?;
        eprintln!("{}", row.line());
        measured.push(row);
    }
    let memory = options
        .wants(memory::NAME)
        .then(|| memory::measure(&lab))
        .transpose()?;
    let stages = options
        .wants(stages::NAME)
        .then(|| stages::measure(&lab, options.runs))
        .transpose()?;
    let growth = options
        .wants(growth::NAME)
        .then(|| growth::measure(&lab, options.runs))
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
        page::write(&measured, memory.as_deref(), stages.as_ref(), growth.as_ref())?;
    }
    Ok(())
}

fn json(measured: &[Measured]) -> String {
    let rows: Vec<_> = measured.iter().map(Measured::json).collect();
    format!("{:#}\n", serde_json::json!({ "rows": rows }))
}
