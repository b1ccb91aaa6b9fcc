//! The outcome as a table.

use std::fmt::Write as _;

use bytesize::ByteSize;

use super::phase::Outcome;
use super::plan::Plan;
use crate::output;

pub(super) fn render(plan: &Plan, outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    let blobs: u64 = plan.layers.iter().filter_map(|layer| layer.size).sum();
    let reads = output::count(plan.reads.len() as u64, "read");
    let layers = output::count(plan.layers.len() as u64, "layer");
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "\n{reads} of an image of {layers}, {} compressed\n",
        ByteSize(blobs)
    );
    let _ = writeln!(
        text,
        "{:<26}{:>10}{:>10}{:>14}{:>12}",
        "", "time", "inflates", "from origin", "peak RSS"
    );
    for Outcome {
        way, seconds, stats, ..
    } in outcomes
    {
        let _ = writeln!(
            text,
            "{:<26}{:>10}{:>10}{:>14}{:>12}",
            way.label(),
            format!("{:.3} s", seconds),
            stats.inflates,
            ByteSize(stats.origin_bytes).to_string(),
            ByteSize(stats.peak_rss_bytes).to_string(),
        );
    }
    if let [old, cold, warm] = outcomes {
        let times = |other: &Outcome| old.seconds / other.seconds;
        let _ = writeln!(
            text,
            "\n{:.1} times faster cold, {:.0} times faster restarted",
            times(cold),
            times(warm)
        );
    }
    text
}
