//! Credential files and helpers as they lie on a disk.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_core::ErrorKind;
use registry::{CredentialFiles, CredentialProvider, Credentials, Repository, Secret};

fn write(path: &Path, text: &str) -> PathBuf {
    std::fs::write(path, text).unwrap();
    path.to_owned()
}

fn helper(dir: &Path, name: &str, script: &str) {
    let path = write(
        &dir.join(format!("docker-credential-{name}")),
        &format!("#!/bin/sh\n{script}\n"),
    );
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn repository(text: &str) -> Repository {
    text.parse().unwrap()
}

fn basic(username: &str, password: &str) -> Option<Credentials> {
    Some(Credentials::Basic {
        username: username.into(),
        password: Secret::new(password),
    })
}

#[tokio::test]
async fn the_first_file_with_an_entry_wins_and_missing_ones_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let first = write(
        &dir.path().join("auth.json"),
        r#"{"auths":{"quay.io":{"auth":"YTox"}}}"#,
    );
    let second = write(
        &dir.path().join("config.json"),
        r#"{"auths":{"quay.io":{"auth":"Yjoy"},"gcr.io":{"auth":"Yzoz"}}}"#,
    );
    let files = CredentialFiles::new(vec![dir.path().join("none.json"), first, second.clone()]);
    assert_eq!(
        files.credentials(&repository("quay.io/app")).await.unwrap(),
        basic("a", "1")
    );
    assert_eq!(
        files.credentials(&repository("gcr.io/app")).await.unwrap(),
        basic("c", "3")
    );
    assert_eq!(files.credentials(&repository("debian")).await.unwrap(), None);
    // A login while the program runs counts at once.
    write(&second, r#"{"auths":{"gcr.io":{"auth":"Yzo0"}}}"#);
    assert_eq!(
        files.credentials(&repository("gcr.io/app")).await.unwrap(),
        basic("c", "4")
    );
}

#[tokio::test]
async fn a_broken_file_is_an_error_that_does_not_quote_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(
        &dir.path().join("config.json"),
        r#"{"auths":{"quay.io":{"auth":hunter2}}}"#,
    );
    let error = CredentialFiles::new(vec![file])
        .credentials(&repository("quay.io/app"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert!(!format!("{error:?}").contains("hunter2"));
    assert!(error.to_string().contains("config.json"), "{error}");
}

#[tokio::test]
async fn helpers_are_asked_by_the_name_the_registry_has_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let asked = dir.path().join("asked");
    let script = format!(
        r#"cat > {}; echo '{{"ServerURL":"x","Username":"u","Secret":"s"}}'"#,
        asked.display()
    );
    helper(dir.path(), "good", &script);
    helper(
        dir.path(),
        "token",
        r#"echo '{"Username":"<token>","Secret":"refresh"}'"#,
    );
    helper(
        dir.path(),
        "empty",
        "echo 'credentials not found in native keychain'; exit 1",
    );
    let config = r#"{"credHelpers":{"docker.io":"good","token.example":"token","empty.example":"empty"},
        "auths":{"empty.example":{"auth":"ZmlsZTp4"}}}"#;
    let file = write(&dir.path().join("config.json"), config);
    let files = CredentialFiles::new(vec![file]).with_helper_dir(dir.path());
    assert_eq!(
        files.credentials(&repository("debian")).await.unwrap(),
        basic("u", "s")
    );
    assert_eq!(
        std::fs::read_to_string(asked).unwrap(),
        "https://index.docker.io/v1/"
    );
    let token = files.credentials(&repository("token.example/app")).await.unwrap();
    assert_eq!(token, Some(Credentials::IdentityToken(Secret::new("refresh"))));
    assert_eq!(
        files.credentials(&repository("empty.example/app")).await.unwrap(),
        basic("file", "x")
    );
}

#[tokio::test]
async fn a_helper_that_fails_is_an_error_without_its_output() {
    let dir = tempfile::tempdir().unwrap();
    helper(dir.path(), "fails", "echo hunter2; exit 3");
    helper(dir.path(), "babbles", "echo hunter2");
    helper(
        dir.path(),
        "floods",
        "while :; do echo hunter2hunter2hunter2hunter2; done",
    );
    helper(dir.path(), "hangs", "exec sleep 1000");
    for (name, kind) in [
        ("fails", ErrorKind::Permanent),
        ("babbles", ErrorKind::Permanent),
        ("floods", ErrorKind::Permanent),
        ("hangs", ErrorKind::Unavailable),
        ("missing", ErrorKind::Permanent),
        ("../../bin/sh", ErrorKind::Permanent),
    ] {
        let limit = if name == "hangs" {
            Duration::from_millis(50)
        } else {
            Duration::from_secs(60)
        };
        let config = format!(r#"{{"credHelpers":{{"quay.io":"{name}"}}}}"#);
        let file = write(&dir.path().join("config.json"), &config);
        let files = CredentialFiles::new(vec![file])
            .with_helper_dir(dir.path())
            .with_helper_timeout(limit);
        let error = files.credentials(&repository("quay.io/app")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn a_store_that_does_not_work_keeps_nobody_from_public_images() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(&dir.path().join("config.json"), r#"{"credsStore":"missing"}"#);
    let files = CredentialFiles::new(vec![file]).with_helper_dir(dir.path());
    assert_eq!(files.credentials(&repository("quay.io/app")).await.unwrap(), None);
}

#[test]
fn secrets_do_not_show() {
    let credentials = basic("user", "hunter2").unwrap();
    assert!(!format!("{credentials:?}").contains("hunter2"));
    let token = Credentials::IdentityToken(Secret::new("hunter2"));
    assert!(!format!("{token:?}").contains("hunter2"));
}
