//! Faults as data, so that a test case can hold, print and compare them.

use std::time::Duration;

/// What a [`FaultProxy`](crate::FaultProxy) does to its connections.
///
/// Faults that count bytes count those from the upstream to the client, for each connection on its own: from its start,
/// or from the moment the fault was set if the connection is older. Setting the same fault again counts afresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Everything passes.
    None,
    /// Every connection is closed at once, those to come right after they were accepted.
    Refuse,
    /// Every connection is reset (RST), those to come right after they were accepted.
    Reset,
    /// Nothing moves in either direction, not even the end of a stream, until the fault is changed. Connections are
    /// accepted.
    Stall,
    /// Each piece (what one `read` returns, at most 64 KiB) is held back this long, in both directions.
    Delay(Duration),
    /// The connection is closed after this many bytes.
    CutAfter(u64),
    /// One bit of the byte at this offset is flipped.
    FlipBit {
        /// Offset of the byte.
        at: u64,
    },
}

impl Fault {
    /// Applies the fault to a piece that comes from the upstream `passed` bytes after counting began. Returns how much of
    /// the piece passes.
    pub(crate) fn spoil(&self, passed: u64, piece: &mut [u8]) -> usize {
        let inside = |offset: u64| {
            let index = usize::try_from(offset.checked_sub(passed)?).ok()?;
            (index < piece.len()).then_some(index)
        };
        match self {
            Self::CutAfter(limit) if passed >= *limit => return 0,
            Self::CutAfter(limit) => return inside(*limit).unwrap_or(piece.len()),
            Self::FlipBit { at } => {
                if let Some(index) = inside(*at) {
                    piece[index] ^= 1;
                }
            }
            Self::None | Self::Refuse | Self::Reset | Self::Stall | Self::Delay(_) => {}
        }
        piece.len()
    }

    /// Whether a connection of which `passed` bytes were counted ends here.
    pub(crate) fn cuts_at(&self, passed: u64) -> bool {
        matches!(self, Self::CutAfter(limit) if passed >= *limit)
    }
}

#[cfg(test)]
mod tests {
    use super::Fault;

    #[test]
    fn offsets_count_across_pieces() {
        for offset in 0..9 {
            let (mut whole, mut passed) = (Vec::new(), 0);
            for mut piece in [[0; 3]; 3] {
                let length = Fault::FlipBit { at: offset }.spoil(passed, &mut piece);
                whole.extend_from_slice(&piece[..length]);
                passed += length as u64;
            }
            let flipped: Vec<u64> = (0..9).filter(|index| whole[*index as usize] != 0).collect();
            assert_eq!((whole.len(), flipped), (9, vec![offset]));

            let mut passed = 0;
            for mut piece in [[0; 3]; 3] {
                passed += Fault::CutAfter(offset).spoil(passed, &mut piece) as u64;
            }
            assert_eq!(passed, offset);
            assert!(Fault::CutAfter(offset).cuts_at(passed));
        }
    }
}
