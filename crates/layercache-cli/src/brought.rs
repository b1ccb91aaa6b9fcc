//! What bringing one layer took, as `pull` tells it.

use std::time::Duration;

use anyhow::Result;
use bytesize::ByteSize;
use layercache::core::LayerDescriptor;
use layercache::core::cache::Arrival;
use serde_json::json;

use super::context::Context;
use super::output;

/// One layer that is in the cache now.
pub(super) struct Brought {
    digest: String,
    /// The name of the source that the bytes came from.
    source: String,
    /// The name of the tier that holds them.
    pub(super) tier: String,
    /// The names of the tiers that get a copy from there, if need be after `pull` has told of the layer.
    copied_to: Vec<String>,
    /// Bytes that the source has sent, or is to send for those copies; `None` where it is an origin, and the image does not tell the
    /// size of the blob.
    moved: Option<u64>,
    pub(super) len: u64,
    took: Duration,
}

impl Brought {
    pub(super) fn new(
        context: &Context,
        layer: &LayerDescriptor,
        arrival: &Arrival,
        len: u64,
        took: Duration,
    ) -> Self {
        let name = |name: Option<&str>| name.unwrap_or_default().to_owned();
        let (came_from, tier) = (name(arrival.came_from()), name(arrival.held_by()));
        let copied_to = arrival.copied_to().into_iter().map(str::to_owned);
        let copied_to: Vec<String> = copied_to.collect();
        let moved = match came_from == tier {
            // It is read for each copy.
            true => Some(len * copied_to.len() as u64),
            false if context.stack.is_origin(&came_from) => layer.size,
            false => Some(len),
        };
        Self {
            digest: layer.digest.to_string(),
            source: came_from,
            tier,
            copied_to,
            moved,
            len,
            took,
        }
    }

    /// Bytes of the layer for each byte that was moved; `None` where none was.
    fn ratio(&self) -> Option<f64> {
        let moved = self.moved.filter(|&moved| moved > 0)?;
        Some(self.len as f64 / moved as f64)
    }

    /// As JSON with the image and the layer's number there, or in words.
    pub(super) fn print(&self, json: Option<(&str, usize)>) -> Result<()> {
        if let Some((image, number)) = json {
            return output::json(&json!({
                "image": image,
                "layer": number,
                "digest": self.digest,
                "source": self.source,
                "tier": self.tier,
                "copied_to": self.copied_to,
                "moved_bytes": self.moved,
                "bytes": self.len,
                "ratio": self.ratio(),
                "seconds": self.took.as_secs_f64(),
            }));
        }
        let len = ByteSize(self.len);
        let what = if self.moved == Some(0) {
            format!("already there, {len}")
        } else {
            let moved = self
                .moved
                .map_or_else(|| "?".to_owned(), |moved| ByteSize(moved).to_string());
            let ratio = self
                .ratio()
                .map_or_else(String::new, |ratio| format!(" ({ratio:.2} times)"));
            let copied = match &*self.copied_to {
                [] => String::new(),
                tiers => format!(", then copied to {}", tiers.join(", ")),
            };
            format!(
                "{moved} moved, {len}{ratio} in {:.1} s{copied}",
                self.took.as_secs_f64()
            )
        };
        output::write(format!("{}  {}  {what}\n", self.digest, self.source).as_bytes())
    }
}
