//! The tier against a real S3 server, whose address the environment tells: see `cargo xtask test`.

mod damage;
mod front;
mod memory;
mod outage;
mod reading;
mod round_trip;
mod settings;
mod support;
mod writing;
