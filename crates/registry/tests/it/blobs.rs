//! Layers over connections that fail.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Digest, ErrorKind, LayerDescriptor, LayerSource};
use cache_testkit::Recorded;
use registry::Anonymous;

use crate::fixture::{config, layer_at, one_layer, origin, origin_with, ranged, read, resolve};
use crate::server::{Server, cut, stall, status, with};

#[tokio::test]
async fn an_image_is_resolved_and_its_layer_read_with_one_request_each() {
    let (content, layer) = one_layer();
    let server = Server::start(move |request| content.answer(request)).await;
    let origin = origin();
    let image = resolve(&origin, &server).await.unwrap();
    assert_eq!(image.repository.as_ref(), format!("{}/team/app", server.host));
    assert_eq!(image.layers.len(), 1);
    assert_eq!(image.layers[0].diff_id, Some(Digest::sha256_of(&layer)));
    assert_eq!(read(&origin, &image.layers[0]).await.unwrap(), layer);
    assert_eq!(server.seen().len(), 3, "manifest, config, layer");
    assert_eq!(origin.stats().requests(), 3);
    assert!(origin.stats().bytes() > layer.len() as u64);
    assert!(
        server
            .seen()
            .iter()
            .all(|request| request.authorization().is_none())
    );
}

#[tokio::test]
async fn a_layer_that_is_not_there_is_absent_and_an_outage_is_not() {
    let absent = Server::start(|_| status(404)).await;
    let origin = origin();
    assert!(origin.open(&layer_at(&absent, b"x")).await.unwrap().is_none());
    let broken = Server::start(|_| status(503)).await;
    let error = origin.open(&layer_at(&broken, b"x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(broken.seen().len() as u32, config().max_retries + 1);
}

#[tokio::test]
async fn layers_of_other_origins_are_absent_and_a_layer_without_a_repository_is_refused() {
    let layer = LayerDescriptor::new(Digest::sha256_of(b"x"));
    for locator in [
        "oci:/srv/image",
        "oci-archive:image.tar",
        "docker-archive:image.tar",
    ] {
        assert!(
            origin()
                .open(&layer.clone().with_repository(locator))
                .await
                .unwrap()
                .is_none()
        );
    }
    let error = origin().open(&layer).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert!(error.to_string().contains("repository"), "{error}");
}

#[tokio::test]
async fn errors_that_pass_are_waited_out() {
    for (code, retry_after) in [
        (500, ""),
        (502, ""),
        (429, "1"),
        (503, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (408, "x"),
    ] {
        let (content, layer) = one_layer();
        let server = Server::start(move |request| match request.before {
            0 | 1 => with(code, &[("retry-after", retry_after)], ""),
            _ => content.answer(request),
        })
        .await;
        assert_eq!(
            read(&origin(), &layer_at(&server, &layer)).await.unwrap(),
            layer,
            "{code}"
        );
    }
}

#[tokio::test]
async fn a_cut_blob_goes_on_with_a_closed_range() {
    let (_, layer) = one_layer();
    let blob = layer.clone();
    let server = Server::start(move |request| match request.before {
        0 => cut(&blob[..40_000], blob.len()),
        _ => ranged(request, &blob),
    })
    .await;
    assert_eq!(read(&origin(), &layer_at(&server, &layer)).await.unwrap(), layer);
    let ranges: Vec<_> = server
        .seen()
        .iter()
        .map(|request| request.range().map(str::to_owned))
        .collect();
    assert_eq!(ranges, [None, Some(format!("bytes=40000-{}", layer.len() - 1))]);
}

#[tokio::test]
async fn what_an_origin_costs_is_told_to_the_metrics() {
    let recorded = Recorded::default();
    let _listening = recorded.listen();
    let (_, layer) = one_layer();
    let blob = layer.clone();
    let server = Server::start(move |request| match request.before {
        0 | 1 => status(503),
        2 => cut(&blob[..40_000], blob.len()),
        _ => ranged(request, &blob),
    })
    .await;
    let origin = origin();
    read(&origin, &layer_at(&server, &layer)).await.unwrap();
    let value = |name: &str, labels: &[(&str, &str)]| {
        let labels = [&[("tier", "registry")], labels].concat();
        recorded.value(&format!("layercache_{name}"), &labels)
    };
    let repeated = |operation| value("retries_total", &[("operation", operation)]);
    assert_eq!((repeated("open"), repeated("read")), (2.0, 1.0));
    assert_eq!(value("origin_requests_total", &[]), server.seen().len() as f64);
    assert_eq!(value("origin_bytes_total", &[]), origin.stats().bytes() as f64);
    assert!(origin.stats().bytes() >= layer.len() as u64);
}

#[tokio::test]
async fn a_stalled_blob_goes_on_after_the_idle_timeout() {
    let (_, layer) = one_layer();
    let blob = layer.clone();
    let server = Server::start(move |request| match request.before {
        0 => stall(&blob[..40_000], blob.len()),
        _ => ranged(request, &blob),
    })
    .await;
    let mut config = config();
    config.idle_timeout = Duration::from_millis(300);
    let origin = origin_with(config, Arc::new(Anonymous));
    assert_eq!(read(&origin, &layer_at(&server, &layer)).await.unwrap(), layer);
    assert!(server.seen().len() >= 2);
}

#[tokio::test]
async fn a_registry_that_ignores_ranges_is_read_from_the_start_again() {
    let (_, layer) = one_layer();
    let blob = layer.clone();
    let server = Server::start(move |request| match request.before {
        0 => cut(&blob[..40_000], blob.len()),
        1 => cut(&blob[..10_000], blob.len()),
        2 => cut(&blob[..70_000], blob.len()),
        _ => with(200, &[], blob.clone()),
    })
    .await;
    assert_eq!(read(&origin(), &layer_at(&server, &layer)).await.unwrap(), layer);
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_wrong_range_or_none_is_not_taken_for_the_right_one() {
    for wrong in [
        "bytes 0-99999/100000",
        "bytes 40000-99999/*",
        "bytes 40000-99998/100000",
        "",
        "416",
    ] {
        let (_, layer) = one_layer();
        let blob = layer.clone();
        let server = Server::start(move |request| match (request.before, wrong) {
            (0, _) => cut(&blob[..40_000], blob.len()),
            (1, "416") => status(416),
            (1, wrong) => with(206, &[("content-range", wrong)], blob[..60_000].to_vec()),
            _ => with(200, &[], blob.clone()),
        })
        .await;
        assert_eq!(
            read(&origin(), &layer_at(&server, &layer)).await.unwrap(),
            layer,
            "{wrong}"
        );
        assert_eq!(server.seen()[2].range(), None, "ranges are not asked for again");
    }
}

#[tokio::test]
async fn a_registry_that_closes_mid_blob_for_ever_is_given_up() {
    let (_, layer) = one_layer();
    let blob = layer.clone();
    let server = Server::start(move |_| cut(&blob[..40_000], blob.len())).await;
    let error = read(&origin(), &layer_at(&server, &layer)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("gave up at byte 40000"), "{error}");
    assert_eq!(server.seen().len() as u32, config().max_retries + 1);
}

#[tokio::test]
async fn a_registry_that_gives_a_byte_per_connection_is_given_up_too() {
    let (_, layer) = one_layer();
    let blob = layer.clone();
    let server = Server::start(move |request| {
        let at = request.before;
        let mut response = cut(&blob[at..=at], blob.len() - at);
        if request.range().is_some() {
            *response.status_mut() = 206.try_into().unwrap();
            let range = format!("bytes {at}-{}/{}", blob.len() - 1, blob.len());
            response
                .headers_mut()
                .insert("content-range", range.parse().unwrap());
        }
        response
    })
    .await;
    let mut config = config();
    config.max_resumes = 9;
    let origin = origin_with(config, Arc::new(Anonymous));
    let error = read(&origin, &layer_at(&server, &layer)).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("gave up at byte 10 after 10 interruptions"),
        "{error}"
    );
    assert_eq!(server.seen().len(), 10);
}

#[tokio::test]
async fn more_bytes_than_the_manifest_says_are_corrupt() {
    let (_, layer) = one_layer();
    let blob = [layer.as_slice(), b"more"].concat();
    let chunked = blob.clone();
    let announced = Server::start(move |_| with(200, &[], blob.clone())).await;
    let error = origin().open(&layer_at(&announced, &layer)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let hidden = Server::start(move |_| {
        let pieces: Vec<_> = chunked
            .chunks(30_000)
            .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
            .collect();
        with(
            200,
            &[],
            axum::body::Body::from_stream(futures_util::stream::iter(pieces)),
        )
    })
    .await;
    let error = read(&origin(), &layer_at(&hidden, &layer)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(hidden.seen().len(), 1, "not asked for again");
}

#[tokio::test]
async fn wrong_bytes_of_the_right_length_are_corrupt() {
    let (_, layer) = one_layer();
    let mut wrong = layer.clone();
    wrong[50_000] ^= 1;
    let server = Server::start(move |_| with(200, &[], wrong.clone())).await;
    let error = read(&origin(), &layer_at(&server, &layer)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn readers_that_are_opened_and_not_read_lock_nobody_out() {
    let (content, layer) = one_layer();
    let server = Server::start(move |request| content.answer(request)).await;
    let mut config = config();
    config.max_requests_per_host = 1;
    let origin = origin_with(config, Arc::new(Anonymous));
    let descriptor = layer_at(&server, &layer);
    let idle = [
        origin.open(&descriptor).await.unwrap(),
        origin.open(&descriptor).await.unwrap(),
    ];
    assert_eq!(read(&origin, &descriptor).await.unwrap(), layer);
    drop(idle);
}

#[tokio::test]
async fn a_host_gets_no_more_blobs_at_once_than_configured() {
    use futures_util::StreamExt;
    // Longer than what is buffered between the connection and the reader.
    let layer = one_layer().1.repeat(40);
    let blob = layer.clone();
    let server = Server::start(move |request| match request.before {
        0 => stall(&blob[..2_000_000], blob.len()),
        _ => ranged(request, &blob),
    })
    .await;
    let mut config = config();
    config.max_requests_per_host = 1;
    config.queue_timeout = Duration::from_millis(100);
    let origin = origin_with(config, Arc::new(Anonymous));
    let descriptor = layer_at(&server, &layer);
    let mut busy = origin.open(&descriptor).await.unwrap().unwrap().stream(0);
    busy.next().await.unwrap().unwrap();
    let error = origin.open(&descriptor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    drop(busy);
    assert_eq!(read(&origin, &descriptor).await.unwrap(), layer);
}
