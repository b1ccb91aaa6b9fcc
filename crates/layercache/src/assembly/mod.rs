//! From a configuration to a stack of sources. The only place that knows which features are compiled in.

#[cfg(feature = "disk")]
mod disk;
mod kinds;
#[cfg(feature = "registry")]
mod origins;
mod part;
mod stack;

pub use kinds::{Constructor, Kinds, Shared};
pub use part::Part;
pub use stack::{SourceReport, Stack};
