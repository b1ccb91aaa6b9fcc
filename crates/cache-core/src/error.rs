//! The one error type of sources, tiers and the cache: it says what to do about it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::Digest;

/// What came of an operation of a source, a tier or the cache.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Every source was asked and each knows that it does not have the layer. Only the edges of the system make
    /// this of an absence, which is `Ok(None)` inside; an outage is never reported as this.
    NotFound,
    /// It could not be told, or not done, now: ask the next source; a later retry may succeed.
    Unavailable,
    /// Found, but wrong: drop it there and ask the next source.
    Corrupt,
    /// Found, but it is not what the image claims, and which of both is wrong is not known: ask the next source, and drop
    /// it here only once that has proven the image right.
    Disputed,
    /// Denied, unsupported or misconfigured: ask the next source, but never retry here.
    Permanent,
    /// The request contradicts content that is already verified, or can be fulfilled by nobody: asking any other
    /// source is pointless, and nothing that is stored is to be blamed for it.
    Invalid,
}

/// An error that names the tier, the operation and the layer it concerns, and keeps its cause.
///
/// Cloning costs one reference count, so that one failed fill can be reported to every reader that waits for it.
///
/// ```
/// # use cache_core::{Digest, Error, ErrorKind};
/// let digest = Digest::sha256_of(b"blob");
/// let error = Error::unavailable("the connection was cut").at("registry", "open").of_layer(&digest);
/// assert_eq!(error.kind(), ErrorKind::Unavailable);
/// assert_eq!(error.to_string(), format!("registry: open {digest}: the connection was cut"));
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    tier: Option<Box<str>>,
    operation: Option<&'static str>,
    layer: Option<Digest>,
    message: Box<str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl ErrorKind {
    /// How likely it is that the same request works elsewhere or later.
    fn hope(self) -> u8 {
        match self {
            Self::Unavailable => 3,
            Self::Corrupt | Self::Disputed => 2,
            // Somebody else may get it, or another request.
            Self::Permanent | Self::Invalid => 1,
            Self::NotFound => 0,
        }
    }
}

impl Error {
    /// Returns the first of those errors that leave the most hope: so a caller retries if a retry can help, and something is
    /// not found only if everybody says so.
    pub fn most_hopeful<'a>(errors: impl IntoIterator<Item = &'a Self>) -> Option<&'a Self> {
        errors.into_iter().reduce(|best, error| {
            if error.kind().hope() > best.kind().hope() {
                error
            } else {
                best
            }
        })
    }

    /// An error of `kind` with a message that says what happened and, where there is something, what to do.
    pub fn new(kind: ErrorKind, message: impl Into<Box<str>>) -> Self {
        let message = message.into();
        Self(Arc::new(Inner {
            kind,
            tier: None,
            operation: None,
            layer: None,
            message,
            source: None,
        }))
    }

    /// An [`ErrorKind::Unavailable`] error.
    pub fn unavailable(message: impl Into<Box<str>>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// An [`ErrorKind::Corrupt`] error.
    pub fn corrupt(message: impl Into<Box<str>>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// An [`ErrorKind::Disputed`] error.
    pub fn disputed(message: impl Into<Box<str>>) -> Self {
        Self::new(ErrorKind::Disputed, message)
    }

    /// An [`ErrorKind::Permanent`] error.
    pub fn permanent(message: impl Into<Box<str>>) -> Self {
        Self::new(ErrorKind::Permanent, message)
    }

    /// An [`ErrorKind::Invalid`] error.
    pub fn invalid(message: impl Into<Box<str>>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The same with its cause, which [`std::error::Error::source`] returns.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::from(source.into()));
        self
    }

    /// The same with the tier and the operation it happened in, unless one was named already: the innermost place
    /// is the one that helps.
    #[must_use]
    pub fn at(mut self, tier: &str, operation: &'static str) -> Self {
        if self.0.tier.is_none() {
            let inner = Arc::make_mut(&mut self.0);
            inner.tier = Some(tier.into());
            inner.operation.get_or_insert(operation);
        }
        self
    }

    /// The same with the layer it concerns, unless one was named already.
    #[must_use]
    pub fn of_layer(mut self, digest: &Digest) -> Self {
        if self.0.layer.is_none() {
            Arc::make_mut(&mut self.0).layer = Some(*digest);
        }
        self
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The name of the source or tier it happened in.
    pub fn tier(&self) -> Option<&str> {
        self.0.tier.as_deref()
    }

    /// The layer it concerns.
    pub fn layer(&self) -> Option<&Digest> {
        self.0.layer.as_ref()
    }

    /// What happened, without the place.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            tier,
            operation,
            layer,
            message,
            ..
        } = &*self.0;
        if let Some(tier) = tier {
            write!(f, "{tier}: ")?;
        }
        match (operation, layer) {
            (Some(operation), Some(layer)) => write!(f, "{operation} {layer}: ")?,
            (Some(operation), None) => write!(f, "{operation}: ")?,
            (None, Some(layer)) => write!(f, "layer {layer}: ")?,
            (None, None) => {}
        }
        f.write_str(message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self}", self.0.kind)?;
        if let Some(source) = self.source() {
            write!(f, ": {source:?}")?;
        }
        f.write_str(")")
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_place_stays() {
        let first = Digest::sha256_of(b"first");
        let error = Error::corrupt("chunk 3 is wrong")
            .at("s3", "read")
            .of_layer(&first)
            .at("retry", "read")
            .of_layer(&Digest::sha256_of(b"second"));
        assert_eq!(error.to_string(), format!("s3: read {first}: chunk 3 is wrong"));
        assert_eq!((error.tier(), error.layer()), (Some("s3"), Some(&first)));
    }

    #[test]
    fn of_several_errors_the_first_that_leaves_most_hope_counts() {
        let of = |kinds: &[ErrorKind]| {
            let errors: Vec<_> = kinds.iter().map(|&kind| Error::new(kind, "it failed")).collect();
            Error::most_hopeful(&errors).map(Error::kind)
        };
        use ErrorKind::{Corrupt, Disputed, Invalid, NotFound, Permanent, Unavailable};
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[NotFound, NotFound]), Some(NotFound));
        assert_eq!(of(&[NotFound, Invalid, Permanent]), Some(Invalid));
        assert_eq!(of(&[Permanent, Disputed, Corrupt]), Some(Disputed));
        assert_eq!(of(&[Corrupt, Unavailable, NotFound]), Some(Unavailable));
    }

    #[test]
    fn a_clone_keeps_the_cause_and_costs_one_word() {
        let error = Error::unavailable("no answer").caused_by(std::io::Error::other("reset"));
        let clone = error.clone().at("redis", "open");
        assert_eq!(clone.source().unwrap().to_string(), "reset");
        assert_eq!(error.to_string(), "no answer");
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
