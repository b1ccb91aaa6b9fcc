//! Registries that refuse, lack, lie or break: one clear line, and nothing half-written.

use crate::environment;
use crate::image::{Image, noise};
use crate::registry::{Asked, Registry, cut_after, with};
use crate::sandbox::Sandbox;
use axum::response::Response;

fn good() -> Image {
    Image::of_files(&[("etc/hello", b"hello"), ("data", &noise(300_000))])
}

/// The line that reading the image fails with.
fn refusal(instead: impl Fn(&Asked) -> Option<Response> + Send + Sync + 'static) -> String {
    let registry = Registry::of_image(good(), instead);
    let sandbox = Sandbox::new();
    let line = sandbox.fail(["cat", &registry.image(), "/etc/hello"]);
    assert_eq!(sandbox.cached_files().len(), 0);
    assert_says(&line, &[&registry.image()]);
    line
}

/// The line that reading the image fails with when its layer is answered like this.
fn refusal_of_the_layer(answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> String {
    let digest = good().digest(0).to_owned();
    let wanted = digest.clone();
    let line = refusal(move |asked| (asked.name() == wanted).then(|| answer(asked)));
    assert!(line.contains(&digest), "{line}");
    line
}

fn refusal_of_the_manifest(answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> String {
    refusal(move |asked| asked.is_for_manifest().then(|| answer(asked)))
}

fn assert_says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "{word:?} is missing: {line}");
    }
}

#[test]
fn a_good_registry_is_read() {
    let registry = Registry::of_image(good(), |_| None);
    let printed = Sandbox::new().succeed(["cat", &registry.image(), "/etc/hello"]);
    assert_eq!(printed.text(), "hello");
}

#[test]
fn no_such_manifest() {
    let line = refusal_of_the_manifest(|_| with(404, &[], ""));
    assert_says(&line, &["/team/app has no tag latest"]);
}

#[test]
fn no_such_tag_and_no_such_repository_in_a_real_registry() {
    let sandbox = Sandbox::new();
    let host = environment::open_registry();
    for image in [
        "debian:nothing",
        "nothing:latest",
        "debian@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ] {
        let line = sandbox.fail(["pull", &format!("{host}/{image}")]);
        let (_, tag) = image.split_once([':', '@']).unwrap();
        assert_says(&line, &[image, &format!(" {tag}, or is not there")]);
    }
}

#[test]
fn no_such_blob() {
    let line = refusal_of_the_layer(|_| with(404, &[], ""));
    assert_says(&line, &["no source has this layer"]);
}

#[test]
fn not_logged_in() {
    let line = refusal(|_| Some(with(401, &[("www-authenticate", "Basic realm=\"x\"")], "who?")));
    assert_says(&line, &["wants a user name and a password", "none are known"]);
}

#[test]
fn forbidden() {
    let line = refusal_of_the_manifest(|_| with(403, &[], ""));
    assert_says(&line, &["403"]);
    let line = refusal_of_the_layer(|_| with(403, &[], ""));
    assert_says(&line, &["403"]);
}

#[test]
fn a_web_page_in_place_of_json() {
    let page = "<!DOCTYPE html><html>\x1b[2J<title>Welcome to the proxy</title></html>";
    let line = refusal_of_the_manifest(move |_| with(200, &[("content-type", "text/html")], page));
    assert_says(&line, &["text/html", "manifest"]);
    let line =
        refusal_of_the_manifest(move |_| with(200, &[("content-type", crate::image::MANIFEST_TYPE)], page));
    assert_says(&line, &["manifest"]);
    // An answer of a proxy is as long as it is, and so another length than the layer.
    let line = refusal_of_the_layer(move |_| with(200, &[("content-type", "text/html")], page));
    assert_says(&line, &["bytes"]);
}

#[test]
fn a_manifest_without_end() {
    let manifest = vec![b' '; 5 << 20];
    let line = refusal_of_the_manifest(move |_| {
        with(
            200,
            &[("content-type", crate::image::MANIFEST_TYPE)],
            manifest.clone(),
        )
    });
    assert_says(&line, &["4", "manifest"]);
}

#[test]
fn a_registry_that_is_not_there() {
    let host = Registry::start(|_| with(200, &[], "")).host();
    let sandbox = Sandbox::new();
    let image = format!("{host}/team/app");
    // However often it was tried.
    let line = sandbox.fail(["pull", &image]);
    assert_says(
        &line,
        &[&format!("{host} cannot be reached"), "Connection refused"],
    );
    // Who asks hears of each attempt, and why it failed.
    let logged = sandbox.run(["pull", "--log-format", "text", &image]).stderr;
    let attempt = logged.lines().find(|line| line.contains("trying again")).unwrap();
    assert_says(attempt, &[" INFO ", &host, "Connection refused"]);
}

#[test]
fn a_registry_that_is_broken() {
    let registry = Registry::start(|_| with(500, &[], "panic: \x1b[2J"));
    let line = Sandbox::new().fail(["pull", &registry.image()]);
    assert_says(&line, &[&format!("{} answered 500", registry.host())]);
}

#[test]
fn a_registry_that_closes_every_connection_in_the_middle_of_the_blob() {
    let image = good();
    let digest = image.digest(0).to_owned();
    let blob = image.blobs[&digest].clone();

    // With something new each time it ends well.
    let (wanted, bytes) = (digest.clone(), blob.clone());
    let registry = Registry::of_image(image, move |asked| {
        (asked.name() == wanted).then(|| cut_after(asked, &bytes, 50_000))
    });
    let sandbox = Sandbox::new();
    let read = sandbox.run(["cat", &registry.image(), "/etc/hello"]);
    assert_eq!((read.code, read.text(), read.inflates()), (Some(0), "hello", 1));

    // With hardly anything each time it ends all the same.
    let wanted = digest.clone();
    let registry = Registry::of_image(good(), move |asked| {
        (asked.name() == wanted).then(|| cut_after(asked, &blob, 1))
    });
    let sandbox = Sandbox::new();
    let failed = sandbox.run(["cat", &registry.image(), "/etc/hello"]);
    let line = failed.stderr.lines().last().unwrap();
    assert_says(
        line,
        &[
            "layercache: ",
            &registry.host(),
            &digest,
            "gave up at byte 6",
            "interruptions",
        ],
    );
    assert_eq!(sandbox.cached_files().len(), 0);
}
