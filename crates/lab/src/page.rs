//! Pages of `docs/` with figures that a task writes, between marks.

use anyhow::{Context as _, Result};

/// Replaces the text between `<!-- NAME -->` and the next `<!-- end -->`.
///
/// # Errors
///
/// If the page lacks a mark.
pub fn replace(page: &str, name: &str, with: &str) -> Result<String> {
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
