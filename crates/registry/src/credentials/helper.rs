//! Credential helpers: programs named `docker-credential-<name>`.
//!
//! The protocol is that of <https://github.com/docker/docker-credential-helpers>: the server's name on standard input,
//! a JSON object on standard output. That output is never repeated, in no error either.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cache_core::{Error, Result};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::Credentials;
use super::auth_file::HelperCall;
use crate::Secret;
use crate::excerpt::excerpt;

const MAX_OUTPUT: u64 = 64 << 10;
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user name by which a helper says that its secret is an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks a helper, in `dir` or else in `$PATH`. Dropping the future kills the program.
pub(super) async fn ask(
    call: &HelperCall<'_>,
    dir: Option<&Path>,
    limit: Duration,
) -> Result<Option<Credentials>> {
    let HelperCall { name, server, .. } = call;
    // The name comes from a file and becomes part of a path that is searched for a program.
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    {
        return Err(Error::permanent(format!(
            "\"{}\" cannot be a credential helper",
            excerpt(name)
        )));
    }
    let program = format!("docker-credential-{name}");
    let path = dir.map_or_else(|| PathBuf::from(&program), |dir| dir.join(&program));
    let (status, output) = timeout(limit, run(&path, server))
        .await
        .map_err(|_| Error::unavailable(format!("{program} gave no answer within {limit:?}")))?
        .map_err(|error| Error::permanent(format!("{program} cannot be run")).caused_by(error))?;
    if output.len() as u64 > MAX_OUTPUT {
        return Err(Error::permanent(format!(
            "{program} wrote more than {MAX_OUTPUT} bytes"
        )));
    }
    if !status.success() {
        return match String::from_utf8_lossy(&output).trim() {
            NOT_FOUND => Ok(None),
            _ => Err(Error::permanent(format!("{program} failed with {status}"))),
        };
    }
    // serde_json's message may quote the text: it is dropped.
    let Answer { username, secret } = serde_json::from_slice(&output)
        .map_err(|_| Error::permanent(format!("{program} wrote something that is no credential")))?;
    let secret = Secret::new(secret);
    Ok(Some(match username.as_str() {
        TOKEN_USER => Credentials::IdentityToken(secret),
        _ => Credentials::Basic {
            username,
            password: secret,
        },
    }))
}

async fn run(program: &Path, server: &str) -> std::io::Result<(std::process::ExitStatus, Vec<u8>)> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input may have answered all the same.
        let _ = stdin.write_all(server.as_bytes()).await;
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_OUTPUT + 1).read_to_end(&mut output).await?;
    }
    Ok((child.wait().await?, output))
}
