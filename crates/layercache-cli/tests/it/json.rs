//! The page about the JSON of the commands says what they print: all of it, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cache_testkit::RedisServer;
use serde_json::Value;

use crate::image::Image;
use crate::remote::share::redis_at;
use crate::sandbox::Sandbox;

/// The keys of each section, by the commands that head it.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/json.md");
    let page = std::fs::read_to_string(page).unwrap();
    page.split("\n## ")
        .skip(1)
        .map(|section| {
            let (head, body) = section.split_once('\n').unwrap();
            let keys = body
                .lines()
                .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
            (head.to_owned(), keys.map(|(key, _)| key.to_owned()).collect())
        })
        .collect()
}

/// The keys of what was printed, as the page writes them.
fn keys(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    // What is in there is the image's.
    let is_foreign = ["config", "annotations"].contains(&at);
    match value {
        Value::Object(object) if !is_foreign => {
            for (key, value) in object {
                let key = if at == "tiers" && value.is_object() {
                    "<name>"
                } else {
                    key
                };
                let dot = if at.is_empty() { "" } else { "." };
                keys(value, &format!("{at}{dot}{key}"), found);
            }
        }
        Value::Array(list) => {
            let each = format!("{at}[]");
            list.iter().for_each(|value| keys(value, &each, found));
            if list.is_empty() {
                found.insert(each);
            }
        }
        _ => {
            found.insert(at.to_owned());
        }
    }
}

/// Checks that `printed`, by runs that show all there is, has the keys of a section.
fn check(section: &str, printed: &[Value]) {
    let documented = &documented()[section];
    let mut found = BTreeSet::new();
    printed.iter().for_each(|value| keys(value, "", &mut found));
    // Of what is empty or nothing, what would be in there does not show.
    let has = |key: &String| {
        let inside = |other: &&String| {
            let rest = other.strip_prefix(key.trim_end_matches("[]"));
            rest.is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        documented.contains(key) || documented.iter().any(|other| inside(&other))
    };
    let unknown: Vec<_> = found.iter().filter(|key| !has(key)).collect();
    assert!(unknown.is_empty(), "{section}: not on the page: {unknown:?}");
    let missing: Vec<_> = documented.difference(&found).collect();
    assert!(missing.is_empty(), "{section}: never printed: {missing:?}");
}

#[test]
fn the_page_has_the_keys_that_are_printed() {
    let sandbox = Sandbox::new();
    let mut image = Image::of_files(&[("etc/hello", b"hello"), ("etc/motd", b"welcome")]);
    image.add_tar(&crate::image::tar(&[("etc/hosts", b"localhost")]));
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    let mut links = tar::Builder::new(Vec::new());
    links.append_link(&mut link, "etc/link", "hello").unwrap();
    image.add_tar(&links.into_inner().unwrap());
    let name = &image.write_layout(&sandbox.path("layout"));
    let lines = |arguments: &[&str]| {
        sandbox
            .run(arguments.iter().copied().chain(["--json"]))
            .json_lines()
    };

    let cold = lines(&["explain", name, "/etc/hello"]);
    let pulled = sandbox.run(["pull", name, "--json"]);
    check("`pull`", &pulled.json_lines());
    check("`--stats`", std::slice::from_ref(&pulled.stats));
    let warm = lines(&["explain", name, "/etc/hello"]);
    check("`explain`", &[cold, warm].concat());
    check("`inspect`", &lines(&["inspect", name]));
    let list = sandbox.write("list", format!("{name}\nno image!\n"));
    check("`warm`", &lines(&["warm", "-f", list.to_str().unwrap()]));
    check("`cache list`", &lines(&["cache", "list"]));
    check("`cache usage`", &lines(&["cache", "usage"]));
    check("`cache verify`", &lines(&["cache", "verify"]));
    let pins = [lines(&["cache", "pin", name]), lines(&["cache", "unpin", name])];
    check("`cache pin`, `cache unpin`", &pins.concat());
    check("`config check`", &lines(&["config", "check"]));
    check("`config show`", &lines(&["config", "show"]));

    let redis = RedisServer::start(&[]);
    let config = "[[tier]]\nkind = \"disk\"\n".to_owned() + &redis_at(redis.address());
    let config = sandbox.write("config.toml", &config);
    let pushed = lines(&["--config", config.to_str().unwrap(), "push", name]);
    check("`push`", &pushed);
    let digest = pushed[0]["digest"].as_str().unwrap();
    check("`cache remove`", &lines(&["cache", "remove", digest]));
    let removals = [
        lines(&["cache", "gc", "--max-bytes", "0", "--dry-run"]),
        lines(&["cache", "clear"]),
    ];
    check("`cache gc`, `cache clear`", &removals.concat());

    check("`ls`", &lines(&["ls", "-R", name]));
}
