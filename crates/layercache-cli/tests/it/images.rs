//! Which image takes how much, and images that are pinned.

use serde_json::{Value, json};

use crate::image::{Image, noise, tar};
use crate::registry::{Registry, with};
use crate::sandbox::{Outcome, Sandbox};

/// Two images on one base of 200 kB, each with a layer of its own.
struct Images {
    sandbox: Sandbox,
    names: [String; 2],
    base: String,
    own: [String; 2],
}

impl Images {
    /// In the cache, by `pull`.
    fn pulled() -> Self {
        let sandbox = Sandbox::new();
        let base = tar(&[("base", &noise(200_000))]);
        let image = |own: &str, len| {
            let mut image = Image::default();
            image.add_tar(&base);
            image.add_tar(&tar(&[(own, &noise(len))]));
            let digests = [0, 1].map(|layer| image.digest(layer).to_owned());
            (image.write_layout(&sandbox.path(own)), digests)
        };
        let (one, [base_digest, own_one]) = image("one", 100_000);
        let (two, [same, own_two]) = image("two", 50_000);
        assert_eq!(base_digest, same);
        sandbox.succeed(["pull", &one, &two]);
        Self {
            sandbox,
            names: [one, two],
            base: base_digest,
            own: [own_one, own_two],
        }
    }

    fn usage(&self) -> Value {
        self.sandbox.succeed(["cache", "usage", "--json"]).json()
    }
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} in {value}"))
}

/// What a configuration adds to a sandbox whose disk tier has this limit.
fn limited(sandbox: &Sandbox, max_bytes: u64) -> String {
    let text = format!("[[tier]]\nkind = \"disk\"\nmax_bytes = {max_bytes}\n[[tier]]\nkind = \"registry\"");
    sandbox.write("limited.toml", text).to_str().unwrap().to_owned()
}

fn digests(outcome: &Value) -> Vec<&str> {
    let layers = outcome["eviction_order"].as_array().unwrap();
    layers
        .iter()
        .map(|layer| layer["digest"].as_str().unwrap())
        .collect()
}

#[test]
fn usage_tells_each_image_and_counts_shared_layers_once() {
    let images = Images::pulled();
    let usage = images.usage();
    let [one, two] = [0, 1].map(|image| &usage["images"][image]);
    assert_eq!(usage["images"].as_array().unwrap().len(), 2);
    for (image, name) in [(one, &images.names[0]), (two, &images.names[1])] {
        assert_eq!(image["image"], **name);
        assert_eq!(
            (&image["layers"], &image["cached_layers"], &image["pinned"]),
            (&json!(2), &json!(2), &json!(false))
        );
        assert!(image["digest"].as_str().unwrap().starts_with("sha256:"));
        assert!(image["last_used"].is_u64());
    }
    let shared = number(one, "shared_bytes");
    assert_eq!(shared, number(two, "shared_bytes"));
    assert!(shared > 200_000);
    assert_eq!(
        number(one, "bytes") + number(two, "bytes") - shared,
        number(&usage, "bytes")
    );
    assert_eq!(number(&usage, "unattributed_layers"), 0);
    assert_eq!(digests(&usage).len(), 3);

    // The record is what is known: without it the layers are those of no image.
    std::fs::remove_dir_all(images.sandbox.cache_dir().join("image")).unwrap();
    let usage = images.usage();
    assert_eq!(
        (&usage["images"], number(&usage, "unattributed_layers")),
        (&json!([]), 3)
    );
    assert_eq!(number(&usage, "unattributed_bytes"), number(&usage, "bytes"));
}

#[test]
fn usage_in_words_names_images_and_what_goes_next() {
    let images = Images::pulled();
    images.sandbox.succeed(["cache", "pin", &images.names[0]]);
    let usage = images.sandbox.succeed(["cache", "usage"]);
    let text = usage.text();
    for words in [
        "layers     3\n",
        " in 2 layers, evicted last\n",
        "2 of 2 layers, pinned\n",
        "\nevicted next\n",
        images.names[1].as_str(),
        images.base.as_str(),
    ] {
        assert!(text.contains(words), "{words:?} is missing: {text}");
    }
}

