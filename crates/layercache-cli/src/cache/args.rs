//! The arguments of `cache`.

use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use jiff::{Span, SpanRelativeTo};
use layercache::core::Digest;
use layercache::registry::ImageLocation;

use crate::args::Json;

pub(crate) const EXAMPLES: &str = "\
Examples:
  layercache cache usage                            how much each image takes, and what would be evicted next
  layercache cache verify --refetch                 hash every layer again, and fetch anew what is wrong
  layercache cache gc --max-bytes 20GiB             evict the least recently used
  layercache cache gc --older-than 7d --dry-run     what has not been used for a week
  layercache cache gc --keep debian:12 app:1        all but these images
  layercache cache pin debian:12                    evict its layers after all others";

#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// List the layers
    List(Json),
    /// Show how much the layers and images take, and what would be evicted next
    Usage(Json),
    /// Hash every layer again, and remove what is wrong
    Verify(Verify),
    /// Remove what crashes have left, and layers: beyond a size, by age, or all but those of some images
    ///
    /// --older-than and --keep say which layers may go, --max-bytes says when enough are gone. With one of the former and without
    /// --max-bytes all go that may, except those of pinned images.
    Gc(Gc),
    /// Evict the layers of images after all others
    ///
    /// What is pinned is what the image was when it was pulled last; an image that never was is looked up.
    Pin(Images),
    /// Let the layers of images be evicted as others are
    Unpin(Images),
    /// Remove one layer
    Remove(Remove),
    /// Remove every layer
    Clear(Json),
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Keep what is wrong in the directory's `quarantine`, until there is no room, or until `gc` or `clear`
    #[arg(long)]
    pub(crate) quarantine: bool,
    /// Fetch the layers that were wrong anew, from wherever they can be had
    #[arg(long)]
    pub(crate) refetch: bool,
    /// Print JSON, one object per layer and line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// How much may stay [default: with --older-than or --keep, what these do not let go; else the limits of the configuration]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_bytes: Option<ByteSize>,
    /// Remove only what was not used for so long, as in 36h or 7d, and what no process has open
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) older_than: Option<Duration>,
    /// Remove no layer of these images, as they were when they were pulled last
    #[arg(long, value_name = "IMAGE", num_args = 1..)]
    pub(crate) keep: Vec<ImageLocation>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Images {
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<ImageLocation>,
    /// Print JSON, one object per image and line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The layer's digest
    pub(crate) digest: Digest,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn size(text: &str) -> Result<ByteSize, String> {
    text.parse()
        .map_err(|_| "not a size: expected a number of bytes, or a text such as 20GiB".to_owned())
}

/// Days have 24 hours.
fn duration(text: &str) -> Result<Duration, String> {
    let span = text.parse::<Span>();
    let duration = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    duration
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "expected a time such as 36h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        for (text, seconds) in [
            ("7d", Some(7 * 86400)),
            ("36h", Some(36 * 3600)),
            ("1h 30m", Some(5400)),
            ("0s", Some(0)),
            ("7", None),
            ("-7d", None),
            ("1 month", None),
            ("", None),
        ] {
            assert_eq!(duration(text).ok().map(|time| time.as_secs()), seconds, "{text}");
        }
    }
}
