//! Registries that refuse, lack, lie or break.

use axum::response::Response;

use super::Row;
use crate::image::{Image, MANIFEST_TYPE, noise};
use crate::registry::{Asked, Registry, cut_after, with};
use crate::sandbox::Sandbox;

fn good() -> Image {
    Image::of_files(&[("etc/hello", b"hello"), ("data", &noise(300_000))])
}

fn row(situation: &'static str, instead: impl Fn(&Asked) -> Option<Response> + Send + Sync + 'static) -> Row {
    let registry = Registry::of_image(good(), instead);
    Row::of_command(situation, &Sandbox::new(), &["pull", &registry.image()])
}

fn manifest(situation: &'static str, answer: impl Fn() -> Response + Send + Sync + 'static) -> Row {
    row(situation, move |asked| asked.is_for_manifest().then(&answer))
}

fn blob(situation: &'static str, answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Row {
    let digest = good().digest(0).to_owned();
    row(situation, move |asked| {
        (asked.name() == digest).then(|| answer(asked))
    })
}

/// One row, to be provoked.
type Provoke = Box<dyn FnOnce() -> Row + Send>;

pub(super) fn rows() -> Vec<Row> {
    let bytes = good().blobs.into_values().max_by_key(Vec::len).unwrap();
    let mut other = bytes.clone();
    other[1000] ^= 1;
    let rows: Vec<Provoke> = vec![
        Box::new(nobody),
        Box::new(|| manifest("no such image", || with(404, &[], ""))),
        Box::new(|| challenge("a user name and a password are wanted", "Basic realm=\"x\"")),
        Box::new(|| challenge("a challenge that nobody knows", "Negotiate")),
        Box::new(|| {
            let realm = "Bearer realm=\"ftp://token.example/\",service=\"x\"";
            challenge("a token server that would get the password in the clear", realm)
        }),
        Box::new(|| manifest("no access to the image", || with(403, &[], ""))),
        Box::new(|| manifest("a registry that is broken", || with(500, &[], "panic"))),
        Box::new(|| manifest("a registry that redirects to nowhere", || with(307, &[], ""))),
        Box::new(|| {
            let page = || with(200, &[("content-type", "text/html")], "<html>");
            manifest("a page in place of a manifest", page)
        }),
        Box::new(|| {
            let page = || with(200, &[("content-type", MANIFEST_TYPE)], "<html>");
            manifest("a manifest that is no JSON", page)
        }),
        Box::new(|| {
            let long = || with(200, &[("content-type", MANIFEST_TYPE)], vec![b' '; 5 << 20]);
            manifest("a manifest without end", long)
        }),
        Box::new(|| blob("no such layer", |_| with(404, &[], ""))),
        Box::new(|| blob("no access to the layer", |_| with(403, &[], ""))),
        Box::new(|| blob("a layer of another length", |_| with(200, &[], "<html>"))),
        Box::new(move || blob("a layer with other bytes", move |_| with(200, &[], other.clone()))),
        Box::new(move || {
            let cut = move |asked: &Asked| cut_after(asked, &bytes, 1);
            blob("a layer that is cut, again and again", cut)
        }),
    ];
    // All at once: most of it is waiting before something is tried again.
    std::thread::scope(|scope| {
        let provoked: Vec<_> = rows.into_iter().map(|row| scope.spawn(row)).collect();
        provoked.into_iter().map(|row| row.join().unwrap()).collect()
    })
}

fn nobody() -> Row {
    Row::of_command(
        "a registry that is not there",
        &Sandbox::new(),
        &["pull", "127.0.0.1:1/team/app"],
    )
}

fn challenge(situation: &'static str, challenge: &'static str) -> Row {
    row(situation, move |_| {
        Some(with(401, &[("www-authenticate", challenge)], ""))
    })
}
