//! What the tests of several crates share; a dev-dependency only.
//!
//! [`laws`] are what the contracts of sources, tiers and leases promise, as tests: [`tier_laws!`], [`source_laws!`] and
//! [`lease_laws!`] run them all.
//! [`sim`] has sources that do what a generated test case says, in virtual time.
//! [`FaultProxy`] stands between a client and any server, and does to their connections what networks do.
//! [`crash`] ends processes at any system call, and tells what a power loss leaves of a directory.
//! [`Log`] is what the process logs, to look for what operators look for.
//! [`Recorded`] is what the parts of a test tell the metrics.
//! [`RedisServer`] is a real Redis of one test alone, to be killed, stalled and restarted.
//! [`documented`](documented()) is what the pages in `docs/` show of a format, to be compared with what the code makes.
//!
//! Everything here is for tests: what cannot be set up panics, with a message that says what is missing.
//!
//! What stands between two machines in a test, and fails when it is told to:
//!
//! ```
//! use std::io::{Read, Write};
//!
//! use cache_testkit::{Fault, FaultProxy};
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
//! let proxy = FaultProxy::start(server.local_addr().unwrap()).await;
//! proxy.set(Fault::CutAfter(3));
//! let mut client = std::net::TcpStream::connect(proxy.address()).unwrap();
//! server.accept().unwrap().0.write_all(b"a layer").unwrap();
//! let mut arrived = Vec::new();
//! client.read_to_end(&mut arrived).unwrap();
//! assert_eq!(arrived, b"a l");
//! # });
//! ```
//!
//! And all that a tier promises, as tests of one's own:
//!
//! ```
//! use cache_core::MemoryTier;
//!
//! cache_testkit::tier_laws!(memory, || async { MemoryTier::new("memory", 1 << 30) });
//! # fn main() {}
//! ```

pub mod crash;
mod documented;
mod fault;
mod json_page;
pub mod laws;
mod log;
mod proxy;
mod recorded;
mod redis_server;
pub mod sim;

pub use documented::documented;
pub use fault::Fault;
pub use json_page::check_json_page;
pub use log::Log;
pub use proxy::{FaultProxy, Traffic};
pub use recorded::Recorded;
pub use redis_server::RedisServer;
