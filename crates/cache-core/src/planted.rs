//! Bugs planted on purpose, to prove that the tests notice them: `cargo xtask planted` plants one after the other.

/// Whether the bug `name` is planted. Never, unless all is compiled with `--cfg planted`, which no feature turns on.
#[cfg(not(planted))]
#[inline(always)]
pub const fn is(_name: &str) -> bool {
    false
}

/// Whether the environment variable `LAYERCACHE_PLANTED` names the bug: one build serves all.
#[cfg(planted)]
pub fn is(name: &str) -> bool {
    std::env::var_os("LAYERCACHE_PLANTED").is_some_and(|planted| planted == name)
}
