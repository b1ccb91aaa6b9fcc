//! Logs on standard error, above the progress bars.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::args::LogFormat;
use super::progress::Bars;

/// What is logged when nobody asks: what the user should know, but did not fail. That one of many places has no credentials is not.
const QUIET: &str = "warn,aws_config=error";
/// What is logged when a format is asked for: what an operator greps for.
const OPERATOR: &str =
    "info,cache_core=debug,cache_disk=debug,cache_remote_redis=debug,cache_remote_s3=debug";

/// Ends the logs, as of a program that is being stopped: what its parts then run into is nothing to tell the user of.
#[derive(Clone, Debug, Default)]
pub(super) struct Mute(Arc<AtomicBool>);

impl Mute {
    pub(super) fn mute(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether the user wants to see logs.
pub(super) fn is_asked_for(format: Option<LogFormat>) -> bool {
    format.is_some() || std::env::var_os(EnvFilter::DEFAULT_ENV).is_some()
}

pub(super) fn start(format: Option<LogFormat>, bars: &Bars, mute: &Mute) {
    let default = if format.is_some() { OPERATOR } else { QUIET };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(AboveBars(bars.clone(), mute.clone()));
    match format {
        Some(LogFormat::Json) => subscriber.json().flatten_event(true).init(),
        Some(LogFormat::Text) => subscriber.with_ansi(false).init(),
        None => subscriber
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .compact()
            .init(),
    }
}

/// Writes whole lines while no bar is drawn.
struct AboveBars(Bars, Mute);

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self)
    }
}

struct Line<'a>(&'a AboveBars);

impl io::Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let AboveBars(bars, Mute(muted)) = self.0;
        if !muted.load(Ordering::Relaxed) {
            bars.suspend(|| io::stderr().lock().write_all(line))?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
