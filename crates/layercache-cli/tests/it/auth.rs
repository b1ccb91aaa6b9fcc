//! Registries that want to know who asks, and the secrets that they are told.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::environment::{basic_registry, login, token_registry};
use crate::image::{Image, noise};
use crate::registry::{Registry, with};
use crate::sandbox::{Outcome, Sandbox};

fn base64_login() -> String {
    let (user, password) = login();
    BASE64_STANDARD.encode(format!("{user}:{password}"))
}

/// What `docker login` writes.
fn docker_config(host: &str, auth: &str) -> String {
    json!({ "auths": { host: { "auth": auth } } }).to_string()
}

/// Logs the user of a sandbox in to a registry.
fn log_in(sandbox: &Sandbox, host: &str) {
    sandbox.write(".docker/config.json", docker_config(host, &base64_login()));
}

fn registries() -> [String; 2] {
    [basic_registry(), token_registry()]
}

/// Reads a file of the small image of a registry.
fn read_file(sandbox: &Sandbox, host: &str) -> Command {
    sandbox.command(["cat", &format!("{host}/debian:small"), "/etc/debian_version"])
}

fn assert_reads(sandbox: &Sandbox, command: Command) {
    let outcome = sandbox.finish(command).succeeded();
    assert!(outcome.text().ends_with('\n'), "{:?}", outcome.text());
    assert_eq!(outcome.inflates(), 1);
}

#[test]
fn the_credentials_of_docker_login() {
    for host in registries() {
        let sandbox = Sandbox::new();
        sandbox.write("docker/config.json", docker_config(&host, &base64_login()));
        let mut command = read_file(&sandbox, &host);
        command.env("DOCKER_CONFIG", sandbox.path("docker"));
        assert_reads(&sandbox, command);

        let sandbox = Sandbox::new();
        log_in(&sandbox, &host);
        assert_reads(&sandbox, read_file(&sandbox, &host));
    }
}

#[test]
fn the_credentials_of_podman_login() {
    for host in registries() {
        let sandbox = Sandbox::new();
        sandbox.write("run/containers/auth.json", docker_config(&host, &base64_login()));
        let mut command = read_file(&sandbox, &host);
        command.env("XDG_RUNTIME_DIR", sandbox.path("run"));
        assert_reads(&sandbox, command);

        let sandbox = Sandbox::new();
        let file = sandbox.write("auth.json", docker_config(&host, &base64_login()));
        let mut command = read_file(&sandbox, &host);
        command.env("REGISTRY_AUTH_FILE", file);
        assert_reads(&sandbox, command);
    }
}

