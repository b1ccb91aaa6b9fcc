//! `--metrics` of a program that was built without the feature `metrics`: refused with the reason.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::{Result, bail};

use super::args::LogFormat;
use super::context::Context;

/// Cannot be made.
pub(super) struct Metrics(Infallible);

impl Metrics {
    /// Fails: this program has no exporter.
    pub(super) fn install(_address: SocketAddr) -> Result<Self> {
        bail!("--metrics: this program was built without metrics: build it with `--features metrics`")
    }

    pub(super) async fn serve(
        self,
        _context: &Context,
        _log_format: Option<LogFormat>,
    ) -> Result<Infallible> {
        match self.0 {}
    }
}
