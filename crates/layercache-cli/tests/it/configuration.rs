//! The configuration file, as the binary reads it.

use crate::image::{Image, noise};
use crate::registry::Registry;
use crate::sandbox::Sandbox;

fn image() -> Image {
    Image::of_files(&[("etc/hello", b"hello"), ("data", &noise(100_000))])
}

#[test]
fn a_disk_in_front_of_the_registries() {
    let sandbox = Sandbox::new();
    let registry = Registry::of_image(image(), |_| None);
    let config = sandbox.write(
        "config.toml",
        format!(
            "early_reads = true\nmax_layer_bytes = \"1GiB\"\nmax_concurrent_fills = 1\n\
             [[tier]]\nkind = \"disk\"\ndir = {:?}\nmax_bytes = \"10MiB\"\nmin_free_bytes = 4096\n\
             [[tier]]\nkind = \"registry\"\nplain_http = [\"registry.example\"]\n[tier.mirrors]\n",
            sandbox.path("layers")
        ),
    );
    let config = config.to_str().unwrap();
    let printed = sandbox.succeed(["--config", config, "cat", &registry.image(), "/etc/hello"]);
    assert_eq!(printed.text(), "hello");
    let usage = sandbox
        .succeed(["--config", config, "cache", "usage", "--json"])
        .json();
    assert_eq!(
        (&usage["layers"], &usage["max_bytes"]),
        (&1.into(), &(10 << 20).into())
    );
    assert_eq!(usage["min_free_bytes"], 4096);
    assert!(!sandbox.cache_dir().exists());

    // The environment may name the file as well.
    let mut command = sandbox.command(["cat", &registry.image(), "/etc/hello"]);
    command.env("LAYERCACHE_CONFIG", config);
    let again = sandbox.finish(command).succeeded();
    assert_eq!((again.text(), again.inflates()), ("hello", 0));
}

#[test]
fn a_mirror_is_asked_first() {
    let sandbox = Sandbox::new();
    let mirror = Registry::of_image(image(), |_| None);
    let config = sandbox.write(
        "config.toml",
        format!(
            "[[tier]]\nkind = \"disk\"\n[[tier]]\nkind = \"registry\"\n[tier.mirrors]\n\
             \"registry.invalid\" = [\"http://{}\"]\n",
            mirror.host()
        ),
    );
    let config = config.to_str().unwrap();
    let image = "registry.invalid/team/app:latest";
    let printed = sandbox.succeed(["--config", config, "cat", image, "/etc/hello"]);
    assert_eq!(printed.text(), "hello");
}

