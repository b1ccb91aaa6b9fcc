//! docs/performance.md: the figures in it are written by the bench, between marks.

use std::fs;

use anyhow::{Context as _, Result};

use super::growth::{self, Growth};
use super::memory::{self, Peak};
use super::row::{self, Measured};
use super::stages::{self, Stages};
use crate::dirs;

/// Replaces the figures of what was measured, and the plots.
pub(super) fn write(
    measured: &[Measured],
    memory: Option<&[Peak]>,
    stages: Option<&Stages>,
    growth: Option<&Growth>,
) -> Result<()> {
    let docs = dirs::workspace().join("docs");
    let path = docs.join("performance.md");
    let mut page = fs::read_to_string(&path)?;
    if !measured.is_empty() {
        page = replace(&page, "rows", &row::table(measured))?;
    }
    if let Some(memory) = memory {
        page = replace(&page, memory::NAME, &memory::table(memory))?;
    }
    if let Some(stages) = stages {
        page = replace(&page, stages::NAME, &stages::table(stages))?;
    }
    if let Some(growth) = growth {
        page = replace(&page, growth::NAME, &growth::tables(growth))?;
        for (name, svg) in growth::plots(growth)? {
            fs::write(docs.join(name), svg)?;
        }
    }
    Ok(fs::write(path, page)?)
}

/// Replaces what is between `<!-- NAME -->` and the next `<!-- end -->`.
pub(crate) fn replace(page: &str, name: &str, with: &str) -> Result<String> {
    let mark = format!("<!-- {name} -->\n");
    let (before, rest) = page
        .split_once(&mark)
        .with_context(|| format!("the page has no mark `{name}`"))?;
    let (_, after) = rest
        .split_once("<!-- end -->")
        .with_context(|| format!("the mark `{name}` has no end"))?;
    Ok(format!("{before}{mark}{with}<!-- end -->{after}"))
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn what_is_between_the_marks_is_replaced_and_nothing_else() {
        let page = "a\n<!-- rows -->\nold\n<!-- end -->\nb\n<!-- memory -->\nkept\n<!-- end -->\n";
        let wanted = "a\n<!-- rows -->\nnew\n<!-- end -->\nb\n<!-- memory -->\nkept\n<!-- end -->\n";
        assert_eq!(replace(page, "rows", "new\n").unwrap(), wanted);
        assert!(replace(page, "growth", "").is_err());
    }
}
