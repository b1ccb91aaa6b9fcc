//! The numbers of a verification, and the reason they give.

use std::fmt;

use serde::Serialize;

use super::words::count;

/// Numbers of layers that were wrong. Displays as the reason why a verification has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifySummary {
    /// Layers in quarantine.
    pub quarantined: u64,
    /// Layers that were removed.
    pub removed: u64,
    /// Layers that could not be removed though wrong.
    pub left: u64,
    /// Layers that could not be fetched anew; `None` where that was not asked for.
    pub not_refetched: Option<u64>,
    /// Layers that could not be read.
    pub unreadable: u64,
}

impl VerifySummary {
    /// Tells if no layer was wrong, and all could be read.
    pub fn is_clean(&self) -> bool {
        self.quarantined + self.removed + self.left + self.unreadable == 0
    }

    /// Tells what became of the layers that were wrong and could be put out of the way.
    fn in_words(&self) -> Option<String> {
        let found = self.quarantined + self.removed;
        let (was, has, it) = match found {
            0 => return None,
            1 => ("was", "has", "it"),
            _ => ("were", "have", "them"),
        };
        let gone = match (self.quarantined, self.removed) {
            (_, 0) => format!("{has} been put into quarantine"),
            (0, _) => format!("{has} been removed"),
            (quarantined, removed) => {
                format!("have been put into quarantine ({quarantined}) or removed ({removed})")
            }
        };
        let then = match self.not_refetched {
            None => format!(": the next pull fetches {it} again"),
            Some(0) => " and fetched anew".to_owned(),
            Some(failed) => format!("; {failed} could not be fetched anew"),
        };
        Some(format!("{} {was} wrong and {gone}{then}", count(found, "layer")))
    }
}

impl fmt::Display for VerifySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some =
            |layers: u64, what: &str| (layers > 0).then(|| format!("{} {what}", count(layers, "layer")));
        let left = some(
            self.left,
            "could not be removed though wrong: mend what the lines above say, and run this again",
        );
        let unreadable = some(
            self.unreadable,
            "could not be read: `cache remove` what is lost, and replace the disk",
        );
        let found: Vec<_> = [self.in_words(), left, unreadable]
            .into_iter()
            .flatten()
            .collect();
        f.write_str(&found.join("; "))
    }
}
