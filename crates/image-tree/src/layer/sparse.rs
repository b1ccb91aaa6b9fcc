//! Sparse files: the map of a tar entry turned into extents of the layer.
//!
//! All GNU formats (old type `S`, PAX 0.0, 0.1 and 1.0) say the same in the end: regions of the file, in order, whose bytes
//! are stored back to back. <https://www.gnu.org/software/tar/manual/html_section/Sparse-Formats.html>

use tar_core::SparseEntry;

use crate::{Extent, FileData};

/// The file of `size` bytes whose `regions` are stored back to back from `offset` of the layer; an error says what is
/// wrong with the map.
pub(super) fn place(offset: u64, size: u64, regions: &[SparseEntry]) -> Result<FileData, &'static str> {
    if i64::try_from(size).is_err() {
        return Err("its size is out of range");
    }
    let mut extents = Vec::new();
    let (mut end, mut at) = (0, offset);
    for &SparseEntry {
        offset: start,
        length: len,
    } in regions
    {
        if start < end {
            return Err("the regions of its sparse map overlap or are out of order");
        }
        end = start
            .checked_add(len)
            .filter(|end| *end <= size)
            .ok_or("its sparse map goes beyond its size")?;
        if len > 0 {
            extents.push(Extent {
                start,
                offset: at,
                len,
            });
        }
        at = at.checked_add(len).ok_or("its sparse map goes beyond its size")?;
    }
    Ok(FileData::sparse(size, extents))
}

/// How many bytes the regions have in total; `None` when that overflows.
pub(super) fn stored_len(regions: &[SparseEntry]) -> Option<u64> {
    regions
        .iter()
        .try_fold(0u64, |sum, region| sum.checked_add(region.length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(of: &[(u64, u64)]) -> Vec<SparseEntry> {
        of.iter()
            .map(|&(offset, length)| SparseEntry { offset, length })
            .collect()
    }

    #[test]
    fn regions_lie_back_to_back_in_the_layer() {
        let data = place(512, 100, &regions(&[(0, 10), (50, 20), (100, 0)])).unwrap();
        assert_eq!(data.size(), 100);
        assert_eq!(
            data.extents(),
            [
                Extent {
                    start: 0,
                    offset: 512,
                    len: 10
                },
                Extent {
                    start: 50,
                    offset: 522,
                    len: 20
                }
            ]
        );
    }

    #[test]
    fn maps_that_contradict_themselves_are_refused() {
        for (size, map) in [
            (100, &[(50, 10), (40, 5)][..]),
            (100, &[(0, 10), (9, 5)]),
            (100, &[(90, 11)]),
            (100, &[(u64::MAX, 2)]),
            (u64::MAX, &[(0, 1)]),
        ] {
            assert!(place(0, size, &regions(map)).is_err(), "{size} {map:?}");
        }
    }
}