#[test]
fn two_disks_have_names_and_both_are_filled() {
    let sandbox = Sandbox::new();
    let registry = Registry::of_image(image(), |_| None);
    let disk = |name: &str| {
        let dir = sandbox.path(name);
        format!("[[tier]]\nkind = \"disk\"\nname = {name:?}\ndir = {dir:?}\n")
    };
    let text = format!("{}{}[[tier]]\nkind = \"registry\"\n", disk("fast"), disk("large"));
    let config = sandbox.write("config.toml", text);
    let config = config.to_str().unwrap();

    let printed = sandbox.succeed(["--config", config, "cat", &registry.image(), "/etc/hello"]);
    assert_eq!(printed.text(), "hello");
    let tiers = printed.stats["tiers"].as_object().unwrap();
    assert_eq!(tiers.keys().collect::<Vec<_>>(), ["fast", "large", "registry"]);
    for name in ["fast", "large"] {
        assert_eq!(tiers[name]["filled_layers"], 1, "{name}: {}", printed.stats);
        assert!(crate::sandbox::files_below(&sandbox.path(name)).len() >= 2);
    }
    // What the near one loses, the far one still has.
    std::fs::remove_dir_all(sandbox.path("fast")).unwrap();
    let again = sandbox.succeed(["--config", config, "cat", &registry.image(), "/etc/hello"]);
    assert_eq!((again.text(), again.inflates()), ("hello", 0));
    assert_eq!(again.stats["tiers"]["large"]["hits"], 1);
    assert_eq!(again.stats["tiers"]["fast"]["filled_layers"], 1);

    // Both are looked after.
    let listed = sandbox
        .succeed(["--config", config, "cache", "list", "--json"])
        .json_lines();
    let names: Vec<_> = listed.iter().map(|tier| tier["tier"].as_str().unwrap()).collect();
    assert_eq!(names, ["fast", "large"]);
    for tier in &listed {
        assert_eq!(tier["layers"].as_array().unwrap().len(), 1, "{tier}");
    }
    // Each directory is named once, where it is not named anyway.
    for command in [
        &["list"][..],
        &["usage"],
        &["verify"],
        &["gc", "--max-bytes", "1GiB"],
        &["pin", &registry.image()],
        &["unpin", &registry.image()],
        &["clear"],
    ] {
        let printed = sandbox.succeed([&["--config", config, "cache"], command].concat());
        for name in ["fast", "large"] {
            let dir = sandbox.path(name).to_str().unwrap().to_owned();
            assert_eq!(
                printed.text().matches(&dir).count(),
                1,
                "{command:?}: {}",
                printed.text()
            );
        }
    }
    // An argument that speaks of the one directory cannot speak of two.
    let line = sandbox.fail(["--config", config, "--cache-dir", "x", "cache", "usage"]);
    assert!(
        line.contains("--cache-dir") && line.contains("several tiers"),
        "{line}"
    );
}

#[test]
fn mistakes_in_the_file_are_named() {
    let sandbox = Sandbox::new();
    let disk = "[[tier]]\nkind = \"disk\"\n";
    let mistakes = [
        (format!("earlyreads = true\n{disk}"), "earlyreads"),
        (format!("{disk}max_byte = 1"), "max_byte"),
        (
            "[tier]\nkind = \"disk\"".to_owned(),
            "a source is a table in a list, `[[tier]]`",
        ),
        (
            "max_concurrent_fills = 0".to_owned(),
            "expected a whole number from 1",
        ),
        (
            "max_concurrent_fills = -1".to_owned(),
            "expected a whole number from 1",
        ),
        (format!("{disk}max_bytes = \"much\""), "much"),
        (format!("{disk}max_bytes = \"much\""), "tier `disk` is not valid"),
        (format!("{disk}max_bytes = -1"), "max_bytes"),
        (format!("{disk}dir = 7"), "`dir`"),
        (format!("{disk}dir = \"~/layers\""), "write it out"),
        (format!("{disk}dir = \"~\""), "write it out"),
        (format!("{disk}{disk}"), "`disk`"),
        (
            "[[tier]]\nkind = \"registry\"\npassword = \"secret\"".to_owned(),
            "password",
        ),
        (
            "[[tier]]\nkind = \"registry\"\nplain_http = 1".to_owned(),
            "`plain_http`: expected true, false, or a list of hosts",
        ),
        (
            "[[tier]]\nkind = \"floppy\"".to_owned(),
            "`disk`, `redis`, `registry`, `s3`",
        ),
        (
            "[[tier]]\nkind = \"redis\"".to_owned(),
            "`url`: no server is named",
        ),
        (
            "[[tier]]\nkind = \"s3\"".to_owned(),
            "`bucket`: no bucket is named",
        ),
        ("[[tier]]\nname = \"x\"".to_owned(), "kind"),
        ("[[tiers]]\nkind = \"disk\"".to_owned(), "tiers"),
        ("early_reads = \"yes\"".to_owned(), "yes"),
        ("tier = []".to_owned(), "empty list of tiers"),
        ("<html>".to_owned(), "not valid"),
        (format!("{disk}\nname = \"x"), "(line 4, column 10)"),
        ("early_reads = \"yes\"".to_owned(), "(line 1, column 15)"),
    ];
    for (text, words) in mistakes {
        sandbox.write("config.toml", &text);
        let outcome = sandbox.run(["--config", "config.toml", "cache", "usage"]);
        assert_eq!(outcome.code, Some(1), "{text:?} is accepted");
        let line = outcome.failed();
        assert!(line.contains(words), "{words:?} is missing for {text:?}: {line}");
        assert!(!line.contains("\"secret\"") && !line.contains(" | "), "{line}");
        assert!(line.matches("(line ").count() <= 1, "{line}");
    }
}

