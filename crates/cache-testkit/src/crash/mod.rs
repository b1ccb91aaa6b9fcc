//! Crashes: system calls that are the last of a process or fail, and what a power loss leaves of a directory.
//!
//! Every system call that changes a directory is a *fail point*, and [`Strace`] knows them all without hooks in what is tested:
//! one run tells which there are ([`points`]), and in further runs the process dies at one of them or one of them fails.
//! [`Disk`] follows the calls of a trace and tells what a power loss may leave, by the rules that all file systems keep and
//! none goes beyond: what was synced is there, and of all else any part.

mod contents;
mod disk;
mod point;
mod state;
mod strace;
mod trace;

pub use disk::Disk;
pub use point::{Point, points, some_of};
pub use state::State;
pub use strace::{Action, Strace};
pub use trace::Call;
