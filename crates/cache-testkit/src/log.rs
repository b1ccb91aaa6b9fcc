//! What a test's process logs.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// The lines that were logged since it began to listen.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Listens to all threads of the process, by the directives of `tracing_subscriber::EnvFilter`. Once in a process: a test that
    /// does it is alone in its binary, also because what was met before nobody listened is passed over for good.
    pub fn listen(directives: &str) -> Self {
        let log = Self::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_env_filter(directives)
            .with_writer(move || writer.clone())
            .init();
        log
    }

    /// All of it.
    pub fn text(&self) -> String {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8(text).expect("a log is text")
    }

    /// The one line with this message.
    pub fn line(&self, message: &str) -> String {
        let log = self.text();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(message)).collect();
        assert_eq!(lines.len(), 1, "{message:?} in {log}");
        lines[0].to_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
