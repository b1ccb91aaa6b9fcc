//! Any composition of sources and guards, used by several processes and put to any sequence of operations and faults, keeps the
//! promises.
//!
//! A case is data: the composition with the troubles of each source and the host of each process ([`composition`]), and then what is
//! done with it ([`operation`]). [`machine`] runs it in virtual time on one thread, so a case does the same each time it is run, and
//! shrinks. What must hold is in [`promises`]. `PROPTEST_CASES` says how many cases are made; those of [`regressions`] are written down.

mod cluster;
mod composition;
mod machine;
mod operation;
mod promises;
mod reading;
mod regressions;
mod sources;
mod worker;
