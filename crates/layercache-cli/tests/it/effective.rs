//! The effective configuration: what the file, the environment and the arguments say together, and what is documented of it.

use std::process::Command;

use layercache::{Config, Kinds};

use crate::sandbox::Sandbox;

/// `config show` in a sandbox, of a file, with variables and further arguments.
fn show(sandbox: &Sandbox, config: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Command {
    let file = sandbox.write("config.toml", config);
    let mut command = sandbox.command(["config", "show"]);
    command
        .arg("--config")
        .arg(file)
        .args(arguments)
        .envs(variables.iter().copied());
    command
}

/// The line of a key in what `config show` says.
fn line<'a>(shown: &'a str, key: &str) -> &'a str {
    let mut lines = shown
        .lines()
        .filter(|line| line.starts_with(&format!("{key} = ")));
    let line = lines.next().unwrap_or_else(|| panic!("no {key}: {shown}"));
    assert_eq!(lines.next(), None, "{shown}");
    line
}

#[test]
fn the_documented_example_is_the_one_of_this_build() {
    let documented = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/layercache.example.toml");
    let documented = std::fs::read_to_string(documented).unwrap();
    let example = Config::example(&Kinds::builtin());
    assert!(
        documented == example,
        "docs/layercache.example.toml is stale: `cargo run --features full -- config example > docs/layercache.example.toml`"
    );
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.succeed(["config", "example"]).text(), example);
    // It is used as it is, and says nothing but the defaults.
    let as_it_is = sandbox.finish(show(&sandbox, &example, &[], &[])).succeeded();
    let nothing = sandbox.succeed(["config", "show"]);
    assert_eq!(
        as_it_is.text().replace("[[tier]]  # file", "[[tier]]  # default"),
        nothing.text()
    );
    assert!(
        !sandbox.cache_dir().exists(),
        "looking at the configuration makes nothing of it"
    );
}

#[test]
fn a_later_one_overrides_the_ones_before_and_is_named() {
    let sandbox = Sandbox::new();
    let config = "early_reads = false\nmax_concurrent_fills = 2\n\
                  [[tier]]\nkind = \"disk\"\nname = \"local-1\"\ndir = \"/file\"\nmin_free_bytes = 5\n\
                  [[tier]]\nkind = \"registry\"\n";
    let variables = [
        ("LAYERCACHE_MAX_CONCURRENT_FILLS", "8"),
        ("LAYERCACHE_EARLY_READS", "false"),
        ("LAYERCACHE_DIR", "/less-precise"),
        ("LAYERCACHE_TIER_LOCAL_1_DIR", "/variable"),
        ("LAYERCACHE_TIER_LOCAL_1_MAX_BYTES", "1GiB"),
        (
            "LAYERCACHE_TIER_REGISTRY_PLAIN_HTTP",
            "[\"registry.internal:5000\"]",
        ),
        ("LAYERCACHE_TEST_BIN", "of no interest"),
    ];
    let shown = sandbox
        .finish(show(&sandbox, config, &variables, &["--early-reads"]))
        .succeeded();
    let shown = shown.text();
    for (key, expected) in [
        ("early_reads", "early_reads = true  # argument: --early-reads"),
        (
            "max_concurrent_fills",
            "max_concurrent_fills = 8  # environment: LAYERCACHE_MAX_CONCURRENT_FILLS",
        ),
        ("max_layer_bytes", "max_layer_bytes = \"64GiB\"  # default"),
        (
            "dir",
            "dir = \"/variable\"  # environment: LAYERCACHE_TIER_LOCAL_1_DIR",
        ),
        (
            "max_bytes",
            "max_bytes = \"1GiB\"  # environment: LAYERCACHE_TIER_LOCAL_1_MAX_BYTES",
        ),
        ("min_free_bytes", "min_free_bytes = 5  # file"),
        (
            "plain_http",
            "plain_http = [\"registry.internal:5000\"]  # environment: LAYERCACHE_TIER_REGISTRY_PLAIN_HTTP",
        ),
        ("mirrors", "mirrors = {}  # default"),
    ] {
        assert_eq!(line(shown, key), expected);
    }
    // An argument is the last word, and the JSON says the same.
    let arguments = ["--cache-dir", "/argument", "--json"];
    let shown = sandbox
        .finish(show(&sandbox, config, &variables, &arguments))
        .succeeded()
        .json();
    let dir = &shown["tiers"][0]["settings"][0];
    assert_eq!(
        (&dir["key"], &dir["value"], &dir["set_by"]),
        (
            &"dir".into(),
            &"/argument".into(),
            &"argument: --cache-dir".into()
        )
    );
    assert_eq!(shown["settings"][2]["value"], 8);
}

