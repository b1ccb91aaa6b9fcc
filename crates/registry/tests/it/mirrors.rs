//! Mirrors in front of a host.

use std::sync::Arc;

use cache_core::{ErrorKind, LayerSource};
use registry::{Anonymous, RegistryOrigin};

use crate::fixture::{config, layer_at, one_layer, origin_with, ranged, read, resolve};
use crate::server::{Server, cut, status, with};

fn mirrored(host: &Server, mirrors: &[&Server]) -> RegistryOrigin {
    let mut config = config();
    let bases = mirrors
        .iter()
        .map(|mirror| format!("http://{}/cache", mirror.host))
        .collect();
    config.mirrors.insert(host.host.clone(), bases);
    origin_with(config, Arc::new(Anonymous))
}

#[tokio::test]
async fn the_first_mirror_that_can_serves_and_the_host_is_left_alone() {
    let (content, layer) = one_layer();
    let lacking = Server::start(|_| status(404)).await;
    let good = Server::start(move |request| content.answer(request)).await;
    let host = Server::start(|_| status(500)).await;
    let origin = mirrored(&host, &[&lacking, &good]);
    let image = resolve(&origin, &host).await.unwrap();
    assert_eq!(read(&origin, &image.layers[0]).await.unwrap(), layer);
    assert!(host.seen().is_empty());
    assert!(
        good.seen()
            .iter()
            .all(|request| request.path.starts_with("/v2/cache/team/app/"))
    );
    assert_eq!(image.repository.as_ref(), format!("{}/team/app", host.host));
}

#[tokio::test]
async fn each_mirror_is_asked_whether_it_is_a_registry() {
    let [open, closed] = [200, 401].map(|code| Server::start(move |_| status(code)));
    let (open, closed) = (open.await, closed.await);
    let host = Server::start(|_| status(500)).await;
    mirrored(&host, &[&open, &closed]).check_mirrors().await.unwrap();
    for mirror in [&open, &closed] {
        let paths: Vec<_> = mirror.seen().into_iter().map(|request| request.path).collect();
        assert_eq!(paths, ["/v2/"]);
    }

    let [none, broken] = [404, 503].map(|code| Server::start(move |_| status(code)));
    let (none, broken) = (none.await, broken.await);
    let error = mirrored(&host, &[&none, &open, &broken])
        .check_mirrors()
        .await
        .unwrap_err();
    for words in [
        "not every mirror can be used: ",
        &format!("{} answered 404 Not Found: it is no registry", none.host),
        &format!("{} answered 503 Service Unavailable", broken.host),
    ] {
        assert!(error.message().contains(words), "{words:?} is missing: {error}");
    }
    assert!(!error.message().contains(&open.host), "{error}");
    assert!(host.seen().is_empty());
}

#[tokio::test]
async fn mirrors_that_fail_deny_or_lie_cost_one_request_each() {
    for code in [500, 403, 404, 429, 200] {
        let (content, layer) = one_layer();
        let bad = Server::start(move |_| with(code, &[("content-type", "text/html")], "<html>")).await;
        let host = Server::start(move |request| content.answer(request)).await;
        let origin = mirrored(&host, &[&bad]);
        let digest = resolve(&origin_with(config(), Arc::new(Anonymous)), &host)
            .await
            .unwrap()
            .manifest_digest;
        let location = format!("{}/team/app@{}", host.host, digest.unwrap())
            .parse()
            .unwrap();
        let image = registry::ImageSource::resolve(&origin, &location, &crate::fixture::amd64())
            .await
            .unwrap();
        assert_eq!(read(&origin, &image.layers[0]).await.unwrap(), layer, "{code}");
        assert_eq!(bad.seen().len(), 3, "{code}");
    }
}

#[tokio::test]
async fn what_the_host_does_not_have_is_absent_whatever_a_mirror_says() {
    let down = Server::start(|_| status(500)).await;
    let host = Server::start(|_| status(404)).await;
    assert!(
        mirrored(&host, &[&down])
            .open(&layer_at(&host, b"x"))
            .await
            .unwrap()
            .is_none()
    );
    let error = mirrored(&down, &[&host])
        .open(&layer_at(&down, b"x"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_blob_that_a_mirror_breaks_off_goes_on_at_the_host() {
    let (_, layer) = one_layer();
    let blob = layer.clone();
    let mirror = Server::start(move |_| cut(&blob[..40_000], blob.len())).await;
    let blob = layer.clone();
    let host = Server::start(move |request| ranged(request, &blob)).await;
    let origin = mirrored(&host, &[&mirror]);
    assert_eq!(read(&origin, &layer_at(&host, &layer)).await.unwrap(), layer);
    assert_eq!(
        host.seen()[0].range(),
        Some(format!("bytes=40000-{}", layer.len() - 1).as_str())
    );
}
