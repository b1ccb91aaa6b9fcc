//! How long to leave a source alone.

use std::time::Duration;

/// Nothing is left alone for longer, whatever the configuration says.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the pause before the repetition number `count`, counted from 0: a random one between half and all of what starts
/// at `first` and doubles each time up to `longest`, so that many processes do not come back at once.
pub fn pause(first: Duration, longest: Duration, count: u32) -> Duration {
    full_pause(first, longest, count).mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Returns the longest pause that [`pause`] may say.
pub(crate) fn full_pause(first: Duration, longest: Duration, count: u32) -> Duration {
    first.saturating_mul(1 << count.min(30)).min(longest).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
        for (count, full) in [
            (0, 100),
            (1, 200),
            (2, 400),
            (3, 800),
            (4, 1000),
            (u32::MAX, 1000),
        ] {
            let paused = pause(first, longest, count).as_millis();
            assert!((full / 2..=full).contains(&paused), "{count}: {paused}");
        }
        let day = Duration::from_secs(86_400);
        assert_eq!(full_pause(Duration::MAX, Duration::MAX, u32::MAX), day);
        assert!(pause(Duration::MAX, Duration::MAX, u32::MAX) <= day);
    }
}
