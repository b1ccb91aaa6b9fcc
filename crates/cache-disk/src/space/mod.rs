//! The space that layers take: its limits, and what goes when there is not enough.

pub(crate) mod evict;
pub(crate) mod gc;
pub(crate) mod oversize;
pub(crate) mod policy;
pub(crate) mod quarantine;
pub(crate) mod quota;
pub(crate) mod usage;
