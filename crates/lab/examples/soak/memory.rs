//! Whether memory grows.

use std::time::Instant;

/// What a run of a few minutes may seem to grow by: the allocator's noise.
const NOISE: u64 = 8 << 20;

/// How much memory the process had resident, over time.
#[derive(Debug)]
pub(crate) struct Memory {
    start: Instant,
    /// Minutes since the start, and bytes.
    samples: Vec<(f64, f64)>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            samples: Vec::new(),
        }
    }
}

impl Memory {
    /// Takes note of how many bytes are resident.
    pub(crate) fn sample(&mut self) -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let kibibytes: f64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        let minutes = self.start.elapsed().as_secs_f64() / 60.0;
        let bytes = kibibytes * 1024.0;
        self.samples.push((minutes, bytes));
        bytes as u64
    }

    pub(crate) fn most(&self) -> u64 {
        self.samples
            .iter()
            .map(|(_, bytes)| *bytes as u64)
            .max()
            .unwrap_or(0)
    }

    fn second_half(&self) -> &[(f64, f64)] {
        &self.samples[self.samples.len() / 2..]
    }

    /// MiB a minute in the second half, when caches and pools are full: the least squares fit.
    pub(crate) fn slope(&self) -> f64 {
        let samples = self.second_half();
        let count = samples.len() as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| samples.iter().map(value).sum::<f64>() / count;
        let (time, bytes) = (mean(|sample| sample.0), mean(|sample| sample.1));
        let covariance: f64 = samples
            .iter()
            .map(|(at, size)| (at - time) * (size - bytes))
            .sum();
        let variance: f64 = samples.iter().map(|(at, _)| (at - time).powi(2)).sum();
        if variance == 0.0 {
            0.0
        } else {
            covariance / variance / f64::from(1 << 20)
        }
    }

    /// Whether the second half ends higher than noise explains.
    pub(crate) fn grows(&self) -> bool {
        let samples = self.second_half();
        let minutes =
            samples.last().map_or(0.0, |last| last.0) - samples.first().map_or(0.0, |first| first.0);
        self.slope() * minutes * f64::from(1 << 20) > NOISE as f64
    }
}
