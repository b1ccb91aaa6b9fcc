//! Tokio's semaphore and channels, with a point in front of each operation. (What a watch channel has inside needs [more](super::watch).)

use std::sync::Arc;

use tokio::sync::{AcquireError, TryAcquireError};

use super::point;

/// A semaphore that must have all of its permits back when it goes: one that is missing was lost, which fails the story.
#[derive(Debug)]
pub struct Semaphore {
    inner: Arc<tokio::sync::Semaphore>,
    permits: usize,
}

impl Drop for Semaphore {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(
                self.inner.available_permits(),
                self.permits,
                "a permit was not given back"
            );
        }
    }
}

/// Gives the permit back when it is dropped.
#[derive(Debug)]
pub struct Permit(Option<tokio::sync::OwnedSemaphorePermit>);

impl Drop for Permit {
    fn drop(&mut self) {
        point();
        self.0.take();
    }
}

impl Semaphore {
    pub const MAX_PERMITS: usize = tokio::sync::Semaphore::MAX_PERMITS;

    pub fn new(permits: usize) -> Self {
        Self {
            inner: Arc::new(tokio::sync::Semaphore::new(permits)),
            permits,
        }
    }

    pub async fn acquire(&self) -> Result<Permit, AcquireError> {
        point();
        let permit = Arc::clone(&self.inner).acquire_owned().await?;
        Ok(Permit(Some(permit)))
    }

    pub async fn acquire_owned(self: Arc<Self>) -> Result<Permit, AcquireError> {
        self.acquire().await
    }

    pub fn try_acquire(&self) -> Result<Permit, TryAcquireError> {
        point();
        let permit = Arc::clone(&self.inner).try_acquire_owned()?;
        Ok(Permit(Some(permit)))
    }
}

pub mod oneshot {
    pub use tokio::sync::oneshot::Receiver;

    use super::point;

    #[derive(Debug)]
    pub struct Sender<T>(Option<tokio::sync::oneshot::Sender<T>>);

    pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        (Sender(Some(sender)), receiver)
    }

    impl<T> Sender<T> {
        pub fn send(mut self, value: T) -> Result<(), T> {
            point();
            match self.0.take() {
                Some(sender) => sender.send(value),
                None => Err(value),
            }
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            if self.0.is_some() {
                point();
            }
        }
    }
}

pub mod mpsc {
    use tokio::sync::mpsc::error::{SendError, TrySendError};

    use super::point;

    #[derive(Debug)]
    pub struct Sender<T>(tokio::sync::mpsc::Sender<T>);

    #[derive(Debug)]
    pub struct Receiver<T>(tokio::sync::mpsc::Receiver<T>);

    pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = tokio::sync::mpsc::channel(capacity);
        (Sender(sender), Receiver(receiver))
    }

    impl<T> Sender<T> {
        pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
            point();
            self.0.send(value).await
        }

        pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
            point();
            self.0.try_send(value)
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            point();
        }
    }

    impl<T> Receiver<T> {
        pub async fn recv(&mut self) -> Option<T> {
            point();
            self.0.recv().await
        }

        pub fn blocking_recv(&mut self) -> Option<T> {
            shuttle::future::block_on(self.recv())
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            point();
        }
    }
}
