//! The token server of a registry, as the Docker token authentication specification describes it
//! (<https://distribution.github.io/distribution/spec/auth/token/>): a user and a password in, a signed JWT out.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use xshell::{Shell, cmd};

use super::{PASSWORD, USER};

pub(crate) const SERVICE: &str = "layercache-test-registry";
pub(crate) const ISSUER: &str = "layercache-test-tokens";

/// How long a token is good for: short, so that a pull outlives its token.
const LIFETIME: Duration = Duration::from_secs(10);
/// The clock skew docker-registry allows for: it takes a token for this long after its end. The tokens end earlier
/// by as much, or none would be refused in the time of a test.
const LEEWAY: Duration = Duration::from_secs(60);

/// The RSA key that signs tokens, with its certificate. openssl does the work: this is test code, which should not
/// decide what cryptography is compiled.
#[derive(Debug)]
pub(crate) struct Key {
    private: PathBuf,
    certificate: PathBuf,
    /// The certificate as it stands in a JWT header (RFC 7515, x5c): base64 of DER.
    x5c: String,
}

impl Key {
    pub(crate) fn create(sh: &Shell, directory: &Path) -> Result<Self> {
        let (private, certificate) = (directory.join("token.key"), directory.join("token.crt"));
        cmd!(
            sh,
            "openssl req -x509 -newkey rsa:2048 -noenc -days 30 -subj /CN=layercache-test-tokens
             -keyout {private} -out {certificate}"
        )
        .quiet()
        .ignore_stderr()
        .run()
        .context("openssl cannot make a key")?;
        let x5c = fs::read_to_string(&certificate)?
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        Ok(Self {
            private,
            certificate,
            x5c,
        })
    }

    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Signs as RS256 of RFC 7518: RSASSA-PKCS1-v1_5 with SHA-256, which is what `openssl dgst` does with an RSA key.
    fn sign(&self, claims: &Value) -> Result<String> {
        let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [self.x5c] });
        let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let mut openssl = Command::new("openssl")
            .args(["dgst", "-sha256", "-sign"])
            .arg(&self.private)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = openssl.stdin.take().context("openssl has no standard input")?;
        std::io::Write::write_all(&mut input, signed.as_bytes())?;
        drop(input);
        let output = openssl.wait_with_output()?;
        ensure!(output.status.success(), "openssl cannot sign");
        Ok(format!(
            "{signed}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(output.stdout)
        ))
    }
}

/// Starts the server on the current runtime, with which it ends, and returns its address.
pub(crate) async fn start(key: Key) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/token", get(token))
        .with_state(Arc::new(key));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn token(
    State(key): State<Arc<Key>>,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, StatusCode> {
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")));
    if headers
        .get(header::AUTHORIZATION)
        .is_none_or(|value| value != &expected)
    {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let issued = now.saturating_sub(LEEWAY);
    let scopes = query
        .iter()
        .filter(|(name, _)| name == "scope")
        .flat_map(|(_, value)| value.split(' '));
    let claims = json!({
        "iss": ISSUER,
        "sub": USER,
        "aud": SERVICE,
        "iat": issued.as_secs(),
        "nbf": issued.as_secs(),
        "exp": (issued + LIFETIME).as_secs(),
        "jti": now.as_nanos().to_string(),
        "access": scopes.filter_map(access).collect::<Vec<_>>(),
    });
    let signed = tokio::task::spawn_blocking(move || key.sign(&claims)).await;
    match signed {
        Ok(Ok(token)) => Ok(Json(json!({ "token": token, "expires_in": LIFETIME.as_secs() }))),
        _ => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// The user may do everything: what is asked for is granted. A scope is `type:name:action,action`, where the name may
/// hold colons.
fn access(scope: &str) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    Some(json!({ "type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>() }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::access;

    #[test]
    fn scopes_are_granted_as_asked() {
        let granted =
            json!({ "type": "repository", "name": "host:5000/debian", "actions": ["pull", "push"] });
        assert_eq!(access("repository:host:5000/debian:pull,push"), Some(granted));
        assert_eq!(access("repository"), None);
    }
}
