//! A Redis that one test has for itself.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;

/// Names the redis-server to start.
const BINARY: &str = "LAYERCACHE_TEST_REDIS_SERVER";
const START_WITHIN: Duration = Duration::from_secs(30);
/// How many ports are tried: between the choice of a port and its use by the server another process may take it.
const TRIES: usize = 5;

/// A private Redis on loopback, empty and without persistence, to kill, stall and restart. Dropping it kills it; so does
/// the end of the *thread* that started it, however it comes.
///
/// Its methods block, for milliseconds each.
#[derive(Debug)]
pub struct RedisServer {
    binary: OsString,
    arguments: Vec<String>,
    address: SocketAddr,
    process: Child,
    directory: TempDir,
}

impl RedisServer {
    /// Starts a server with further `arguments` for redis-server, such as `["--maxmemory", "8mb"]`, and waits until it
    /// answers.
    ///
    /// # Panics
    /// When the environment names no redis-server, or when it does not start.
    pub fn start(arguments: &[&str]) -> Self {
        let binary = std::env::var_os(BINARY)
            .unwrap_or_else(|| panic!("{BINARY} is not set: run this test through `cargo xtask test`"));
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut failure = String::new();
        for _ in 0..TRIES {
            let address = free_address();
            match launch(&binary, &arguments, address, directory.path()) {
                Ok(process) => {
                    return Self {
                        binary,
                        arguments,
                        address,
                        process,
                        directory,
                    };
                }
                Err(error) => failure = error,
            }
        }
        panic!("redis-server does not start: {failure}");
    }

    /// Where it listens; the same after a restart.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `redis://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Kills it (SIGKILL) and waits until it is gone. Does nothing when it is gone already.
    pub fn kill(&mut self) {
        // Both fail only when the process is gone, which is what is wanted.
        let _: io::Result<()> = self.process.kill();
        let _: io::Result<_> = self.process.wait();
    }

    /// Stops it (SIGSTOP), and returns once it stands still: the system still accepts connections and data for it, but
    /// nothing answers.
    ///
    /// # Panics
    /// When it is not running.
    pub fn stall(&self) {
        kill_process(self.pid(), Signal::STOP).expect("the server runs");
        let standing = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid()), standing).expect("the server is a child of this process");
    }

    /// Lets it go on after a stall.
    ///
    /// # Panics
    /// When it is not running.
    pub fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).expect("the server runs");
    }

    /// Kills it if it runs, starts it again at the same address, empty, and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill();
        let mut failure = String::new();
        for _ in 0..TRIES {
            match launch(&self.binary, &self.arguments, self.address, self.directory.path()) {
                Ok(process) => {
                    self.process = process;
                    return;
                }
                Err(error) => failure = error,
            }
        }
        panic!("redis-server does not start again: {failure}");
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a port of loopback")
}

/// Starts a server and waits until it answers. An error is the server's own words.
fn launch(
    binary: &OsString,
    arguments: &[String],
    address: SocketAddr,
    directory: &Path,
) -> Result<Child, String> {
    let log = directory.join("log");
    // That of an earlier start would say that this one is ready.
    let _: io::Result<()> = fs::remove_file(&log);
    // The kernel kills the server when the thread that starts it ends, even by SIGKILL.
    let mut process = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(binary)
        .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
        .args(["--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(directory)
        .arg("--logfile")
        .arg(&log)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("setpriv is installed");
    let deadline = Instant::now() + START_WITHIN;
    loop {
        let words = fs::read_to_string(&log).unwrap_or_default();
        // Its own log first: at this address another server may answer, whose start was faster.
        if words.contains("Ready to accept connections") && answers(address) {
            return Ok(process);
        }
        let ended = process.try_wait().expect("the server is a child").is_some();
        if ended || Instant::now() > deadline {
            let _: io::Result<()> = process.kill();
            let _: io::Result<_> = process.wait();
            return Err(words);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a PING is answered, be it by a refusal to a client that has not logged in.
fn answers(address: SocketAddr) -> bool {
    let ping = || {
        let mut connection = TcpStream::connect(address)?;
        connection.set_read_timeout(Some(Duration::from_secs(1)))?;
        connection.write_all(b"PING\r\n")?;
        let mut answer = [0];
        connection.read_exact(&mut answer)?;
        Ok::<_, io::Error>(matches!(&answer, b"+" | b"-"))
    };
    ping().unwrap_or(false)
}
