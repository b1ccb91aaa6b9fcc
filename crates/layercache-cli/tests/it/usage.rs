//! How the command line is spoken, and what it answers: exit codes, help, completions.

use crate::environment::debian;
use crate::sandbox::Sandbox;

const COMMANDS: &[&[&str]] = &[
    &[],
    &["pull"],
    &["warm"],
    &["explain"],
    &["push"],
    &["config"],
    &["config", "check"],
    &["config", "show"],
    &["config", "example"],
    &["inspect"],
    &["ls"],
    &["cat"],
    &["read"],
    &["cache"],
    &["cache", "list"],
    &["cache", "usage"],
    &["cache", "verify"],
    &["cache", "gc"],
    &["cache", "pin"],
    &["cache", "unpin"],
    &["cache", "remove"],
    &["cache", "clear"],
    &["completions"],
    &["man"],
    &["demo"],
];

#[test]
fn every_command_explains_itself() {
    let sandbox = Sandbox::new();
    for command in COMMANDS {
        let help = sandbox.succeed(command.iter().chain(&["--help"]));
        let text = help.text();
        assert!(
            !text.starts_with("Usage"),
            "{command:?} does not say what it does: {text}"
        );
        assert!(text.contains("Usage: layercache"), "{text}");
        // Every argument says what it is for: no line is an option alone, with nothing below or beside it.
        for option in ["--config", "--cache-dir", "--platform", "--stats"] {
            assert!(text.contains(option), "{option} is missing: {text}");
        }
    }
    let help = sandbox.succeed(["--help"]);
    assert!(
        help.text().contains("Examples:\n  layercache demo"),
        "{}",
        help.text()
    );
    for command in [
        "pull", "warm", "explain", "push", "ls", "cat", "read", "cache", "config",
    ] {
        let help = sandbox.succeed([command, "--help"]);
        let example = format!("Examples:\n  layercache {command} ");
        for words in [example.as_str(), "\nGlobal options:\n"] {
            assert!(help.text().contains(words), "{}", help.text());
        }
    }
    // Help touches nothing.
    assert!(!sandbox.cache_dir().exists());
}

#[test]
fn mistakes_of_usage_exit_with_2() {
    let sandbox = Sandbox::new();
    let mistakes: &[&[&str]] = &[
        &[],
        &["fetch"],
        &["pull"],
        &["explain"],
        &["push"],
        &["warm"],
        &["warm", "debian", "--jobs", "0"],
        &["pull", "debian", "--metrics", "localhost"],
        &["config"],
        &["cat", "debian"],
        &["cat", "debian", "/x", "--offset", "-1"],
        &["read", "debian", "first"],
        &["cache", "remove", "sha256:12"],
        &["pull", "host.example/UPPER"],
        &["pull", "oci:"],
        &["ls", "debian", "--platform", "linux"],
        &["ls", "debian", "--log-format", "xml"],
        &["cache", "gc", "--max-bytes", "much"],
        &["cache", "gc", "--older-than", "7"],
        &["cache", "gc", "--keep"],
        &["cache", "pin"],
        &["demo", "--files", "0"],
        &["completions", "tcsh"],
    ];
    for mistake in mistakes {
        let outcome = sandbox.run(*mistake);
        assert_eq!((outcome.code, outcome.stdout.len()), (Some(2), 0), "{mistake:?}");
        assert!(
            outcome.stderr.contains("Usage:") || outcome.stderr.contains("--help"),
            "{}",
            outcome.stderr
        );
    }
    assert!(!sandbox.cache_dir().exists());
}

