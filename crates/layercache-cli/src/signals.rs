//! The signals that end a command before it is done.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::logging::Mute;

/// Why a command ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    /// By ctrl-c, or SIGINT.
    #[error("interrupted")]
    Interrupted,
    /// By SIGTERM.
    #[error("terminated")]
    Terminated,
}

impl Stop {
    /// 128 and the number of the signal, as of a program that the signal has killed.
    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Interrupted => 130,
            Self::Terminated => 143,
        })
    }
}

/// Ends commands when a signal asks for it.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    mute: Mute,
}

impl Signals {
    /// From now on these signals do not kill the process. `mute` ends the logs when one has come.
    pub(super) fn new(mute: &Mute) -> Result<Self> {
        let handle = |kind| signal(kind).context("signals cannot be handled");
        Ok(Self {
            interrupt: handle(SignalKind::interrupt())?,
            terminate: handle(SignalKind::terminate())?,
            mute: mute.clone(),
        })
    }

    /// Runs `command` to its end, or drops it when a signal has come first: then the error is a [`Stop`].
    pub(super) async fn end(mut self, command: impl Future<Output = Result<()>>) -> Result<()> {
        let stop = tokio::select! {
            result = command => return result,
            _ = self.interrupt.recv() => Stop::Interrupted,
            _ = self.terminate.recv() => Stop::Terminated,
        };
        self.mute.mute();
        Err(stop.into())
    }
}