#[test]
fn a_file_without_tiers_is_about_the_default_ones() {
    let sandbox = Sandbox::new();
    let registry = Registry::of_image(image(), |_| None);
    sandbox.write("config.toml", "early_reads = true");
    let arguments = ["cat", "--config", "config.toml", &registry.image(), "/etc/hello"];
    let printed = sandbox.succeed(arguments);
    assert_eq!(printed.text(), "hello");
    assert!(!sandbox.cached_files().is_empty());
}

#[test]
fn a_stack_without_what_a_command_needs_says_so() {
    let sandbox = Sandbox::new();
    let registry = sandbox.write("registry.toml", "[[tier]]\nkind = \"registry\"");
    let line = sandbox.fail(["--config", registry.to_str().unwrap(), "cache", "list"]);
    assert!(line.contains("no tier of the kind `disk`"), "{line}");
    let disk = sandbox.write("disk.toml", "[[tier]]\nkind = \"disk\"");
    let line = sandbox.fail(["--config", disk.to_str().unwrap(), "pull", "debian"]);
    assert!(line.contains("no tier of the kind `registry`"), "{line}");
}

#[test]
fn an_image_is_read_without_any_disk() {
    let sandbox = Sandbox::new();
    let registry = Registry::of_image(image(), |_| None);
    let config = sandbox.write("registry.toml", "[[tier]]\nkind = \"registry\"");
    let config = config.to_str().unwrap();
    let printed = sandbox.succeed([
        "--config",
        config,
        "cat",
        &registry.image(),
        "/etc/hello",
        "/data",
    ]);
    assert!(printed.stdout == [&b"hello"[..], &noise(100_000)].concat());
    // Once for the tree, and once for each file.
    assert_eq!(printed.inflates(), 3);
    let line = sandbox.fail(["--config", config, "pull", &registry.image()]);
    assert!(
        line.contains("no tier keeps it: the configuration has no tier of the kind `disk`"),
        "{line}"
    );
    assert!(!sandbox.cache_dir().exists());
}

/// The checked sources, whose JSON is on standard output whatever they answer.
fn checked(outcome: &crate::sandbox::Outcome) -> Vec<serde_json::Value> {
    outcome.json()["sources"].as_array().unwrap().clone()
}

