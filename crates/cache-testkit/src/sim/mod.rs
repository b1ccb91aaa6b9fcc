//! Sources that do what a test case says, in virtual time: any composition of them can be tested, used by any number of
//! processes on any number of hosts.
//!
//! A [`Script`] is data: which call of which [`Step`] meets which [`Trouble`], and how long each call takes. It is part of a
//! generated test case, prints with it, and shrinks with it. [`SimTier`] and [`SimOrigin`] keep the contracts otherwise: they know
//! what is verified and what is not, and they count what must not be left over. A [`Process`] can be killed at any moment.

mod board;
mod leases;
mod ledger;
mod origin;
mod process;
mod reader;
mod script;
mod tier;

pub use origin::{Scope, SimOrigin};
pub use process::Process;
pub use script::{Script, Step, Trouble};
pub use tier::{SimTier, TierKind};
