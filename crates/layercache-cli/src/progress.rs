//! Progress of operations: bars on standard error, and reports on standard output.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use layercache::core::Digest;
use layercache::ops::{Event, Progress as Listener};
use tokio::sync::Notify;

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

    /// Runs `print` while no bar is drawn.
    pub(super) fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.bars.suspend(print)
    }

    /// Runs an operation: draws its progress, and prints with `print` the reports that it tells.
    ///
    /// # Errors
    /// The first error of `print`, as when standard output is closed. The operation is dropped then.
    pub(super) async fn show<T>(
        &self,
        print: impl Fn(Event<'_>) -> Result<()> + Send + Sync,
        operation: impl AsyncFnOnce(&dyn Listener) -> T,
    ) -> Result<T> {
        let shown = Shown {
            bars: self,
            print,
            state: Mutex::default(),
            failed: Notify::new(),
        };
        let done = tokio::select! {
            done = operation(&shown) => Some(done),
            () = shown.failed.notified() => None,
        };
        let failed = shown.lock().failed.take();
        match (failed, done) {
            (None, Some(done)) => Ok(done),
            (Some(error), _) => Err(error),
            (None, None) => unreachable!("a failure is kept before it is told of"),
        }
    }

    /// A bar for a layer of unknown length, counted in bytes.
    fn layer(&self, digest: &Digest) -> ProgressBar {
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

    /// A bar for the bytes of many layers; its message names the one at work.
    fn total(&self, label: &str) -> ProgressBar {
        let style = ProgressStyle::with_template(
            "{prefix} [{bar:30}] {binary_bytes:>11} / {binary_total_bytes} {binary_bytes_per_sec:>13} {eta:>4} {msg}",
        );
        let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let bar = self.bars.add(bar.with_prefix(label.to_owned()));
        bar.enable_steady_tick(TICK);
        bar
    }
}

/// Progress of one operation.
struct Shown<'a, P> {
    bars: &'a Bars,
    print: P,
    state: Mutex<State>,
    /// Notified once nothing can be printed any more.
    failed: Notify,
}

#[derive(Default)]
struct State {
    /// The bar of each layer, and how often work on the layer has started: images share layers.
    layers: HashMap<Digest, (ProgressBar, usize)>,
    total: Option<ProgressBar>,
    failed: Option<anyhow::Error>,
}

impl<P> Shown<'_, P> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws an event.
    fn draw(&self, event: Event<'_>) {
        let mut state = self.lock();
        match event {
            Event::LayerStarted(digest) => {
                let bar = || (self.bars.layer(digest), 0);
                state.layers.entry(*digest).or_insert_with(bar).1 += 1;
            }
            Event::LayerAdvanced(digest, bytes) => {
                if let Some((bar, _)) = state.layers.get(digest) {
                    bar.set_position(bytes);
                }
            }
            Event::LayerEnded(digest) => {
                if let Some((bar, started)) = state.layers.get_mut(digest) {
                    *started -= 1;
                    if *started == 0 {
                        bar.finish_and_clear();
                        state.layers.remove(digest);
                    }
                }
            }
            Event::Hashed {
                layer,
                layers,
                bytes,
                total_bytes,
            } => {
                let bar = state.total.get_or_insert_with(|| self.bars.total("verified"));
                bar.set_message(format!("layer {layer} of {layers}"));
                bar.set_length(total_bytes);
                bar.set_position(bytes);
            }
            _ => {}
        }
    }
}

impl<P: Fn(Event<'_>) -> Result<()> + Send + Sync> Listener for Shown<'_, P> {
    fn tell(&self, event: Event<'_>) {
        match event {
            Event::LayerStarted(_)
            | Event::LayerAdvanced(..)
            | Event::LayerEnded(_)
            | Event::Hashed { .. } => {
                if self.bars.shown {
                    self.draw(event);
                }
            }
            _ if self.lock().failed.is_some() => {}
            _ => {
                if let Err(error) = self.bars.suspend(|| (self.print)(event)) {
                    self.lock().failed = Some(error);
                    self.failed.notify_one();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::bail;

    use super::*;

    #[tokio::test]
    async fn an_operation_is_dropped_when_nothing_can_be_printed() {
        let print = |_: Event<'_>| bail!("standard output is closed");
        let endless = async |progress: &dyn Listener| {
            progress.tell(Event::Directory(Path::new("/")));
            std::future::pending::<()>().await;
        };
        let shown = Bars::new(Progress::Never).show(print, endless).await;
        assert_eq!(shown.unwrap_err().to_string(), "standard output is closed");
    }
}
