//! A server that is a child process: started, waited for, and killed with this process.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

const START_WITHIN: Duration = Duration::from_secs(30);
/// Another process may take a port between its choice and its use by the server.
const TRIES: usize = 5;

/// A running server. Dropping it kills it; so does the end of this process, however it comes.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    /// The server's standard output and error.
    log: PathBuf,
}

impl Process {
    /// Starts `program` with what `configure` adds to its command line and environment. Its log is `directory`/log.
    ///
    /// Call it from the main thread: the kernel kills the server when the thread that starts it ends.
    pub(crate) fn start(
        directory: &Path,
        program: &Path,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let log = directory.join("log");
        let output = File::create(&log)?;
        let name = program.file_name().map(OsStr::to_string_lossy);
        let name = name.unwrap_or_default().into_owned();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program);
        configure(&mut command);
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name} through setpriv"))?;
        Ok(Self { name, child, log })
    }

    /// Waits until `ready` finds in the log what says that the server serves.
    pub(crate) fn wait_for<T>(&mut self, ready: impl Fn(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + START_WITHIN;
        loop {
            // Asked before the log is read: a server that has ended writes nothing any more.
            let ended = self.child.try_wait()?;
            let text = String::from_utf8_lossy(&fs::read(&self.log)?).into_owned();
            if let Some(status) = ended {
                bail!("{} ended at once ({status}):\n{text}", self.name);
            }
            if let Some(found) = ready(&text) {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let seconds = START_WITHIN.as_secs();
                bail!("{} does not serve after {seconds} s:\n{text}", self.name);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the process is gone, which is what is wanted.
        let _: io::Result<()> = self.child.kill();
        let _: io::Result<_> = self.child.wait();
    }
}

/// Starts a server on ports of loopback that were free a moment ago, and on others where that fails.
pub(crate) fn start_on<const PORTS: usize, T>(mut start: impl FnMut([u16; PORTS]) -> Result<T>) -> Result<T> {
    let mut started = start(free()?);
    for _ in 1..TRIES {
        if started.is_ok() {
            break;
        }
        started = start(free()?);
    }
    started.with_context(|| format!("tried {TRIES} times, on ports that were free"))
}

/// Finds different ports that nobody listens on.
fn free<const PORTS: usize>() -> Result<[u16; PORTS]> {
    let mut ports = [0; PORTS];
    // All are held until all are found, so that none is found twice.
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn another_port_is_tried_but_not_for_ever() {
        let mut tried = Vec::new();
        let started = start_on(|[first, second]| {
            assert_ne!(first, second);
            tried.push(first);
            if tried.len() < 3 {
                bail!("taken")
            }
            Ok(first)
        });
        assert_eq!(started.unwrap(), tried[2]);

        let mut tries = 0;
        let failed = start_on(|[_]| -> Result<()> {
            tries += 1;
            bail!("taken")
        });
        assert!(failed.is_err());
        assert_eq!(tries, TRIES);
    }
}
