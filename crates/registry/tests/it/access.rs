//! Who is told what: tokens, passwords, redirects.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use axum::response::Response;
use base64::Engine as _;
use cache_core::{ErrorKind, LayerSource};
use registry::{CredentialFiles, Credentials, RegistryOrigin, Secret, StaticCredentials};

use crate::fixture::{config, layer_at, one_layer, origin, origin_with, ranged, read, resolve};
use crate::server::{Seen, Server, cut, status, with};

const BASIC: &str = "Basic dXNlcjpodW50ZXIy";

fn login(host: &str) -> RegistryOrigin {
    let password = Secret::new("hunter2");
    let credentials = Credentials::Basic {
        username: "user".into(),
        password,
    };
    origin_with(
        config(),
        Arc::new(StaticCredentials::default().with(host, credentials)),
    )
}

/// A token server that numbers its tokens.
fn token_answer(count: &AtomicUsize) -> Response {
    let number = count.fetch_add(1, SeqCst) + 1;
    with(
        200,
        &[],
        format!(r#"{{"token":"token-{number}","expires_in":300}}"#),
    )
}

fn challenge(code: u16, realm_host: &str) -> Response {
    let realm = format!(r#"Bearer realm="http://{realm_host}/token?x=1",service="the service""#);
    with(code, &[("www-authenticate", &realm)], "")
}

/// A registry and its token server in one, which takes the tokens that `valid` says.
async fn with_tokens(
    valid: impl Fn(&Seen, &str) -> bool + Send + Sync + 'static,
    answer: impl Fn(&Seen) -> Response + Send + Sync + 'static,
) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |request| {
        if request.path == "/token" {
            return token_answer(&count);
        }
        match request
            .authorization()
            .and_then(|text| text.strip_prefix("Bearer "))
        {
            Some(token) if valid(request, token) => answer(request),
            _ => challenge(401, request.header(axum::http::header::HOST).unwrap()),
        }
    })
    .await
}

#[tokio::test]
async fn a_token_is_fetched_once_per_repository_with_the_scope_to_pull() {
    let (content, layer) = one_layer();
    let server = with_tokens(
        |_, token| token == "token-1",
        move |request| content.answer(request),
    )
    .await;
    let origin = login(&server.host);
    let image = resolve(&origin, &server).await.unwrap();
    assert_eq!(read(&origin, &image.layers[0]).await.unwrap(), layer);
    let tokens = server.seen_at("/token");
    assert_eq!(tokens.len(), 1);
    assert_eq!(
        tokens[0].query,
        "x=1&service=the+service&scope=repository%3Ateam%2Fapp%3Apull"
    );
    assert_eq!(tokens[0].authorization(), Some(BASIC));
    assert!(
        server
            .seen_at("/v2/")
            .iter()
            .all(|request| request.authorization() != Some(BASIC))
    );
}

#[tokio::test]
async fn many_readers_at_once_fetch_one_token() {
    let (content, layer) = one_layer();
    let server = with_tokens(|_, _| true, move |request| content.answer(request)).await;
    let origin = origin();
    let descriptor = layer_at(&server, &layer);
    let reads = (0..16).map(|_| read(&origin, &descriptor));
    for bytes in futures_util::future::join_all(reads).await {
        assert_eq!(bytes.unwrap(), layer);
    }
    assert_eq!(server.seen_at("/token").len(), 1);
}

#[tokio::test]
async fn a_token_that_expires_in_the_middle_of_a_pull_is_renewed() {
    // Some registries say 403 to an expired token, and then without a challenge.
    for code in [401, 403] {
        let (_, layer) = one_layer();
        let blob = layer.clone();
        let count = AtomicUsize::new(0);
        let server = Server::start(move |request| {
            let host = request.header(axum::http::header::HOST).unwrap();
            match (request.path.as_str(), request.authorization(), request.range()) {
                ("/token", ..) => token_answer(&count),
                (_, Some("Bearer token-1"), None) => cut(&blob[..40_000], blob.len()),
                (_, Some("Bearer token-2"), Some(_)) => ranged(request, &blob),
                (_, Some(_), _) if code == 403 => status(403),
                _ => challenge(401, host),
            }
        })
        .await;
        assert_eq!(read(&origin(), &layer_at(&server, &layer)).await.unwrap(), layer);
        assert_eq!(server.seen_at("/token").len(), 2);
    }
}

