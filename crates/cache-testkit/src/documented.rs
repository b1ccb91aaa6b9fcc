//! What the pages in `docs/` show of a format, to be compared with what the code makes.

use std::path::Path;

/// The first word of each line in the block of `docs/<page>` below the mark `<!-- <name> -->`: what follows it there is for readers.
///
/// ```
/// let names = cache_testkit::documented("formats.md", "names on disk");
/// assert!(names.iter().any(|name| name == "lock/quota"));
/// ```
///
/// # Panics
/// When there is no such page, or no such block in it.
pub fn documented(page: &str, name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mark = format!("<!-- {name} -->\n```text\n");
    let (_, block) = text
        .split_once(&mark)
        .unwrap_or_else(|| panic!("{page} has no block that is marked {name:?}"));
    let (block, _) = block.split_once("\n```").unwrap_or((block, ""));
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    block.lines().filter_map(first).collect()
}
