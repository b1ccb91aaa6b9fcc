//! The state of a cache, which its readers and tasks share.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::entry::Entry;
use super::meters::Meters;
use super::single_flight::SingleFlight;
use super::tasks::Tasks;
use super::write_back::WriteBack;
use crate::runtime::{AtomicBool, Semaphore};
use crate::{Error, LayerDescriptor, Result};

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) name: Box<str>,
    pub(super) sources: Vec<Entry>,
    pub(super) early_reads: bool,
    pub(super) max_layer_bytes: u64,
    /// A permit for each fill that may run at once.
    pub(super) fills: Semaphore,
    pub(super) single_flight: Arc<SingleFlight>,
    pub(super) write_back: WriteBack,
    pub(super) lease_tasks: Tasks,
    pub(super) meters: Meters,
    pub(super) closed: AtomicBool,
}

impl Inner {
    /// Refuses to open `layer` once the cache is closed.
    pub(super) fn check_open(&self, layer: &LayerDescriptor) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::permanent("the cache is closed")
                .at(&self.name, "open")
                .of_layer(&layer.digest));
        }
        Ok(())
    }
}
