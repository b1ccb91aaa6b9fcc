//! Crashes of the binary: killed at every system call that changes something, at random under load, and on disks that fail.

mod failures;
mod full_disk;
mod kills;
mod load;
mod subject;
mod write_back;