#[test]
fn what_is_composed_is_shown_in_order_and_asked() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.succeed(["config", "check", "--json"]);
    let sources = checked(&outcome);
    let answers: Vec<_> = sources
        .iter()
        .map(|source| {
            (
                source["name"].as_str().unwrap(),
                source["answer"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(answers, [("disk", "ok"), ("registry", "not asked")]);
    assert_eq!(sources[0]["description"], sandbox.cache_dir().to_str().unwrap());
    let text = sandbox.succeed(["config", "check"]);
    assert!(text.text().starts_with("disk  ok\n"), "{}", text.text());
}

#[test]
fn a_tier_that_cannot_be_reached_is_told_from_one_that_can() {
    let sandbox = Sandbox::new();
    let config = sandbox.write(
        "config.toml",
        "[[tier]]\nkind = \"disk\"\n\
         [[tier]]\nkind = \"redis\"\nname = \"shared\"\nurl = \"redis://worker:hunter2@127.0.0.1:1\"\nlease = false\n\
         seal_key = \"hunter2-hunter2-hunter2\"\n\
         [[tier]]\nkind = \"s3\"\nbucket = \"layers\"\nendpoint = \"http://127.0.0.1:1\"\nread_only = true\n\
         access_key_id = \"key-id\"\nsecret_access_key = \"hunter2\"\ntimeout = \"200ms\"\n\
         [[tier]]\nkind = \"registry\"\n",
    );
    let mut command = sandbox.command(["--config", config.to_str().unwrap(), "config", "check", "--json"]);
    command.env("RUST_LOG", "trace").arg("--log-format").arg("text");
    let outcome = sandbox.finish(command);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let sources = checked(&outcome);
    let answers: Vec<_> = sources
        .iter()
        .map(|source| source["answer"].as_str().unwrap())
        .collect();
    assert_eq!(answers, ["ok", "failed", "failed", "not asked"]);
    let shared = &sources[1];
    assert_eq!(shared["description"], "redis://***@127.0.0.1:1");
    assert_eq!(
        (&shared["fill"], &shared["write_back"], &shared["lease"]),
        (&"background".into(), &"background".into(), &false.into())
    );
    assert!(sources[2]["write_back"].is_null(), "{}", sources[2]);
    for source in &sources[1..3] {
        let error = source["error"].as_str().unwrap();
        assert!(error.starts_with(source["name"].as_str().unwrap()), "{error}");
    }
    let last = outcome.stderr.lines().last().unwrap();
    assert_eq!(last, "layercache: `shared`, `s3` cannot be used now");
    // Whatever is said at the highest level of detail, no secret is. The ID of a key is none: it goes with each request in clear,
    // and the SDK logs it.
    let said = outcome.text().to_owned() + &outcome.stderr;
    assert!(said.contains("TRACE"), "{said}");
    assert!(!said.contains("hunter"), "a secret is shown");
    assert!(!outcome.text().contains("key-id"), "{}", outcome.text());
}

#[test]
fn a_tier_that_is_never_filled_is_warned_of() {
    let sandbox = Sandbox::new();
    let registry = Registry::of_image(Image::of_files(&[("etc/hello", b"hello")]), |_| None);
    let config = sandbox.write(
        "config.toml",
        "[[tier]]\nkind = \"registry\"\n[[tier]]\nkind = \"disk\"\n",
    );
    let config = config.to_str().unwrap();
    let checked = sandbox.run(["--config", config, "config", "check"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    for words in [
        "the tier stands behind an origin",
        "tier=\"disk\" behind=\"registry\"",
    ] {
        assert!(
            checked.stderr.contains(words),
            "{words:?} is missing: {}",
            checked.stderr
        );
    }
    let line = sandbox.fail(["--config", config, "pull", &registry.image()]);
    assert!(
        line.contains("no tier stands in front of the source that has it"),
        "{line}"
    );
}

#[test]
fn mirrors_are_asked() {
    let sandbox = Sandbox::new();
    let config = sandbox.write(
        "config.toml",
        "[[tier]]\nkind = \"registry\"\nmirrors.\"docker.io\" = [\"http://127.0.0.1:1/hub\"]",
    );
    let outcome = sandbox.finish(sandbox.command(["--config", config.to_str().unwrap(), "config", "check"]));
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    for words in [
        "registry  failed: registry: check: not every mirror can be used: http://127.0.0.1:1/hub: 127.0.0.1:1 cannot be reached: ",
        "\n  at          docker.io by http://127.0.0.1:1/hub\n",
    ] {
        assert!(
            outcome.text().contains(words),
            "{words:?} is missing: {}",
            outcome.text()
        );
    }
}

#[test]
fn a_push_needs_a_shared_tier() {
    let sandbox = Sandbox::new();
    let line = sandbox.fail(["push", "registry.invalid/app"]);
    assert!(line.contains("no shared tier"), "{line}");
    let config = sandbox.write(
        "config.toml",
        "[[tier]]\nkind = \"disk\"\n[[tier]]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:1\"\nread_only = true\n\
         [[tier]]\nkind = \"registry\"\n",
    );
    let line = sandbox.fail([
        "--config",
        config.to_str().unwrap(),
        "push",
        "registry.invalid/app",
    ]);
    assert!(line.contains("no shared tier"), "{line}");
}