#[tokio::test]
async fn denied_for_ever_is_permanent_after_one_renewal() {
    let server = with_tokens(|_, _| false, |_| status(200)).await;
    let error = origin().open(&layer_at(&server, b"x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert!(error.to_string().contains("credentials"), "{error}");
    assert!(server.seen_at("/v2/").len() <= 3);
    let silent = Server::start(|_| status(401)).await;
    let error = origin().open(&layer_at(&silent, b"x")).await.unwrap_err();
    assert_eq!((error.kind(), silent.seen().len()), (ErrorKind::Permanent, 1));
}

#[tokio::test]
async fn a_password_is_sent_where_basic_is_asked_for_and_not_before() {
    let (content, layer) = one_layer();
    let server = Server::start(move |request| match request.authorization() {
        Some(BASIC) => content.answer(request),
        _ => with(401, &[("www-authenticate", "Basic realm=\"x\"")], ""),
    })
    .await;
    let logged_in = login(&server.host);
    assert_eq!(read(&logged_in, &layer_at(&server, &layer)).await.unwrap(), layer);
    assert_eq!(server.seen()[0].authorization(), None);
    let error = origin().open(&layer_at(&server, &layer)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    let stranger = login("other.example");
    assert!(stranger.open(&layer_at(&server, &layer)).await.is_err());
    assert_eq!(
        server
            .seen()
            .iter()
            .filter(|request| request.authorization().is_some())
            .count(),
        1
    );
}

#[tokio::test]
async fn an_identity_token_is_exchanged_in_the_body_of_a_post() {
    let (content, layer) = one_layer();
    let server = with_tokens(|_, _| true, move |request| content.answer(request)).await;
    let credentials = Credentials::IdentityToken(Secret::new("refresh-me"));
    let credentials = StaticCredentials::default().with(server.host.clone(), credentials);
    let origin = origin_with(config(), Arc::new(credentials));
    assert_eq!(read(&origin, &layer_at(&server, &layer)).await.unwrap(), layer);
    let token = &server.seen_at("/token")[0];
    assert_eq!((token.method.as_str(), token.authorization()), ("POST", None));
    assert!(token.body.contains("grant_type=refresh_token"), "{}", token.body);
    assert!(token.body.contains("refresh_token=refresh-me"), "{}", token.body);
    assert!(!token.query.contains("refresh-me"));
}

#[tokio::test]
async fn a_token_server_in_trouble_is_waited_for_and_one_that_denies_is_not() {
    let (content, layer) = one_layer();
    let server = Server::start(move |request| {
        let host = request.header(axum::http::header::HOST).unwrap();
        match (request.path.as_str(), request.before, request.authorization()) {
            ("/token", 0 | 1, _) => status(500),
            ("/token", ..) => with(200, &[], r#"{"access_token":"good"}"#),
            (_, _, Some("Bearer good")) => content.answer(request),
            _ => challenge(401, host),
        }
    })
    .await;
    assert_eq!(read(&origin(), &layer_at(&server, &layer)).await.unwrap(), layer);

    let denying = Server::start(|request| match request.path.as_str() {
        "/token" => status(401),
        _ => challenge(401, request.header(axum::http::header::HOST).unwrap()),
    })
    .await;
    let error = login(&denying.host)
        .open(&layer_at(&denying, b"x"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), denying.seen_at("/token").len()),
        (ErrorKind::Permanent, 1)
    );
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn authorization_stays_with_the_server_it_was_meant_for() {
    let (_, layer) = one_layer();
    let blob = layer.clone();
    let storage = Server::start(move |request| ranged(request, &blob)).await;
    let target = format!("http://{}/signed?signature=secret", storage.host);
    let server = with_tokens(
        |_, _| true,
        move |request| match request.path.as_str() {
            "/elsewhere" => with(302, &[("location", &target)], ""),
            _ => with(307, &[("location", "/elsewhere")], ""),
        },
    )
    .await;
    assert_eq!(read(&origin(), &layer_at(&server, &layer)).await.unwrap(), layer);
    assert_eq!(
        server.seen_at("/elsewhere")[0].authorization(),
        Some("Bearer token-1")
    );
    assert_eq!(storage.seen()[0].query, "signature=secret");
    assert!(
        storage
            .seen()
            .iter()
            .all(|request| request.authorization().is_none())
    );
}

#[tokio::test]
async fn a_server_behind_a_redirect_gets_no_password_however_it_asks() {
    let storage = Server::start(|_| with(401, &[("www-authenticate", "Basic realm=\"give\"")], "")).await;
    let target = format!("http://{}/blob", storage.host);
    let server = Server::start(move |_| with(307, &[("location", &target)], "")).await;
    let error = login(&server.host)
        .open(&layer_at(&server, b"x"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert_eq!(storage.seen().len(), 2, "a new signed URL is asked for once");
    assert!(
        storage
            .seen()
            .iter()
            .all(|request| request.authorization().is_none())
    );
}

#[tokio::test]
async fn redirects_without_end_are_an_error() {
    let server = Server::start(|_| with(307, &[("location", "/again")], "")).await;
    let error = origin().open(&layer_at(&server, b"x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert_eq!(server.seen().len(), 9);
}

/// `docker login` in the middle of a pull counts at once, and so does a password that is no longer good.
#[tokio::test]
async fn a_new_login_counts_without_a_restart() {
    let valid = Arc::new(Mutex::new("first"));
    let (content, _) = one_layer();
    let expected = Arc::clone(&valid);
    let server = Server::start(move |request| {
        let pair = format!("user:{}", expected.lock().unwrap());
        let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        match request.authorization() {
            Some(authorization) if authorization == basic => content.answer(request),
            _ => with(401, &[("www-authenticate", "Basic realm=\"x\"")], ""),
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    let log_in = |password: &str| {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("user:{password}"));
        let entry = serde_json::json!({ "auths": { &server.host: { "auth": auth } } });
        std::fs::write(&file, entry.to_string()).unwrap();
    };
    log_in("first");
    let origin = origin_with(config(), Arc::new(CredentialFiles::new(vec![file.clone()])));
    resolve(&origin, &server).await.unwrap();
    *valid.lock().unwrap() = "second";
    let refused = resolve(&origin, &server).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Permanent, "{refused}");
    log_in("second");
    resolve(&origin, &server).await.unwrap();
}
