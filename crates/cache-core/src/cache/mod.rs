//! [`LayerCache`]: an ordered list of sources as one source.

mod arrival;
mod claims;
mod early;
mod entry;
mod fill;
mod fill_state;
mod fill_task;
mod hit;
mod in_flight;
mod inner;
mod layer_cache;
mod lease;
mod meters;
mod open;
mod options;
mod plan;
mod planner;
mod publish;
mod reader;
mod search;
mod single_flight;
mod source_set;
mod tasks;
mod write_back;

pub use self::arrival::Arrival;
pub use self::layer_cache::{LayerCache, LayerCacheBuilder};
pub use self::options::{Copying, SourceOptions};
pub use self::plan::{Asked, Finding, Plan, PlannedCopy, PlannedHit, Reading};
pub use self::publish::Publication;
