//! What the disk tier promises, seen from outside: through its contracts and in its directory.

mod crash;
mod directory;
mod filling;
mod locking;
mod maintenance;
mod model;
mod processes;
mod quota;
mod reading;
mod support;