#[test]
fn pinned_layers_are_evicted_after_all_others() {
    let images = Images::pulled();
    let pinned = images
        .sandbox
        .succeed(["cache", "pin", &images.names[0], "--json"])
        .json();
    assert_eq!(
        (&pinned["pinned"], &pinned["layers"], &pinned["missing"]),
        (&json!(true), &json!(2), &json!([]))
    );
    let usage = images.usage();
    assert_eq!(number(&usage, "pinned_layers"), 2);
    assert_eq!(
        number(&usage["images"][0], "bytes"),
        number(&usage, "pinned_bytes")
    );
    assert_eq!(digests(&usage)[0], images.own[1]);
    assert_eq!(usage["eviction_order"][0]["standing"], "probation");
    assert_eq!(usage["eviction_order"][2]["standing"], "pinned");

    let report = images
        .sandbox
        .succeed(["cache", "gc", "--max-bytes", "310KB", "--json"])
        .json();
    assert_eq!(report["removed"][0]["digest"], images.own[1]);
    assert_eq!(report["removed_layers"], 1);
    // Less than what is pinned takes pinned layers as well, and says so.
    let collected = images.sandbox.run(["cache", "gc", "--max-bytes", "10KB"]);
    assert_eq!(collected.code, Some(0));
    assert!(
        collected.stderr.contains("a pinned layer was evicted"),
        "{}",
        collected.stderr
    );
}

#[test]
fn pins_beyond_the_quota_are_warned_of() {
    let images = Images::pulled();
    let config = limited(&images.sandbox, 250_000);
    // With the limit from the beginning: one of the two layers has no room.
    images.sandbox.succeed(["cache", "clear"]);
    let pulled = images
        .sandbox
        .run(["pull", &images.names[0], "--config", &config]);
    assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
    let said = pulled.stderr.lines().collect::<Vec<_>>();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("layers of the image had to make room again") && said[0].contains("evicted=1"),
        "{said:?}"
    );
    let usage = images.usage();
    assert!(number(&usage, "bytes") <= 250_000);
    assert_eq!(usage["images"][0]["cached_layers"], 1);
    let pinned = images
        .sandbox
        .run(["cache", "pin", &images.names[0], "--config", &config]);
    let said = |outcome: &Outcome| outcome.stderr.contains("what is pinned is more than the quota");
    assert!(pinned.code == Some(0) && said(&pinned), "{}", pinned.stderr);
    let usage = images.sandbox.run(["cache", "usage", "--config", &config]);
    assert!(usage.code == Some(0) && said(&usage), "{}", usage.stderr);
    images
        .sandbox
        .succeed(["cache", "unpin", &images.names[0], "--config", &config]);
    images.sandbox.succeed(["cache", "usage", "--config", &config]);
}

#[test]
fn unpin_needs_no_registry_and_pin_none_for_what_is_known() {
    let mut image = Image::of_files(&[("etc/hello", b"hello")]);
    image.add_tar(&tar(&[("etc/motd", b"welcome")]));
    let missing = [0, 1].map(|layer| image.digest(layer).to_owned());
    let registry = Registry::of_image(image, |_| None);
    let sandbox = Sandbox::new();
    let name = registry.image();
    // Nothing is cached: it is looked up, and said what is missing.
    let pinned = sandbox.succeed(["cache", "pin", &name, "--json"]).json();
    assert_eq!(
        (&pinned["image"], &pinned["missing"]),
        (&json!(name), &json!(missing))
    );
    let pinned = sandbox.succeed(["cache", "pin", &name]);
    assert!(
        missing.iter().all(|digest| pinned.text().contains(digest)),
        "{}",
        pinned.text()
    );
    sandbox.succeed(["pull", &name]);
    assert_eq!(
        sandbox.succeed(["cache", "usage", "--json"]).json()["pinned_layers"],
        2
    );

    drop(registry);
    let unpinned = sandbox.succeed(["cache", "unpin", &name, "--json"]).json();
    assert_eq!(
        (&unpinned["image"], &unpinned["pinned"]),
        (&json!(name), &json!(false))
    );
    assert!(
        sandbox
            .fail(["cache", "unpin", &name])
            .contains(&format!("not pinned: {name}"))
    );
    assert!(
        sandbox
            .succeed(["cache", "pin", &name])
            .text()
            .ends_with("2 layers\n")
    );
    // One that was never seen cannot be looked up now.
    sandbox.fail(["cache", "pin", &name.replace("latest", "other")]);
    assert!(
        sandbox
            .fail(["cache", "unpin", "--platform", "plan9/mips", &name])
            .contains("not pinned")
    );
}

