//! What a failed request means for the caller of the tier.

use std::error::Error as StdError;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use cache_core::Error;

/// Longest text of a server or a library that an error repeats.
const MAX_TEXT_LEN: usize = 200;

/// How a request failed, where the caller has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The server says that there is no such key.
    NoKey,
    /// The server says that there is no such upload (any more).
    NoUpload,
    /// The object is not the one it was (any more).
    Replaced,
    /// Anything else.
    Other,
}

/// What the server's refusal says of the key it was asked for.
pub(crate) fn refusal<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Refusal {
    let status = error.raw_response().map(|response| response.status().as_u16());
    match (status, error.as_service_error().and_then(|error| error.code())) {
        (Some(404), Some("NoSuchKey")) => Refusal::NoKey,
        (Some(404), Some("NoSuchUpload")) => Refusal::NoUpload,
        (Some(412), _) => Refusal::Replaced,
        _ => Refusal::Other,
    }
}

/// The status of a refusal without a text, as a HEAD request gets it.
pub(crate) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    match error {
        SdkError::ServiceError(refused) => Some(refused.raw().status().as_u16()),
        _ => None,
    }
}

/// The error of a request; `what` completes the sentence "could not ...".
///
/// It keeps text only: the SDK's error holds the whole answer, and with it headers.
pub(crate) fn failure<E: ProvideErrorMetadata>(what: &str, error: &SdkError<E, HttpResponse>) -> Error {
    match error {
        SdkError::TimeoutError(_) => Error::unavailable(format!("could not {what}: no answer in time")),
        SdkError::DispatchFailure(sent) => Error::unavailable(match sent.as_connector_error() {
            Some(error) if error.is_timeout() => format!("could not {what}: no answer in time"),
            Some(error) if error.is_io() => format!("could not {what}: {}", chain(error)),
            // Not what a provider of credentials says: that may be the output of a program.
            _ => format!(
                "could not {what}: no credentials were found (set `access_key_id` and `secret_access_key`, or those of the environment), or the request could not be sent"
            ),
        }),
        SdkError::ConstructionFailure(_) => {
            Error::unavailable(format!("could not {what}: the request could not be made"))
        }
        SdkError::ServiceError(refused) => {
            let region = refused.raw().headers().get("x-amz-bucket-region");
            let said = Said {
                status: refused.raw().status().as_u16(),
                code: refused.err().code().unwrap_or_default(),
                message: refused.err().message().unwrap_or_default(),
                region,
            };
            said.into_error(what)
        }
        _ => Error::unavailable(format!("could not {what}: the answer was no valid one")),
    }
}

/// A refusal, as the server words it. Hostile, as all that comes from there.
struct Said<'a> {
    status: u16,
    code: &'a str,
    message: &'a str,
    region: Option<&'a str>,
}

impl Said<'_> {
    fn into_error(self, what: &str) -> Error {
        let Self {
            status,
            code,
            message,
            region,
        } = self;
        let permanent = |advice: &str| {
            Error::permanent(format!(
                "could not {what}: {advice} ({})",
                words(status, code, message)
            ))
        };
        match (status, code) {
            (_, "NoSuchBucket") => permanent("there is no such bucket: create it, or correct its name"),
            (_, "AccessDenied" | "AllAccessDisabled" | "AccountProblem") => {
                permanent("access is denied: grant these credentials the right to do it")
            }
            (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidSecurity") => {
                permanent("the credentials are wrong: check the access key ID and the secret access key")
            }
            (_, "RequestTimeTooSkewed") => permanent("the clock of this host is wrong: set it"),
            (301 | 307, _) | (_, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
                permanent(&match region {
                    Some(region) => format!("the bucket is in the region {}: set `region`", tame(region)),
                    None => "the bucket is in another region: set `region`".into(),
                })
            }
            // A provider of credentials may have new ones by then.
            (_, "ExpiredToken" | "RequestTimeout" | "NoSuchUpload")
            | (404 | 408 | 409 | 412 | 416 | 429, _)
            | (400, "") => Error::unavailable(format!("could not {what}: {}", words(status, code, message))),
            (401 | 403, _) => {
                permanent("access is denied: check the credentials, and what they have the right to")
            }
            (400..=499 | 501, _) => permanent("the server does not take this request"),
            _ => Error::unavailable(format!("could not {what}: {}", words(status, code, message))),
        }
    }
}

fn words(status: u16, code: &str, message: &str) -> String {
    let mut words = format!("the server answered {status}");
    for (separator, text) in [(" ", code), (": ", message)] {
        if !text.is_empty() {
            words += separator;
            words += &tame(text);
        }
    }
    words
}

/// `text` short enough and without what a terminal or a log would act on.
pub(crate) fn tame(text: &str) -> String {
    text.chars()
        .take(MAX_TEXT_LEN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// An error and what caused it, in one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += ": ";
        text += &error.to_string();
        cause = error.source();
    }
    tame(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::ErrorKind::{self, Permanent, Unavailable};

    #[test]
    fn what_may_pass_is_tried_again_and_what_must_be_mended_is_not() {
        let kind = |status, code| -> ErrorKind {
            let said = Said {
                status,
                code,
                message: "",
                region: None,
            };
            said.into_error("read").kind()
        };
        for (status, code, expected) in [
            (403, "AccessDenied", Permanent),
            (403, "", Permanent),
            (403, "InvalidAccessKeyId", Permanent),
            (403, "SignatureDoesNotMatch", Permanent),
            (404, "NoSuchBucket", Permanent),
            (301, "PermanentRedirect", Permanent),
            (400, "AuthorizationHeaderMalformed", Permanent),
            (400, "ExpiredToken", Unavailable),
            (400, "", Unavailable),
            (400, "RequestTimeout", Unavailable),
            (404, "", Unavailable),
            (404, "NoSuchUpload", Unavailable),
            (412, "PreconditionFailed", Unavailable),
            (429, "TooManyRequests", Unavailable),
            (500, "InternalError", Unavailable),
            (501, "NotImplemented", Permanent),
            (503, "SlowDown", Unavailable),
            (200, "InternalError", Unavailable),
        ] {
            assert_eq!(kind(status, code), expected, "{status} {code}");
        }
    }

    #[test]
    fn a_server_cannot_write_into_the_log() {
        let said = Said {
            status: 500,
            code: "\u{1b}[2J",
            message: &"x\n".repeat(10_000),
            region: None,
        };
        let error = said.into_error("read").to_string();
        assert!(
            error.len() < 400 && !error.contains(char::is_control),
            "{error:?}"
        );
    }
}
