//! Every situation that users meet an error in, and what they are told: a table in `docs/errors.snap`.
//!
//! Each row is provoked as a user would: by a command, or through the library. After a message was mended, see that the new one says
//! what happened, to which layer and tier, and what to do next; then `INSTA_UPDATE=always` writes the table anew.

mod commands;
mod configuration;
mod directory;
mod images;
mod library;
mod registries;
mod shared;

use std::fmt::Write as _;

use layercache::core::Error;

use crate::sandbox::Sandbox;

/// What a user is told in one situation.
#[derive(Debug)]
struct Row {
    situation: &'static str,
    /// The exit code of a command, or the kind of the library's error.
    kind: String,
    message: String,
}

impl Row {
    /// What a command that must fail says.
    fn of_command(situation: &'static str, sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let output = sandbox.command(arguments).output().unwrap();
        let (code, stderr) = (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        );
        assert_ne!(code, 0, "{situation}");
        // Behind warnings, the last line is the error; a mistake of usage is told first, and then the usage.
        let mut lines = stderr.lines();
        let line = match code {
            1 => lines.next_back(),
            _ => lines.next(),
        };
        Self {
            situation,
            kind: format!("exit {code}"),
            message: line.unwrap().to_owned(),
        }
    }

    /// What the library says of one layer at one tier.
    fn of_layer(situation: &'static str, error: &Error) -> Self {
        assert!(error.layer().is_some(), "{situation}: no layer is named: {error}");
        Self::of_tier(situation, error)
    }

    /// What the library says of a tier.
    fn of_tier(situation: &'static str, error: &Error) -> Self {
        assert!(error.tier().is_some(), "{situation}: no tier is named: {error}");
        Self::of_error(situation, error)
    }

    fn of_error(situation: &'static str, error: &Error) -> Self {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            let text = error.to_string();
            // Most messages repeat their cause already.
            if !message.contains(&text) {
                write!(message, ": {text}").unwrap();
            }
            cause = error.source();
        }
        Self {
            situation,
            kind: format!("{:?}", error.kind()),
            message,
        }
    }
}

fn table(chapters: &[(&str, Vec<Row>)]) -> String {
    let mut table = String::new();
    for (title, rows) in chapters {
        writeln!(table, "# {title}").unwrap();
        for Row {
            situation,
            kind,
            message,
        } in rows
        {
            write!(table, "\n{situation}\n    [{kind}] {message}\n").unwrap();
        }
        table.push('\n');
    }
    table
}

/// What differs from run to run and from host to host.
const REDACTED: &[(&str, &str)] = &[
    (r"sha256:[0-9a-f]{64}", "sha256:<digest>"),
    (r"127\.0\.0\.1:\d+", "<host>"),
    (r"(/[\w.-]+)*/\.tmp\w{6}", "<home>"),
    (r"\blayer-[0-9a-f]{64}", "layer-<hex>"),
    (r"\bit-\d+-\d+/", "<prefix>/"),
    // Which of two time-outs, and where the memory ends, is a matter of moments.
    (
        r"(breaker is open: ).*(; next probe in )\d+( s)",
        "${1}<the last failure>${2}<n>${3}",
    ),
    // In the words of each version of the server.
    (r"\(NoPerm: [^)]*\)", "(NoPerm: <what the server says>)"),
    (r"other: (write|commit) ", "other: <write or commit> "),
    (
        r"(gave up at byte )\d+( after )\d+( interruptions: <host> broke off the connection).*",
        "${1}<n>${2}<n>${3}: <why>",
    ),
    (r"is for linux/\w+", "is for linux/<arch>"),
];

#[test]
fn every_error_says_what_happened_to_what_and_what_to_do() {
    type Rows = fn() -> Vec<Row>;
    let chapters: [(&str, Rows); 7] = [
        ("The command line", commands::rows),
        ("The configuration", configuration::rows),
        ("Images", images::rows),
        ("Registries", registries::rows),
        ("The cache directory", directory::rows),
        ("Tiers that workers share", shared::rows),
        ("The library", library::rows),
    ];
    // All at once: most of it is waiting for what does not come.
    let chapters: Vec<_> = std::thread::scope(|scope| {
        let provoked = chapters.map(|(title, rows)| (title, scope.spawn(rows)));
        provoked
            .into_iter()
            .map(|(title, rows)| (title, rows.join().unwrap()))
            .collect()
    });
    let rows: Vec<_> = chapters.iter().flat_map(|(_, rows)| rows).collect();
    for row in &rows {
        let Row {
            situation,
            kind,
            message,
        } = row;
        // Whoever reads it alone, in a log, has to understand it: a few words at least, on one line, and no debug output.
        assert!(message.split_whitespace().count() >= 5, "{situation}: {message}");
        assert!(!message.contains(['\n', '\u{1b}']), "{situation}: {message:?}");
        for debug in ["Some(", "Error {", "Os {", "Err("] {
            assert!(!message.contains(debug), "{situation}: {message}");
        }
        assert!(!message.contains("hunter2"), "{situation}: {message}");
        assert!(
            kind != "exit 1" || message.starts_with("layercache: "),
            "{situation}: {message}"
        );
    }
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path("../../../../../docs");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, instead) in REDACTED {
        settings.add_filter(pattern, *instead);
    }
    settings.bind(|| insta::assert_snapshot!("errors", table(&chapters)));
}
