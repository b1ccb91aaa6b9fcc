//! What the Redis tier promises, seen from outside: through its contracts, and in the keys of real servers.

mod configuration;
mod damage;
mod expiry;
mod faults;
mod leases;
mod memory;
mod round_trip;
mod support;
mod writing;
