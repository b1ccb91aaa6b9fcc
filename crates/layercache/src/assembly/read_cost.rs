//! What a read of a part of a layer moves.

use std::ops::Range;

use super::explain::{Explanation, Reading};

/// What it takes to read some bytes of a layer that nobody has opened yet, by [`Explanation::read_cost`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadCost {
    /// Bytes that were asked for.
    pub asked: u64,
    /// Bytes that the source that serves them moves before they are there, without what a protocol adds; `None` where no source
    /// serves the layer, or its size is not known.
    pub moved: Option<u64>,
}

impl ReadCost {
    /// Bytes moved for each byte asked for; `None` where one of both is unknown or none.
    pub fn ratio(&self) -> Option<f64> {
        let moved = self.moved?;
        (self.asked > 0).then(|| moved as f64 / self.asked as f64)
    }
}

impl Explanation {
    /// What reads of these ranges of the layer's bytes move, which are in order and do not overlap. Each is a
    /// [read at its offset](cache_core::LayerReader::read_at); a [stream](cache_core::LayerReader::stream) reads ahead as well.
    pub fn read_cost(&self, ranges: impl IntoIterator<Item = Range<u64>>) -> ReadCost {
        let ranges: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        let asked = ranges.iter().map(|range| range.end - range.start).sum();
        let Some(plan) = &self.plan else {
            return ReadCost { asked, moved: None };
        };
        let moved = match plan.reading {
            _ if ranges.is_empty() => Some(0),
            Reading::InPlace(unit) => Some(touched(&ranges, unit.get(), plan.len.unwrap_or(u64::MAX))),
            Reading::Copied => plan.len,
            Reading::Inflated => self.layer.size,
        };
        ReadCost { asked, moved }
    }
}

/// Bytes of those units of a layer of `len` bytes that the ranges touch.
fn touched(ranges: &[Range<u64>], unit: u64, len: u64) -> u64 {
    let mut moved = 0;
    // The first unit that was not counted yet: ranges may share one.
    let mut next = 0;
    for range in ranges {
        let (first, end) = ((range.start / unit).max(next), range.end.div_ceil(unit));
        if first < end {
            let bytes = |units: u64| units.saturating_mul(unit).min(len);
            moved += bytes(end) - bytes(first);
            next = end;
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_that_is_touched_is_moved_once_and_whole() {
        type Pairs = &'static [(u64, u64)];
        let cases: [(Pairs, u64, u64, u64); 7] = [
            (&[(0, 1)], 100, 1000, 100),
            (&[(99, 101)], 100, 1000, 200),
            (&[(100, 200)], 100, 1000, 100),
            (&[(10, 20), (30, 40), (150, 151)], 100, 1000, 200),
            (&[(10, 120), (130, 140), (290, 310)], 100, 1000, 400),
            // The last one is shorter.
            (&[(950, 960)], 100, 970, 70),
            (&[(7, 9)], 1, 970, 2),
        ];
        for (ranges, unit, len, moved) in cases {
            let ranges: Vec<_> = ranges.iter().map(|&(start, end)| start..end).collect();
            assert_eq!(
                touched(&ranges, unit, len),
                moved,
                "{ranges:?} in units of {unit}"
            );
        }
    }
}
