//! The kinds of this build.

use super::kinds::Kinds;

impl Kinds {
    /// Returns the kinds of the features that are compiled in, in the order in which a cache would
    /// ask them.
    pub fn builtin() -> Self {
        #[allow(unused_mut, reason = "without any feature there is nothing to register")]
        let mut kinds = Self::default();
        #[cfg(feature = "disk")]
        super::disk::register(&mut kinds);
        #[cfg(feature = "redis")]
        super::redis::register(&mut kinds);
        #[cfg(feature = "s3")]
        super::s3::register(&mut kinds);
        #[cfg(feature = "registry")]
        super::origins::register(&mut kinds);
        kinds
    }
}
