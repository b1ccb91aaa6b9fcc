//! What a PAX header says that the tar parser does not tell, or does not check.
//!
//! The parser either refuses a whole archive for a negative `mtime` or lets any malformed number pass. It runs in the
//! second mode, and the numbers that decide where bytes are get checked here, as Go's `archive/tar` does.

use std::iter::repeat;

use tar_core::PaxExtensions;

use crate::xattr::Stated;

/// What a PAX header says about the entry after it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PaxFacts<'a> {
    /// Modification time: whole seconds, rounded down, and nanoseconds from there.
    pub(super) mtime: Option<(i64, u32)>,
    /// Whether it says that the file is sparse.
    pub(super) sparse: bool,
    /// Extended attributes.
    pub(super) xattrs: Stated<'a>,
}

/// Reads the records of `pax`; an error says what is wrong with them.
pub(super) fn read(pax: &[u8]) -> Result<PaxFacts<'_>, &'static str> {
    let mut facts = PaxFacts::default();
    for record in PaxExtensions::new(pax) {
        let record = record.map_err(|_| "a PAX record is malformed")?;
        let key = record.key().map_err(|_| "a PAX key is not UTF-8")?;
        match key {
            "mtime" => {
                facts.mtime = Some(time(record.value_bytes()).ok_or("the PAX mtime is malformed")?);
            }
            "size" | "uid" | "gid" if !is_number(record.value_bytes()) => {
                return Err("a PAX size, uid or gid is not a number");
            }
            "GNU.sparse.name" => {}
            "GNU.sparse.map" => facts.sparse = true,
            _ if key.starts_with("GNU.sparse.") => {
                if !is_number(record.value_bytes()) {
                    return Err("a PAX sparse field is not a number");
                }
                facts.sparse = true;
            }
            _ => facts.xattrs.add(key, record.value_bytes()),
        }
    }
    Ok(facts)
}

/// Whether the parser reads `value` as a number; it lets a sign pass, which no format has.
fn is_number(value: &[u8]) -> bool {
    value.first() != Some(&b'+') && std::str::from_utf8(value).is_ok_and(|text| text.parse::<u64>().is_ok())
}

/// Reads a decimal number with an optional sign and fraction as whole seconds, rounded down, and
/// nanoseconds from there. Digits behind the nanoseconds are dropped, as Go's `archive/tar` does.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let value = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let digits = fraction.bytes().chain(repeat(b'0')).take(9);
    let nanos = digits.fold(0, |nanos, digit| 10 * nanos + u32::from(digit - b'0'));
    if whole.starts_with('-') && nanos > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> Vec<u8> {
        let rest = format!(" {key}={value}\n");
        let len = (1..)
            .find(|len: &usize| len.to_string().len() + rest.len() == *len)
            .unwrap();
        format!("{len}{rest}").into_bytes()
    }

    #[test]
    fn times_round_down() {
        for (text, expected) in [
            ("0", Some((0, 0))),
            ("1700000000.999999999", Some((1_700_000_000, 999_999_999))),
            ("1700000000.9999999999", Some((1_700_000_000, 999_999_999))),
            ("3.05", Some((3, 50_000_000))),
            ("3.", Some((3, 0))),
            ("-1", Some((-1, 0))),
            ("-1.5", Some((-2, 500_000_000))),
            ("-0.25", Some((-1, 750_000_000))),
            ("-0.0000000009", Some((0, 0))),
            ("-1.000", Some((-1, 0))),
            ("-9223372036854775808.1", None),
            ("1e9", None),
            ("1.x", None),
            ("", None),
        ] {
            assert_eq!(time(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn numbers_that_decide_where_bytes_are_must_be_numbers() {
        for key in [
            "size",
            "uid",
            "gid",
            "GNU.sparse.major",
            "GNU.sparse.offset",
            "GNU.sparse.realsize",
        ] {
            for value in ["-1", "+1", "0x10", "18446744073709551616", "1 ", "1.0", ""] {
                assert!(read(&record(key, value)).is_err(), "{key}={value}");
            }
            assert!(read(&record(key, "18446744073709551615")).is_ok(), "{key}");
        }
    }
}
