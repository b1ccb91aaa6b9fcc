//! Logs on standard error, above the progress bars.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::args::LogFormat;
use super::progress::Bars;

/// What is logged when nobody asks: what the user should know, but did not fail.
const QUIET: &str = "warn";
/// What is logged when a format is asked for: what an operator greps for.
const OPERATOR: &str = "info,cache_core=debug,cache_disk=debug";

pub(super) fn start(format: Option<LogFormat>, bars: &Bars) {
    let default = if format.is_some() { OPERATOR } else { QUIET };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(AboveBars(bars.clone()));
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
struct AboveBars(Bars);

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(&self.0)
    }
}

struct Line<'a>(&'a Bars);

impl io::Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().lock().write_all(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
