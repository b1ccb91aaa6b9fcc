//! Progress bars on standard error.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use layercache::core::Digest;

use super::args::Progress;

/// How often a bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// All bars of a command; clones share the terminal.
#[derive(Clone)]
pub(super) struct Bars {
    bars: MultiProgress,
    shown: bool,
}

impl Bars {
    pub(super) fn new(progress: Progress) -> Self {
        let shown = match progress {
            Progress::Auto => std::io::stderr().is_terminal(),
            Progress::Always => true,
            Progress::Never => false,
        };
        let target = if shown {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bars = MultiProgress::with_draw_target(target);
        Self { bars, shown }
    }

    /// Whether anybody sees them.
    pub(super) fn shown(&self) -> bool {
        self.shown
    }

    /// A bar for a layer of unknown length, counted in bytes.
    pub(super) fn layer(&self, digest: &Digest) -> ProgressBar {
        let label: String = digest.hex().chars().take(12).collect();
        let style = ProgressStyle::with_template(
            "{spinner} {prefix} {binary_bytes:>11} {binary_bytes_per_sec:>13} {msg}",
        );
        let bar =
            ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let bar = self.bars.add(bar.with_prefix(label));
        bar.enable_steady_tick(TICK);
        bar
    }

    /// A bar for `total` bytes of many things, and how much of it is done; what is done now stands in its message.
    pub(super) fn total(&self, label: &str, total: u64) -> ProgressBar {
        let style = ProgressStyle::with_template(
            "{prefix} [{bar:30}] {binary_bytes:>11} / {binary_total_bytes} {binary_bytes_per_sec:>13} {eta:>4} {msg}",
        );
        let bar = ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let bar = self.bars.add(bar.with_prefix(label.to_owned()));
        bar.enable_steady_tick(TICK);
        bar
    }

    /// Runs `print` while no bar is drawn.
    pub(super) fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.bars.suspend(print)
    }
}
