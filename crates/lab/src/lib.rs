//! The lab: where the cache is tested and measured.
//!
//! - [`images`] builds real images as fixtures, [`servers`] starts real registries, Redis and S3
//!   servers, and tells tests where they are.
//! - [`mod@bench`] measures the library beside what it is compared with, and [`soak`] lets readers read
//!   while everything around them fails. Both drive an example of this crate, which has the library.
//! - [`apt`], [`tools`], [`dirs`] and [`page`] find what all of that needs.
//!
//! `cargo xtask` is the program in front. This crate does not depend on the cache, so that building
//! the program does not build the cache.

pub mod apt;
pub mod bench;
pub mod dirs;
pub mod images;
pub mod page;
pub mod servers;
pub mod soak;
pub mod tools;

use anyhow::Result;
use xshell::Shell;

use crate::servers::Servers;
use crate::servers::s3::S3Kind;

/// Starts the servers with the image fixtures, which are built if they are not up to date.
///
/// # Errors
///
/// If an image cannot be built, or a server does not start.
pub fn start(sh: &Shell, s3: S3Kind) -> Result<Servers> {
    Servers::start(sh, &images::ensure(sh)?, s3)
}
