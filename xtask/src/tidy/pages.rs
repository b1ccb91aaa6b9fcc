//! The pages: what they link to is there, the tests that they name exist, and the README leads to each.

use std::fs;
use std::path::Path;

use anyhow::Result;
use lab::dirs;
use walkdir::WalkDir;

const README: &str = "README.md";

/// What is wrong with the pages of the workspace.
pub(super) fn problems() -> Result<Vec<String>> {
    let root = dirs::workspace();
    let mut pages = vec![README.to_owned(), "ARCHITECTURE.md".to_owned()];
    for entry in WalkDir::new(root.join("docs")).sort_by_file_name() {
        let path = entry?.into_path();
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path.strip_prefix(root)?.to_string_lossy().into_owned());
        }
    }
    let mut problems = Vec::new();
    let mut linked_by_readme = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(root.join(page))?;
        for link in links(&text) {
            if page == README {
                linked_by_readme.push(link.target.clone());
            }
            let path = root.join(page).with_file_name(&link.target);
            let contents = fs::read_to_string(&path).ok();
            problems
                .extend(problem_of(&link, contents.as_deref()).map(|problem| format!("{page}: {problem}")));
        }
    }
    for page in pages.iter().filter(|page| page.starts_with("docs/")) {
        if !linked_by_readme.contains(page) {
            problems.push(format!("{README}: does not link to {page}"));
        }
    }
    Ok(problems)
}

/// A link to a file of the workspace.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    text: String,
    target: String,
}

/// The links of a page, without those to other sites and to places in the page itself.
fn links(page: &str) -> Vec<Link> {
    let mut links = Vec::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("](") {
        let Some((target, behind)) = after.split_once(')') else {
            break;
        };
        let text = before.rsplit('[').next().unwrap_or_default();
        let (path, _) = target.split_once('#').unwrap_or((target, ""));
        if !path.is_empty() && !path.contains("://") {
            links.push(Link {
                text: text.to_owned(),
                target: path.to_owned(),
            });
        }
        rest = behind;
    }
    links
}

/// What is wrong with a link to a file with these contents, `None` where there is no such file that can be read.
fn problem_of(link: &Link, contents: Option<&str>) -> Option<String> {
    let Link { text, target } = link;
    let Some(contents) = contents else {
        return Some(format!("links to {target}, which is not there"));
    };
    let is_source = Path::new(target)
        .extension()
        .is_some_and(|extension| extension == "rs");
    let name = text.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
    match name.filter(|name| is_source && is_function(name)) {
        Some(name) if !contents.contains(&format!("fn {name}(")) => {
            Some(format!("names the test {name}, which is not in {target}"))
        }
        _ => None,
    }
}

fn is_function(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(text: &str, target: &str) -> Link {
        Link {
            text: text.to_owned(),
            target: target.to_owned(),
        }
    }

    #[test]
    fn links_of_the_workspace_are_found_and_others_are_not() {
        let page = "See [a page](docs/a.md#part), [`a_test`](../b.rs), [a site](https://x.example/a.md) and [below](#part).";
        assert_eq!(
            links(page),
            [link("a page", "docs/a.md"), link("`a_test`", "../b.rs")]
        );
    }

    #[test]
    fn what_is_linked_must_be_there_and_have_the_test() {
        let source = Some("#[test]\nfn a_test() {}\n");
        assert_eq!(problem_of(&link("`a_test`", "b.rs"), source), None);
        assert_eq!(problem_of(&link("`b.rs`", "b.rs"), source), None);
        assert_eq!(problem_of(&link("a page", "a.md"), Some("")), None);
        for (link, contents) in [
            (link("`another_test`", "b.rs"), source),
            (link("`a_test`", "b.rs"), None),
            (link("a page", "a.md"), None),
        ] {
            assert!(problem_of(&link, contents).is_some(), "{link:?}");
        }
    }
}
