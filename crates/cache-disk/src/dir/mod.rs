//! The cache directory and what is done in it: names, files, locks, and leftovers of a crash.

pub(crate) mod directory;
pub(crate) mod handle;
pub(crate) mod layout;
pub(crate) mod lock;
pub(crate) mod publish;
pub(crate) mod quota_lock;
pub(crate) mod recovery;
pub(crate) mod remove;
pub(crate) mod scan;
