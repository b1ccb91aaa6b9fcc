//! The cache directory and what is done in it: names, files, locks, and what a crash leaves there.

pub(crate) mod directory;
pub(crate) mod layout;
pub(crate) mod lock;
pub(crate) mod publish;
pub(crate) mod recovery;
pub(crate) mod scan;
