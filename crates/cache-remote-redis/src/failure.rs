//! What an error of Redis means for the caller of the tier.

use std::time::Duration;

use cache_core::Error;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// How much of what a server says is repeated: it may say anything.
const MAX_DETAIL_CHARS: usize = 200;

/// The error of a request that was answered by an error, or by nothing.
pub(crate) fn failure(error: RedisError) -> Error {
    let advice = match (error.kind(), error.code().unwrap_or_default()) {
        (ErrorKind::AuthenticationFailed, _) | (_, "WRONGPASS") => {
            "the server refuses the user or the password: correct those in the URL"
        }
        (_, "NOAUTH") => "the server wants a password: add user and password to the URL",
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => {
            "the user may not do this: allow it @read, @write, @scripting and @connection on the keys clip:oci:layer:*"
        }
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => {
            "the server is a replica that cannot be written: name its master"
        }
        (_, "MISCONF") => "the server refuses writes since it cannot save to disk: look at its log",
        (ErrorKind::InvalidClientConfig, _) => "the connection is misconfigured",
        (_, "WRONGTYPE") => return Error::corrupt("a key of the layer holds no string").caused_by(error),
        (_, "OOM") => return unavailable("the server's memory is full", error),
        (ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask), _) => {
            return unavailable(
                "the server is one of a cluster that is moving its keys, or whose other nodes have to be named as well",
                error,
            );
        }
        (ErrorKind::Io, _) => {
            return unavailable(
                "the server cannot be reached, or has broken the connection",
                error,
            );
        }
        _ => return unavailable("the request failed", error),
    };
    Error::permanent(format!("{advice} ({})", detail(&error))).caused_by(error)
}

fn unavailable(what: &str, error: RedisError) -> Error {
    Error::unavailable(format!("{what} ({})", detail(&error))).caused_by(error)
}

/// Of the crate's errors none repeats credentials: a refused AUTH is told without its answer.
fn detail(error: &RedisError) -> String {
    error.to_string().chars().take(MAX_DETAIL_CHARS).collect()
}

/// The error of a request that took too long.
pub(crate) fn no_answer(timeout: Duration) -> Error {
    Error::unavailable(format!("the server has not answered within {timeout:?}"))
}

/// The error of a task that ended without a result.
pub(crate) fn task_failed(error: tokio::task::JoinError) -> Error {
    Error::unavailable("the runtime is shutting down, or a task of the tier panicked").caused_by(error)
}

#[cfg(test)]
mod tests {
    use cache_core::ErrorKind as Kind;
    use redis::parse_redis_value;

    use super::*;

    #[test]
    fn the_kind_says_what_to_do() {
        for (answer, kind) in [
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Kind::Unavailable,
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                Kind::Unavailable,
            ),
            ("CLUSTERDOWN The cluster is down", Kind::Unavailable),
            ("MOVED 3999 127.0.0.1:6381", Kind::Unavailable),
            ("ASK 3999 127.0.0.1:6381", Kind::Unavailable),
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                Kind::Unavailable,
            ),
            ("ERR max number of clients reached", Kind::Unavailable),
            (
                "MISCONF Redis is configured to save RDB snapshots",
                Kind::Permanent,
            ),
            (
                "READONLY You can't write against a read only replica.",
                Kind::Permanent,
            ),
            (
                "NOPERM this user has no permissions to run the 'set' command",
                Kind::Permanent,
            ),
            ("NOAUTH Authentication required.", Kind::Permanent),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                Kind::Permanent,
            ),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                Kind::Corrupt,
            ),
        ] {
            let value = parse_redis_value(format!("-{answer}\r\n").as_bytes()).unwrap();
            let error = failure(value.extract_error().unwrap_err());
            assert_eq!(error.kind(), kind, "{error:?}");
        }
        let io = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(failure(io.into()).kind(), Kind::Unavailable);
        let long = format!("-ERR {}\r\n", "x".repeat(10_000));
        let value = parse_redis_value(long.as_bytes()).unwrap();
        assert!(failure(value.extract_error().unwrap_err()).to_string().len() < 300);
    }
}
