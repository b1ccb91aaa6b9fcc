//! What the tests of several crates share; a dev-dependency only.
//!
//! [`FaultProxy`] stands between a client and any server, and does to their connections what networks do.
//! [`RedisServer`] is a real Redis of one test alone, to be killed, stalled and restarted.
//!
//! Everything here is for tests: what cannot be set up panics, with a message that says what is missing.

mod fault;
mod proxy;
mod redis_server;

pub use fault::Fault;
pub use proxy::{FaultProxy, Traffic};
pub use redis_server::RedisServer;
