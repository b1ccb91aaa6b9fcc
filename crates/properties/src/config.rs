//! The configuration file.

use layercache::Config;

use crate::message::assert_harmless;

/// Parsing never panics; what it accepts survives being written and parsed again; what it refuses is explained in
/// one bounded line.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let config = match Config::parse(text) {
        Ok(config) => config,
        Err(error) => return assert_harmless(&error.to_string()),
    };
    assert!(!config.tiers.is_empty());
    // TOML has no numbers beyond 63 bits: such a size is written as a text.
    let written = config.to_toml().unwrap_or_else(|error| panic!("{text}: {error}"));
    let again = Config::parse(&written).unwrap_or_else(|error| panic!("{written}: {error}"));
    assert_eq!(again.early_reads, config.early_reads);
    assert_eq!(again.max_layer_bytes, config.max_layer_bytes);
    assert_eq!(again.max_concurrent_fills, config.max_concurrent_fills);
    let names = |config: &Config| -> Vec<_> {
        let tiers = config.tiers.iter();
        tiers
            .map(|tier| (tier.kind().to_owned(), tier.name().to_owned()))
            .collect()
    };
    assert_eq!(names(&again), names(&config));
    // The settings have no other form than this one.
    assert_eq!(again.to_toml().ok().as_ref(), Some(&written));
}
