//! The end of a process at every system call that changes the directory, a power loss behind every one of them, and every
//! one of them failing: nothing wrong is served, what was promised is there, and nothing is leaked.

mod check;
mod failures;
mod kills;
mod power_loss;
mod script;
