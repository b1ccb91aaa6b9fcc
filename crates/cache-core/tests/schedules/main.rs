//! Stories that have to hold in whatever order things happen: `cargo xtask schedules` tells each of them under thousands of
//! schedules.
//!
//! Whoever waits for what never comes is a deadlock, which fails a story too, as a permit does that is not given back. What a
//! story has left behind is looked at when the cache is at rest.
#![cfg(shuttle)]

mod stories;
