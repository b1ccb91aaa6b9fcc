//! The `Content-Range` header of a partial answer (RFC 9110, section 14.4).

use std::ops::Range;

/// `bytes START-END/TOTAL`, with the last byte included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) start: u64,
    pub(super) end: u64,
    /// `None` where the server writes `*`.
    pub(super) total: Option<u64>,
}

impl ContentRange {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (unit, range) = text.trim().split_once(' ')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (range, total) = range.trim_start().split_once('/')?;
        let (start, end) = range.split_once('-')?;
        let total = match total {
            "*" => None,
            total => Some(number(total)?),
        };
        let (start, end) = (number(start)?, number(end)?);
        let consistent = start <= end && total.is_none_or(|total| end < total);
        consistent.then_some(Self { start, end, total })
    }

    /// Whether this answers a request for `wanted` of a blob, which has `total` bytes if that is known.
    pub(super) fn answers(&self, wanted: &Range<u64>, total: Option<u64>) -> bool {
        let is_range = self.start == wanted.start && self.end.checked_add(1) == Some(wanted.end);
        is_range && total.is_none_or(|total| self.total == Some(total))
    }
}

/// Digits and nothing else; `u64::from_str` would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_exact_rest_will_do() {
        let rest = |text| ContentRange::parse(text).is_some_and(|range| range.answers(&(10..100), Some(100)));
        assert!(rest("bytes 10-99/100"));
        assert!(rest("Bytes 10-99/100"));
        for wrong in [
            "bytes 0-99/100",
            "bytes 11-99/100",
            "bytes 10-98/100",
            "bytes 10-99/*",
            "bytes 10-99/101",
            "bytes 10-100/100",
            "bytes 10-5/100",
            "bytes +10-99/100",
            "bytes */100",
            "bytes 10-99",
            "items 10-99/100",
            "bytes 10-99/99999999999999999999",
            "",
        ] {
            assert!(!rest(wrong), "{wrong}");
        }
    }

    #[test]
    fn of_a_blob_whose_length_is_unknown_only_the_range_counts() {
        let part =
            |text, total| ContentRange::parse(text).is_some_and(|range| range.answers(&(10..20), total));
        for right in ["bytes 10-19/100", "bytes 10-19/*"] {
            assert!(part(right, None), "{right}");
        }
        for wrong in ["bytes 10-20/100", "bytes 9-19/100", "bytes 0-99/100"] {
            assert!(!part(wrong, None), "{wrong}");
        }
        assert!(part("bytes 10-19/100", Some(100)) && !part("bytes 10-19/100", Some(101)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(start: u64, len in 1u64..1 << 40, more in 0u64..1 << 40, known: bool) {
            let start = start >> 2;
            let end = start + len - 1;
            let total = known.then_some(end + 1 + more);
            let text = format!("bytes {start}-{end}/{}", total.map_or("*".into(), |t| t.to_string()));
            prop_assert_eq!(ContentRange::parse(&text), Some(ContentRange { start, end, total }));
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in "(bytes )?[0-9/*+ -]{0,30}|\\PC{0,30}") {
            if let Some(range) = ContentRange::parse(&text) {
                prop_assert!(range.start <= range.end);
            }
        }
    }
}
