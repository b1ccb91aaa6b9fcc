//! The texts of errors: whoever reads one alone has to understand it.

use super::FOR_TESTS;

/// The constructors that take one.
const CONSTRUCTORS: [&str; 5] = ["unavailable", "corrupt", "permanent", "invalid", "disputed"];
/// A text of fewer words does not say what happened to what.
const MIN_WORDS: usize = 4;

/// What is wrong with the texts of errors in a source file.
pub(super) fn problems_of(path: &str, text: &str) -> Vec<String> {
    if !path.contains("/src/") || FOR_TESTS.iter().any(|part| path.contains(part)) {
        return Vec::new();
    }
    let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((text, ""));
    let mut problems = Vec::new();
    for constructor in CONSTRUCTORS {
        for after in code.split(&format!("Error::{constructor}(")).skip(1) {
            let argument = after.trim_start();
            let argument = argument.strip_prefix("format!(").unwrap_or(argument).trim_start();
            // What is put together elsewhere is looked at by whoever reads the table of errors.
            if let Some(text) = literal(argument) {
                problems.extend(problem_of(text).map(|problem| format!("the error \"{text}\" {problem}")));
            }
        }
    }
    problems
}

/// The text of a string literal at the beginning of `code`.
fn literal(code: &str) -> Option<&str> {
    let code = code.strip_prefix('"')?;
    let mut escaped = false;
    let end = code.find(|char| {
        let ends = char == '"' && !escaped;
        escaped = char == '\\' && !escaped;
        ends
    })?;
    Some(&code[..end])
}

fn problem_of(text: &str) -> Option<&'static str> {
    if text.ends_with('.') {
        return Some("ends with a full stop, and its cause follows behind a colon");
    }
    // What a placeholder brings may be a sentence.
    if !text.contains('{') && text.split_whitespace().count() < MIN_WORDS {
        return Some("does not say what happened to what");
    }
    if text.contains(":?}") && !text.contains("within {") && !text.contains("for {") && !text.contains("in {")
    {
        return Some("shows the debug output of something that is no time");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(code: &str) -> usize {
        problems_of("crates/a/src/b.rs", code).len()
    }

    #[test]
    fn texts_that_say_too_little_are_found() {
        assert_eq!(problems("return Err(Error::unavailable(\"no range\"));"), 1);
        assert_eq!(
            problems("Error::corrupt(format!(\n    \"the layer is cut at {at}.\"\n))"),
            1
        );
        assert_eq!(
            problems("Error::permanent(format!(\"no such thing as {thing:?}\"))"),
            1
        );
    }

    #[test]
    fn texts_that_say_enough_pass_and_tests_are_not_looked_at() {
        let good = "Error::invalid(\"the layer \\\"x\\\" is not what the image says\")";
        assert_eq!(problems(good), 0);
        assert_eq!(problems("Error::unavailable(format!(\"{what}: {error}\"))"), 0);
        assert_eq!(
            problems("Error::unavailable(format!(\"no answer within {limit:?}\"))"),
            0
        );
        assert_eq!(
            problems("#[cfg(test)]\nmod tests { Error::corrupt(\"cut\"); }"),
            0
        );
        assert!(problems_of("crates/a/tests/b.rs", "Error::corrupt(\"cut\")").is_empty());
    }
}