#[test]
fn a_pull_that_finds_another_image_under_the_name_keeps_the_pin() {
    let first = Image::of_files(&[("etc/hello", b"hello")]);
    let second = Image::of_files(&[("etc/hello", b"goodbye")]);
    let digest = second.digest(0).to_owned();
    let (sandbox, name) = (Sandbox::new(), "oci:image".to_owned());
    first.write_layout(&sandbox.path("image"));
    sandbox.succeed(["pull", &name]);
    sandbox.succeed(["cache", "pin", &name]);
    std::fs::remove_dir_all(sandbox.path("image")).unwrap();
    second.write_layout(&sandbox.path("image"));
    sandbox.succeed(["pull", &name]);
    let usage = sandbox.succeed(["cache", "usage", "--json"]).json();
    assert_eq!(
        (&usage["images"][0]["pinned"], number(&usage, "pinned_layers")),
        (&json!(true), 1)
    );
    assert_eq!(digests(&usage)[1], digest);
    // By its name from elsewhere it is the same image.
    let full = format!("oci:{}", sandbox.path("image").display());
    sandbox.succeed(["cache", "unpin", &full]);
}

#[test]
fn a_pull_that_fails_leaves_the_pin_on_what_is_there() {
    let first = Image::of_files(&[("etc/hello", b"hello")]);
    let mut second = Image::of_files(&[("etc/hello", b"goodbye")]);
    second.add_tar(&tar(&[("etc/motd", b"welcome")]));
    let (kept, missing) = (first.digest(0).to_owned(), second.digest(1).to_owned());
    let (sandbox, name) = (Sandbox::new(), "oci:image".to_owned());
    first.write_layout(&sandbox.path("image"));
    sandbox.succeed(["pull", &name]);
    sandbox.succeed(["cache", "pin", &name]);
    std::fs::remove_dir_all(sandbox.path("image")).unwrap();
    second.write_layout(&sandbox.path("image"));
    let blob = missing.replace(':', "/");
    std::fs::remove_file(sandbox.path("image/blobs").join(blob)).unwrap();
    sandbox.fail(["pull", &name]);
    let usage = sandbox.succeed(["cache", "usage", "--json"]).json();
    assert_eq!(
        (&usage["images"][0]["layers"], number(&usage, "pinned_layers")),
        (&json!(1), 1)
    );
    assert_eq!(digests(&usage).last(), Some(&kept.as_str()));
}

#[test]
fn what_is_no_record_harms_nobody() {
    let images = Images::pulled();
    let record = |text: &str| {
        let hex = layercache::core::Digest::sha256_of(text.as_bytes()).hex();
        images.sandbox.write(&format!(".cache/clip/image/{hex}"), text)
    };
    let hostile = [
        record("{\"version\":1,\"name\":\"\\u001b[2J\""),
        record("\u{1b}[2J"),
    ];
    let usage = images.sandbox.succeed(["cache", "usage"]);
    assert!(!usage.text().contains('\u{1b}'));
    assert_eq!(images.usage()["images"].as_array().unwrap().len(), 2);
    let report = images.sandbox.succeed(["cache", "gc", "--json"]).json();
    assert_eq!(
        (&report["removed_images"], &report["removed_layers"]),
        (&json!(2), &json!(0))
    );
    assert!(hostile.iter().all(|path| !path.exists()));
}

#[test]
fn an_image_whose_layer_is_missing_is_remembered_with_what_there_is() {
    let mut image = Image::of_files(&[("etc/hello", b"hello")]);
    image.add_tar(&tar(&[("etc/motd", b"welcome")]));
    let missing = image.digest(1).to_owned();
    let registry = Registry::of_image(image, move |asked| {
        (asked.name() == missing).then(|| with(404, &[], "gone"))
    });
    let sandbox = Sandbox::new();
    sandbox.succeed(["read", &registry.image(), "0"]);
    assert_eq!(sandbox.run(["pull", &registry.image()]).code, Some(1));
    let usage = sandbox.succeed(["cache", "usage", "--json"]).json();
    assert_eq!(usage["images"][0]["layers"], 2);
    assert_eq!(usage["images"][0]["cached_layers"], 1);
    assert_eq!(number(&usage, "unattributed_layers"), 0);
}
