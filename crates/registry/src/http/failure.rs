//! Why a request failed, and when to try it again.

use std::error::Error as _;
use std::time::Duration;

use cache_core::{Error, ErrorKind};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// An error with what the registry said about trying again.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    /// Whether trying again may help.
    pub(super) fn is_transient(&self) -> bool {
        self.error.kind() == ErrorKind::Unavailable
    }

    /// The failure that an unexpected status is.
    pub(super) fn of_status(status: StatusCode, headers: &HeaderMap, host: &str) -> Self {
        let transient = status.is_server_error()
            || matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
            );
        let message = format!("{host} answered {status}");
        let error = match status {
            _ if transient => Error::unavailable(format!("{message}: try again later")),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::permanent(format!(
                "{message}: no access to this repository, or it does not exist; check the credentials for this host"
            )),
            _ => Error::permanent(message),
        };
        Self {
            error,
            retry_after: transient.then(|| retry_after(headers)).flatten(),
        }
    }

    /// The failure of a request that got no answer, or of an answer that broke off. The URL is left out of it: that of a
    /// redirect target is as good as a password.
    pub(super) fn of_transfer(error: reqwest::Error, host: &str) -> Self {
        let what = match () {
            () if error.is_connect() => "cannot be reached",
            () if error.is_timeout() => "gave no answer in time",
            () => "broke off the connection",
        };
        Error::unavailable(format!("{host} {what}"))
            .caused_by(error.without_url())
            .into()
    }
}

/// An error with its causes, for a log: as a field it would show without them.
pub(super) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            retry_after: None,
        }
    }
}

/// Seconds, or a date as in RFC 9110, section 10.2.3.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(
        date.duration_since(std::time::SystemTime::now())
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_the_causes() {
        let cause = Error::unavailable("refused").caused_by(std::io::Error::other("port 5000"));
        let error = Error::unavailable("no answer").caused_by(cause);
        assert_eq!(chain(&error), "no answer: refused: port 5000");
        assert_eq!(chain(&Error::unavailable("no answer")), "no answer");
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let after = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            Failure::of_status(StatusCode::TOO_MANY_REQUESTS, &headers, "host").retry_after
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert!(after("Fri, 31 Dec 2100 23:59:59 GMT").unwrap() > Duration::from_secs(1 << 30));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
    }
}
