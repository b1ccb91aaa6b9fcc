//! Progress of an operation, as it is told to whoever has started it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cache_core::Digest;
use registry::Image;

use super::gc::{RemovalReport, RemoveReport};
use super::list::ListReport;
use super::pin::PinReport;
use super::pull::PulledLayer;
use super::push::PushedLayer;
use super::usage::UsageReport;
use super::verify::VerifiedLayer;
use super::warm::WarmedImage;

/// Time between two looks at how far a layer has come.
const TICK: Duration = Duration::from_millis(100);

/// Listens to the progress of an operation.
///
/// # Contract
/// - [`tell`](Self::tell) is called from the future of the operation, in the order of the events.
///   It may write to a terminal or a pipe, but everything else of the operation waits for that.
/// - An operation cannot be stopped through this trait: dropping its future does that.
///
/// `()` listens to nothing.
///
/// ```
/// use std::sync::Mutex;
/// use layercache::ops::{Event, Progress};
///
/// /// Notes each layer that has arrived.
/// #[derive(Default)]
/// struct Arrivals(Mutex<Vec<String>>);
///
/// impl Progress for Arrivals {
///     fn tell(&self, event: Event<'_>) {
///         if let Event::LayerArrived(layer) = event {
///             self.0.lock().unwrap().push(layer.digest.to_string());
///         }
///     }
/// }
/// ```
pub trait Progress: Send + Sync {
    /// Hears of one event.
    fn tell(&self, event: Event<'_>);
}

impl Progress for () {
    fn tell(&self, _event: Event<'_>) {}
}

impl<P: Progress + ?Sized> Progress for &P {
    fn tell(&self, event: Event<'_>) {
        (**self).tell(event);
    }
}

impl<P: Progress + ?Sized> Progress for Arc<P> {
    fn tell(&self, event: Event<'_>) {
        (**self).tell(event);
    }
}

/// One step of an operation.
///
/// Reports that an operation returns are told one by one as well, as soon as each is known.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// An image was resolved: its layers are known.
    Resolved(&'a Image),
    /// Work on a layer has begun: it is brought, pushed or hashed.
    LayerStarted(&'a Digest),
    /// So many bytes of the decompressed layer are done, about ten times a second.
    LayerAdvanced(&'a Digest, u64),
    /// Work on a layer has ended, well or not. It ends as often as it has started.
    LayerEnded(&'a Digest),
    /// `pull` and `warm`: a layer is in the cache.
    LayerArrived(&'a PulledLayer),
    /// `warm`: an image of the list is done, well or not.
    ImageDone(&'a WarmedImage),
    /// `push`: the shared tiers have a layer, or not.
    LayerPushed(&'a PushedLayer),
    /// Work on one of the cache directories begins.
    Directory(&'a Path),
    /// `verify`: so much of a directory is hashed.
    Hashed {
        /// Number of the layer that is being hashed, from 1.
        layer: usize,
        /// Number of layers in the directory.
        layers: usize,
        /// Bytes that are hashed.
        bytes: u64,
        /// Bytes of all layers.
        total_bytes: u64,
    },
    /// `verify`: a layer is verified, and what was wrong is dealt with.
    LayerVerified(&'a VerifiedLayer),
    /// `list`: the layers of a directory are known.
    Listed(&'a ListReport),
    /// `usage`: the usage of a directory is known.
    Measured(&'a UsageReport),
    /// `gc` and `clear`: a directory is done.
    Removed(&'a RemovalReport),
    /// `remove`: every directory was asked for a layer.
    LayerRemoved(&'a RemoveReport),
    /// `pin` and `unpin`: an image is pinned, or no longer.
    Pinned(&'a PinReport),
}

/// Tells that work on a layer has begun, and when it is dropped that it has ended.
pub(super) struct LayerWork<'a> {
    progress: &'a dyn Progress,
    digest: &'a Digest,
}

impl<'a> LayerWork<'a> {
    pub(super) fn start(progress: &'a dyn Progress, digest: &'a Digest) -> Self {
        progress.tell(Event::LayerStarted(digest));
        Self { progress, digest }
    }

    pub(super) fn advance(&self, bytes: u64) {
        self.progress.tell(Event::LayerAdvanced(self.digest, bytes));
    }
}

impl Drop for LayerWork<'_> {
    fn drop(&mut self) {
        self.progress.tell(Event::LayerEnded(self.digest));
    }
}

/// Waits for `work`, and calls `look` every 100 ms meanwhile.
pub(super) async fn watched<T>(work: impl Future<Output = T>, look: impl Fn()) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(TICK) => look(),
        }
    }
}
