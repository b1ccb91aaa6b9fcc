//! Where a redirect may lead.

use cache_core::{Error, Result};
use reqwest::Url;
use reqwest::header::{HeaderMap, LOCATION};

/// How many redirects are followed for one request.
pub(super) const MAX_REDIRECTS: usize = 8;

/// The URL that an answer from `from` redirects to. Its text is not repeated in errors: it may carry a signature.
pub(super) fn target(from: &Url, headers: &HeaderMap) -> Result<Url> {
    let host = from.host_str().unwrap_or_default();
    let refused = |why: &str| Error::permanent(format!("{host} redirects {why}, which is refused"));
    let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let location = location.ok_or_else(|| refused("to nowhere"))?;
    let url = from
        .join(location)
        .map_err(|_| refused("to something that is no URL"))?;
    match (from.scheme(), url.scheme()) {
        ("https", "http") => return Err(refused("from HTTPS to plain HTTP")),
        (_, "http" | "https") => {}
        _ => return Err(refused("to something that is not HTTP")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("to a URL with credentials"));
    }
    Ok(url)
}

/// Whether both are the same server: what one may be told, the other may be told.
pub(super) fn same_server(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(from: &str, location: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
        target(&from.parse().unwrap(), &headers)
            .ok()
            .map(|url| url.to_string())
    }

    #[test]
    fn a_redirect_stays_on_http_and_never_loses_tls() {
        let from = "https://registry.example/v2/a";
        assert_eq!(
            follow(from, "/b?c=d").as_deref(),
            Some("https://registry.example/b?c=d")
        );
        assert_eq!(
            follow(from, "https://cdn.example/b").as_deref(),
            Some("https://cdn.example/b")
        );
        assert_eq!(
            follow("http://localhost/", "https://cdn.example/b").as_deref(),
            Some("https://cdn.example/b")
        );
        for refused in [
            "http://registry.example/b",
            "file:///etc/passwd",
            "https://u:p@cdn.example/",
            "https://",
        ] {
            assert_eq!(follow(from, refused), None, "{refused}");
        }
        assert!(target(&from.parse().unwrap(), &HeaderMap::new()).is_err());
    }

    #[test]
    fn scheme_host_and_port_make_a_server() {
        let same = |a: &str, b: &str| same_server(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("https://a.example/x", "https://A.example:443/y"));
        assert!(!same("https://a.example/", "https://a.example:8443/"));
        assert!(!same("http://a.example/", "https://a.example/"));
        assert!(!same("https://a.example/", "https://b.a.example/"));
    }
}
