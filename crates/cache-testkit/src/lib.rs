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
//!
//! Everything here is for tests: what cannot be set up panics, with a message that says what is missing.

pub mod crash;
mod fault;
pub mod laws;
mod log;
mod proxy;
mod recorded;
mod redis_server;
pub mod sim;

pub use fault::Fault;
pub use log::Log;
pub use proxy::{FaultProxy, Traffic};
pub use recorded::Recorded;
pub use redis_server::RedisServer;
