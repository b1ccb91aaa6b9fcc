//! From a configuration to a stack of sources. The only place that knows which features are compiled in.

mod builtin;
mod check;
#[cfg(feature = "disk")]
mod disk;
mod explain;
mod kinds;
mod known_tree;
#[cfg(feature = "registry")]
mod origins;
mod part;
mod read_cost;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "redis", feature = "s3"))]
mod remote;
#[cfg(feature = "s3")]
mod s3;
mod stack;

pub use check::{Answer, SourceCheck};
pub use explain::{Asked, Explanation, Plan, Reading};
pub use kinds::{Constructor, Kinds, Shared};
pub use known_tree::KnownTree;
pub use part::Part;
pub use read_cost::ReadCost;
pub use stack::{SourceReport, Stack};
