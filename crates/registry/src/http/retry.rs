//! How long to wait before trying again.

use std::time::Duration;

use cache_core::guard::pause;

use super::config::RegistryConfig;

/// The wait before repetition number `attempt`, counted from 0: what the registry asked for, bounded; else a random one
/// that doubles each time, so that many clients do not come back at once.
pub(super) fn delay(config: &RegistryConfig, attempt: u32, retry_after: Option<Duration>) -> Duration {
    if let Some(asked) = retry_after {
        return asked.min(config.max_retry_after);
    }
    pause(config.backoff, config.max_backoff, attempt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_the_registry_is_heard_up_to_one() {
        let config = RegistryConfig {
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            max_retry_after: Duration::from_secs(60),
            ..Default::default()
        };
        for (attempt, full) in [
            (0, 100),
            (1, 200),
            (2, 400),
            (3, 800),
            (4, 1000),
            (u32::MAX, 1000),
        ] {
            let waited = delay(&config, attempt, None).as_millis();
            assert!((full / 2..=full).contains(&waited), "{attempt}: {waited}");
        }
        assert_eq!(
            delay(&config, 0, Some(Duration::from_secs(5))),
            Duration::from_secs(5)
        );
        assert_eq!(delay(&config, 9, Some(Duration::MAX)), Duration::from_secs(60));
    }
}
