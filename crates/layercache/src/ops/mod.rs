//! Operations: what a program or a daemon does with a [`Stack`](crate::Stack).
//!
//! Each operation is an async function with a file of its own. It takes a stack and plain values,
//! and returns a report that can be serialised: the program prints these reports, and
//! `docs/json.md` has their keys. Decisions are made here: how much is done at once, which image is
//! looked up for a layer, what is put into quarantine, what is warned of in the log.
//!
//! | operation | what it does |
//! |---|---|
//! | [`resolve()`], [`inspect()`] | finds an image and its layers |
//! | [`explain()`] | tells where the layers of an image would come from, and what a read would move |
//! | [`open_image()`] | opens an image: its file tree and its layers |
//! | [`pull()`], [`warm()`] | bring the layers of an image, or of a list of images, into the cache |
//! | [`push()`] | copies cached layers to the shared tiers |
//! | [`check()`] | asks every source if it can be used |
//! | [`list()`], [`usage()`] | tell what is in the cache directories |
//! | [`verify()`] | hashes all layers again, and repairs what is wrong |
//! | [`gc()`], [`clear()`], [`remove()`] | remove layers |
//! | [`pin()`], [`unpin()`] | decide whose layers are evicted last |
//! | [`stats()`] | tells what the stack has cost so far |
//!
//! An operation tells its [`Progress`] as it goes. Some reports have a `failure`: the error that
//! makes the whole a failure though every step was taken, such as a wrong layer that was found and
//! removed.
//!
//! # Cancellation
//! Dropping the future of an operation cancels it, and leaves no lock, partial file or task behind
//! that it has started itself. Fills belong to the cache and are ended by it.
//!
//! ```no_run
//! # async fn example(stack: layercache::Stack) -> Result<(), Box<dyn std::error::Error>> {
//! use layercache::ops;
//!
//! let report = ops::pull(&stack, &"debian:12".parse()?, None, &()).await?;
//! println!("{} layers, {} bytes", report.layers.len(), report.bytes);
//! # Ok(())
//! # }
//! ```

mod check;
mod disks;
mod error;
mod explain;
mod gc;
mod images;
mod inspect;
mod list;
mod pin;
mod progress;
mod pull;
mod push;
mod refetch;
mod stats;
mod summary;
mod text;
mod usage;
mod verify;
mod warm;
mod words;

#[cfg(test)]
mod tests;

pub use check::{CheckAnswer, CheckReport, CheckedSource, check};
pub use error::{NotKept, NotRefetched, OpsError};
pub use explain::{
    ExplainReport, ExplainedCopy, ExplainedFile, ExplainedFinding, ExplainedLayer, ExplainedReading,
    ExplainedSource, FoundFile, UnknownFile, explain,
};
pub use gc::{RemovalReport, RemoveReport, RemovedLayer, clear, gc, remove};
pub use images::{image_name, open_image, resolve};
pub use inspect::{InspectReport, InspectedLayer, inspect};
pub use list::{ListReport, ListedLayer, list};
pub use pin::{PinReport, UnpinReport, pin, unpin};
pub use progress::{Event, Progress};
pub use pull::{PullReport, PulledLayer, pull};
pub use push::{PushOutcome, PushReport, PushedLayer, PushedTo, push};
pub use stats::{SourceStats, StatsReport, stats};
pub use summary::VerifySummary;
pub use text::copying_name;
pub use usage::{EvictableLayer, ImageUsage, UsageReport, usage};
pub use verify::{Action, Verdict, VerifiedLayer, VerifyOptions, VerifyReport, verify};
pub use warm::{WantedImage, WarmOutcome, WarmReport, WarmedImage, warm};
pub use words::{count, error_line, plain};
