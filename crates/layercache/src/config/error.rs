//! Why a configuration cannot be used, and who has set what is wrong of it.

use std::fmt;

use cache_core::Error;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file cannot be read")]
    File(#[source] std::io::Error),
    /// The file is longer than a configuration can be.
    #[error("the configuration file is longer than 1 MiB")]
    TooLong,
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("the configuration is not valid: {message} (line {line}, column {column})")]
    Syntax {
        /// What is wrong, in one line.
        message: String,
        /// Where, counted from 1.
        line: usize,
        /// Where in the line, in characters counted from 1.
        column: usize,
    },
    /// What the environment or an argument sets cannot be set.
    #[error("{}: {message}", .by.name())]
    Override {
        /// The variable or argument.
        by: SetBy,
        /// What is wrong.
        message: String,
    },
    /// It cannot be written as TOML.
    #[error("the configuration cannot be written as TOML")]
    Unwritable(#[from] toml::ser::Error),
    /// No sources.
    #[error(
        "the configuration has an empty list of tiers: name at least one source, such as kind = \"registry\""
    )]
    Empty,
    /// A table of one source is wrong.
    #[error("the configuration of tier `{name}` is not valid: {message}")]
    Tier {
        /// Which source.
        name: String,
        /// Which of its keys, where it is one.
        key: Option<String>,
        /// What is wrong.
        message: String,
    },
    /// The kind is not known, or its feature is not compiled in.
    #[error("tier kind `{kind}` {why}")]
    Kind {
        /// The kind.
        kind: String,
        /// Why there is none.
        why: String,
    },
    /// Two sources have one name.
    #[error("two tiers are named `{0}`: give one of them another `name`")]
    DuplicateName(String),
    /// The source could not be made.
    #[error(transparent)]
    Source(#[from] Error),
}

impl ConfigError {
    /// Says what is wrong in a text, at this offset.
    pub(super) fn syntax(text: &str, at: usize, message: &str) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let mut message = one_line(message);
        if message == "invalid type: map, expected a sequence" {
            message.push_str(": a source is a table in a list, `[[tier]]`");
        }
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self::Syntax {
            message,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// Who has set a value. A later one overrides the ones before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// Nobody: it is the default.
    Default,
    /// The configuration file.
    File,
    /// The environment, by this variable.
    Environment(String),
    /// The command line, by this argument.
    Argument(String),
}

impl SetBy {
    /// The variable or argument, or what it is otherwise.
    pub fn name(&self) -> &str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment(name) | Self::Argument(name) => name,
        }
    }
}

impl fmt::Display for SetBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default | Self::File => f.write_str(self.name()),
            Self::Environment(variable) => write!(f, "environment: {variable}"),
            Self::Argument(argument) => write!(f, "argument: {argument}"),
        }
    }
}

/// What is wrong with the value of a key, and with which one, where the error says so. Either may repeat what the file says.
pub(super) fn told(error: &toml::de::Error) -> (String, Option<String>) {
    let text = error.to_string();
    match text.trim_end().rsplit_once("\nin `") {
        Some((message, key)) => (message.to_owned(), Some(key.trim_end_matches('`').to_owned())),
        None => (text, None),
    }
}

/// The start of a message that may repeat what the file says, of any length, as one line that a terminal shows as it is.
pub(super) fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 400;
    let text = text.trim_end();
    let mut out = String::new();
    for char in text.chars().take(MAX_CHARS) {
        match char {
            '\n' => out.push(' '),
            control if control.is_control() => out.extend(control.escape_default()),
            char => out.push(char),
        }
    }
    if text.chars().nth(MAX_CHARS).is_some() {
        out.push_str("...");
    }
    out
}