/// Writes the credential helper `test`, a shell script, and returns a `PATH` on which it is found.
fn write_helper(sandbox: &Sandbox, script: &str) -> std::ffi::OsString {
    let program = sandbox.write("bin/docker-credential-test", format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let dirs = std::iter::once(sandbox.path("bin")).chain(std::env::split_paths(&path));
    std::env::join_paths(dirs.collect::<Vec<PathBuf>>()).unwrap()
}

#[test]
fn the_credentials_of_a_helper() {
    let (user, password) = login();
    for host in registries() {
        let sandbox = Sandbox::new();
        let answer = json!({ "ServerURL": host, "Username": user, "Secret": password });
        // It answers for this registry alone, and only when it is asked as the protocol says.
        let script = format!("[ \"$1 $(cat)\" = 'get {host}' ] && echo '{answer}'");
        let path = write_helper(&sandbox, &script);
        let config = json!({ "credHelpers": { &host: "test" } });
        sandbox.write(".docker/config.json", config.to_string());
        let mut command = read_file(&sandbox, &host);
        command.env("PATH", path);
        assert_reads(&sandbox, command);
    }
}

#[test]
fn a_helper_that_fails_is_named_and_not_quoted() {
    let host = basic_registry();
    for script in [
        "echo a-secret; echo a-secret >&2; exit 3",
        "echo '{\"Username\":\"a-secret'",
    ] {
        let sandbox = Sandbox::new();
        let path = write_helper(&sandbox, script);
        let config = json!({ "credHelpers": { &host: "test" } });
        sandbox.write(".docker/config.json", config.to_string());
        let mut command = read_file(&sandbox, &host);
        command.env("PATH", path).env("RUST_LOG", "trace");
        let outcome = sandbox.finish(command);
        assert_eq!(outcome.code, Some(1));
        assert!(
            outcome.stderr.contains("docker-credential-test"),
            "{}",
            outcome.stderr
        );
        assert!(!outcome.stderr.contains("a-secret"), "{}", outcome.stderr);
    }
}

/// Everything that a command says when it is asked to say everything.
fn talkative(sandbox: &Sandbox, host: &str) -> Outcome {
    let mut command = read_file(sandbox, host);
    command.args(["--log-format", "json"]).env("RUST_LOG", "trace");
    let outcome = sandbox.finish(command);
    assert!(
        outcome.stderr.contains("\"level\":\"TRACE\""),
        "{}",
        outcome.stderr
    );
    outcome
}

fn assert_keeps_secret(outcome: &Outcome, secrets: &[&str]) {
    for secret in secrets {
        assert!(!outcome.stderr.contains(secret), "{secret} in {}", outcome.stderr);
        assert!(!outcome.stats.to_string().contains(secret));
    }
}

#[test]
fn a_wrong_password_is_said_and_not_shown() {
    for host in registries() {
        let sandbox = Sandbox::new();
        let (user, _) = login();
        let auth = BASE64_STANDARD.encode(format!("{user}:wrong-password"));
        sandbox.write(".docker/config.json", docker_config(&host, &auth));
        let line = sandbox.finish(read_file(&sandbox, &host)).failed();
        assert!(
            line.contains(&host) && line.contains("401") && line.contains("credentials"),
            "{line}"
        );
        let outcome = talkative(&sandbox, &host);
        assert_eq!(outcome.code, Some(1));
        assert_keeps_secret(&outcome, &["wrong-password", &auth]);
        assert_eq!(sandbox.cached_files().len(), 0);
    }
}

#[test]
fn secrets_stand_in_no_log() {
    let (_, password) = login();
    for host in registries() {
        let sandbox = Sandbox::new();
        log_in(&sandbox, &host);
        let outcome = talkative(&sandbox, &host);
        assert_eq!(outcome.code, Some(0));
        // A JSON web token begins with `{"`, in base64.
        assert_keeps_secret(&outcome, &[&password, &base64_login(), "eyJ", "Bearer e"]);
    }
}

#[test]
fn nobody_is_not_let_in() {
    for host in registries() {
        let sandbox = Sandbox::new();
        let line = sandbox.finish(read_file(&sandbox, &host)).failed();
        assert!(line.contains(&host), "{line}");
    }
}

#[test]
fn a_token_that_ends_in_the_middle_of_a_pull_is_replaced() {
    // The token that manifest and config are fetched with is good for no layer.
    let expected = format!("Basic {}", base64_login());
    let tokens = Registry::start(move |asked| {
        if asked.header(AUTHORIZATION) != Some(&expected) {
            return with(401, &[], "");
        }
        let token = json!({ "token": format!("token-{}", asked.before) });
        with(200, &[("content-type", "application/json")], token.to_string())
    });
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"test\"", tokens.host());
    let mut image = Image::default();
    for number in 0..3 {
        let name = format!("file-{number}");
        image.add_tar(&crate::image::tar(&[(&name, &noise(100_000 + number))]));
    }
    let layers: Vec<_> = (0..3).map(|number| image.digest(number).to_owned()).collect();
    let registry = Registry::of_image(image, move |asked| {
        let is_layer = layers.iter().any(|digest| digest == asked.name());
        let refused = match asked.header(AUTHORIZATION) {
            None => true,
            Some(token) => is_layer && token == "Bearer token-0",
        };
        refused.then(|| with(401, &[("www-authenticate", challenge.as_str())], ""))
    });
    let sandbox = Sandbox::new();
    log_in(&sandbox, &registry.host());
    let printed = sandbox.succeed(["cat", &registry.image(), "/file-2"]);
    assert!(printed.stdout == noise(100_002));
    assert_eq!(printed.inflates(), 3);
}

#[test]
fn several_commands_with_one_login() {
    let host = token_registry();
    let sandbox = Sandbox::new();
    log_in(&sandbox, &host);
    let image = format!("{host}/debian:gzip");
    sandbox.succeed(["inspect", &image]);
    assert_eq!(sandbox.succeed(["pull", &image]).inflates(), 3);
    assert_eq!(
        sandbox.succeed(["cat", &image, "/etc/debian_version"]).inflates(),
        0
    );
}
