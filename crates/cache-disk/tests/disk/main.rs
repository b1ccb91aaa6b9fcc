//! What the disk tier promises, seen from outside: through its contracts and in its directory.

mod crash;
mod directory;
mod eviction;
mod filling;
mod gc;
mod images;
mod locking;
mod maintenance;
mod model;
mod pressure;
mod probe;
mod processes;
mod quarantine;
mod quota;
mod reading;
mod support;
