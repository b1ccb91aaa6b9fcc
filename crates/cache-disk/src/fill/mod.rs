//! A layer that is being put into the directory, and the companions that are put next to it.

pub(crate) mod behind;
pub(crate) mod claim;
pub(crate) mod companion;
pub(crate) mod writer;
