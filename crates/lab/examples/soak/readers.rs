//! Readers, each of which knows what it must read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use layercache::Stack;
use layercache::core::LayerReaderExt;

use crate::images::{Images, Layer};

pub(crate) const READERS: u64 = 64;

/// Where the application of the moment is.
#[derive(Debug)]
pub(crate) struct Place(Mutex<Arc<Stack>>);

impl Place {
    pub(crate) fn new(stack: Arc<Stack>) -> Self {
        Self(Mutex::new(stack))
    }

    pub(crate) fn get(&self) -> Arc<Stack> {
        Arc::clone(&self.0.lock().unwrap())
    }

    pub(crate) fn replace(&self, stack: Arc<Stack>) -> Arc<Stack> {
        std::mem::replace(&mut *self.0.lock().unwrap(), stack)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    reads: AtomicU64,
    bytes: AtomicU64,
    cancelled: AtomicU64,
    failed: AtomicU64,
    wrong: AtomicU64,
    restarts: AtomicU64,
}

macro_rules! getters {
    ($($name:ident)*) => { $(
        pub(crate) fn $name(&self) -> u64 {
            self.$name.load(Ordering::Relaxed)
        }
    )* };
}

impl Counts {
    getters! { reads bytes cancelled failed wrong restarts }

    pub(crate) fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    fn compare(&self, read: &[u8], expected: &[u8], what: &str) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(read.len() as u64, Ordering::Relaxed);
        if read != expected {
            self.wrong.fetch_add(1, Ordering::Relaxed);
            eprintln!("wrong bytes: {what}");
        }
    }
}

pub(crate) async fn run(
    place: Arc<Place>,
    images: Arc<Images>,
    counts: Arc<Counts>,
    seed: u64,
    end: Instant,
) {
    let mut random = fastrand::Rng::with_seed(seed);
    while Instant::now() < end {
        let layer = &images.layers[random.usize(..images.layers.len())];
        let stack = place.get();
        let read = read(&stack, layer, &counts, random.fork());
        let result = if random.u8(..) < 25 {
            let patience = Duration::from_millis(random.u64(..50));
            match tokio::time::timeout(patience, read).await {
                Ok(result) => result,
                Err(_) => {
                    counts.cancelled.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                }
            }
        } else {
            read.await
        };
        if let Err(error) = result {
            // An application that ends refuses; its readers ask the next one.
            let over = !Arc::ptr_eq(&stack, &place.get());
            if !over {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                eprintln!("failed read: {error}");
            }
        }
    }
}

async fn read(
    stack: &Stack,
    layer: &Layer,
    counts: &Counts,
    mut random: fastrand::Rng,
) -> layercache::core::Result<()> {
    let reader = stack.open(&layer.descriptor).await?;
    if random.u8(..) < 40 {
        let (mut stream, mut at) = (reader.stream(0), 0);
        while let Some(piece) = stream.try_next().await? {
            counts.compare(&piece, &layer.bytes(at, piece.len()), "a stream");
            at += piece.len() as u64;
        }
        counts.compare(&at.to_le_bytes(), &layer.len.to_le_bytes(), "a stream's length");
        return Ok(());
    }
    for _ in 0..random.u8(1..20) {
        let (offset, len) = (random.u64(..layer.len + 10), random.usize(..200_000));
        let read = reader.read_bytes(offset, len).await?;
        counts.compare(&read, &layer.bytes(offset, len), "a read");
    }
    Ok(())
}
