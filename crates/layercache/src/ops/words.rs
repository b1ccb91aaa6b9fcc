//! Texts that reports and messages share.

use std::error::Error as StdError;

/// Tells an error with all its causes on one line, without control characters.
///
/// A cause whose words are in the line already is left out: some messages repeat their cause,
/// because they stand alone in a log as well.
pub fn error_line(error: &(dyn StdError + 'static)) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let cause = error.to_string();
        if !line.contains(&cause) {
            let colon = if line.is_empty() { "" } else { ": " };
            line.extend([colon, &cause]);
        }
        next = error.source();
    }
    plain(&line)
}

/// Removes the control characters of a text.
///
/// Lists, servers and images write texts that must neither break a line nor drive a terminal.
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Counts things in words: `1 layer`, `2 layers`.
pub fn count(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{s}")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::ops::OpsError;

    #[test]
    fn causes_are_told_once_and_on_one_line() {
        let refused = OpsError::from(io::Error::other("refused\n"));
        let error = refused.at("redis: no answer (refused\n)").at("debian:12");
        assert_eq!(error_line(&error), "debian:12: redis: no answer (refused)");
        let error = OpsError::from(io::Error::other("port 5000")).at("redis: no answer");
        assert_eq!(error_line(&error), "redis: no answer: port 5000");
    }
}