#[test]
fn the_environment_is_in_effect_and_its_mistakes_are_named() {
    let sandbox = Sandbox::new();
    let usage = |name: &str, value: &std::path::Path| {
        let mut command = sandbox.command(["cache", "usage", "--json"]);
        command.env(name, value);
        sandbox.finish(command)
    };
    let dir = sandbox.path("of a variable");
    let used = usage("LAYERCACHE_TIER_DISK_DIR", &dir).json();
    assert_eq!(used["dir"], dir.to_str().unwrap());
    for name in [
        "LAYERCACHE_COLOUR",
        "LAYERCACHE_TIER_DISK_COLOUR",
        "LAYERCACHE_TIER_TAPE_DIR",
    ] {
        let line = usage(name, &dir).failed();
        assert!(line.starts_with(&format!("layercache: {name}: ")), "{line}");
    }
    let line = usage("LAYERCACHE_TIER_DISK_MAX_BYTES", "much".as_ref()).failed();
    assert!(
        line.contains("tier `disk`") && line.contains("max_bytes"),
        "{line}"
    );
    assert!(!sandbox.cache_dir().exists());
}

#[test]
fn secrets_are_hidden_wherever_they_come_from() {
    let sandbox = Sandbox::new();
    let config = "[[tier]]\nkind = \"redis\"\nname = \"shared\"\nurl = \"redis://worker:hunter2@host:1/0\"\n\
                  seal_key = \"hunter2-hunter2-hunter2\"\n\
                  [[tier]]\nkind = \"s3\"\nbucket = \"layers\"\naccess_key_id = \"hunter2\"\nsecret_access_key = \"hunter2\"\n\
                  endpoint = \"http://hunter2:hunter2@host\"\n\
                  [[tier]]\nkind = \"registry\"\n[tier.mirrors]\n\"docker.io\" = [\"https://hunter2:hunter2@mirror\"]\n\
                  \"https://hunter2:hunter2@swapped\" = [\"docker.io\"]\n";
    let variables = [
        ("LAYERCACHE_TIER_SHARED_SEAL_KEY", "\"hunter2"),
        ("LAYERCACHE_TIER_S3_SECRET_ACCESS_KEY", "hunter2"),
        ("LAYERCACHE_TIER_S3_ACCESS_KEY_ID_FILE", "/run/secrets/id"),
        ("LAYERCACHE_TIER_S3_SEAL_KEY_ENV", "hunter2"),
    ];
    for arguments in [&[][..], &["--json"]] {
        let shown = sandbox
            .finish(show(&sandbox, config, &variables, arguments))
            .succeeded();
        assert!(!shown.text().contains("hunter2"), "{}", shown.text());
    }
    let shown = sandbox
        .finish(show(&sandbox, config, &variables, &[]))
        .succeeded();
    let shown = shown.text();
    assert_eq!(line(shown, "url"), "url = \"redis://<hidden>@host:1/0\"  # file");
    assert_eq!(
        line(shown, "access_key_id_file"),
        "access_key_id_file = \"/run/secrets/id\"  # environment: LAYERCACHE_TIER_S3_ACCESS_KEY_ID_FILE"
    );
    assert!(
        !shown.contains("\naccess_key_id = "),
        "the file's gives way: {shown}"
    );
    let again = Config::parse(shown).unwrap();
    assert_eq!(again.tiers.len(), 3);
}

#[test]
fn each_command_has_a_manual_page() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path("man");
    let line = sandbox.fail(["man", dir.to_str().unwrap()]);
    assert!(line.contains(dir.to_str().unwrap()), "{line}");
    std::fs::create_dir(&dir).unwrap();
    sandbox.succeed(["man", dir.to_str().unwrap()]);
    let pages = crate::sandbox::files_below(&dir);
    for page in [
        "layercache.1",
        "layercache-pull.1",
        "layercache-config-show.1",
        "layercache-cache-gc.1",
    ] {
        assert!(pages.contains(page), "{page} is missing: {pages:?}");
    }
    let page = std::fs::read_to_string(dir.join("layercache-pull.1")).unwrap();
    assert!(page.contains("Keep layers in this directory"), "{page}");
    // What the units run and refer to is there.
    let units = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/systemd");
    for unit in std::fs::read_dir(units).unwrap() {
        let text = std::fs::read_to_string(unit.unwrap().path()).unwrap();
        let Some((_, command)) = text.split_once("ExecStart=/usr/local/bin/layercache --log-format text ")
        else {
            assert!(text.contains("[Timer]"), "{text}");
            continue;
        };
        let command = command.split(' ').next().unwrap();
        assert!(
            text.contains(&format!("Documentation=man:layercache-{command}(1)")),
            "{text}"
        );
        assert!(pages.contains(&format!("layercache-{command}.1")), "{command}");
    }
    for page in pages {
        let text = std::fs::read_to_string(dir.join(&page)).unwrap();
        assert!(
            text.contains(".TH layercache") && text.contains(".SH SYNOPSIS"),
            "{page}: {text}"
        );
    }
    assert!(!sandbox.cache_dir().exists());
}