#[test]
fn failures_exit_with_1_and_one_line() {
    let sandbox = Sandbox::new();
    let image = debian("small");
    sandbox.succeed(["pull", &image]);
    let failures: &[(&[&str], &str)] = &[
        (&["cat", &image, "/nothing"], "/nothing in "),
        (&["cat", &image, "/etc"], "is a directory"),
        (&["cat", &image, "/dev/null"], "/dev/null"),
        (
            &["cat", &image, "/etc/debian_version/below"],
            "/etc/debian_version/below",
        ),
        (&["ls", &image, "/nothing"], "no such file"),
        (&["read", &image, "7"], "there is no layer 7"),
        (
            &[
                "read",
                &image,
                "sha256:0000000000000000000000000000000000000000000000000000000000000000",
            ],
            "has no layer sha256:0000",
        ),
        (
            &[
                "cache",
                "remove",
                "sha256:0000000000000000000000000000000000000000000000000000000000000000",
            ],
            "is not in the cache",
        ),
        (&["pull", "--config", "nothing.toml", &image], "nothing.toml"),
        (
            &[
                "read",
                &image,
                "0",
                "--length",
                "0",
                "--stats",
                "no/such/dir/stats",
            ],
            "no/such/dir/stats",
        ),
    ];
    for (command, words) in failures {
        let output = sandbox.command(*command).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(1), 0),
            "{stderr}"
        );
        assert!(
            crate::sandbox::one_line(&stderr).contains(words),
            "{words:?} is missing: {stderr}"
        );
    }
}

#[test]
fn completions_for_the_shells_of_the_land() {
    let sandbox = Sandbox::new();
    for (shell, known) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef layercache"),
        ("fish", "complete -c layercache"),
    ] {
        let script = sandbox.succeed(["completions", shell]);
        for words in [known, "inspect", "cache-dir"] {
            assert!(script.text().contains(words), "{shell}: {words} is missing");
        }
    }
    assert!(!sandbox.cache_dir().exists());
}

#[test]
fn a_command_that_succeeds_says_nothing_but_what_it_is_for() {
    let sandbox = Sandbox::new();
    // A line for each layer.
    let pulled = sandbox.succeed(["pull", &debian("small")]);
    assert_eq!(pulled.text().lines().count(), 1);
    assert!(pulled.text().contains("  registry  "), "{}", pulled.text());
    // Bars are for whoever asks for them.
    let other = Sandbox::new();
    let pulled = other.run(["pull", "--progress", "always", &debian("small")]);
    assert_eq!((pulled.code, pulled.text().lines().count()), (Some(0), 1));
    assert!(pulled.stderr.contains("1 layer, "), "{}", pulled.stderr);
}

#[test]
fn the_cache_is_where_the_arguments_the_environment_or_the_home_say() {
    let sandbox = Sandbox::new();
    let dir_of = |command: std::process::Command| {
        // With a warning, since none of them is there.
        let usage = sandbox.finish(command).json();
        std::path::PathBuf::from(usage["dir"].as_str().unwrap())
    };
    let usage = || sandbox.command(["cache", "usage", "--json"]);
    assert_eq!(dir_of(usage()), sandbox.cache_dir());
    let mut command = usage();
    command.env("XDG_CACHE_HOME", sandbox.path("xdg"));
    assert_eq!(dir_of(command), sandbox.path("xdg/clip"));
    let mut command = usage();
    command.env("LAYERCACHE_DIR", sandbox.path("variable"));
    assert_eq!(dir_of(command), sandbox.path("variable"));
    let mut command = usage();
    command
        .env("LAYERCACHE_DIR", sandbox.path("variable"))
        .arg("--cache-dir")
        .arg(sandbox.path("argument"));
    assert_eq!(dir_of(command), sandbox.path("argument"));
    // An empty variable is one that is not set.
    let mut command = usage();
    command.env("LAYERCACHE_DIR", "").env("LAYERCACHE_CONFIG", "");
    assert_eq!(dir_of(command), sandbox.cache_dir());
    let help = sandbox.succeed(["--help"]);
    for name in ["LAYERCACHE_DIR", "LAYERCACHE_CONFIG"] {
        assert!(help.text().contains(name), "{}", help.text());
    }
}
