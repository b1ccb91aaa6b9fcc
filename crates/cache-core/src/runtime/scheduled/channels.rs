//! Tokio's semaphore and channels, with a point in front of each operation. (What a watch channel has inside needs [more](super::watch).)

use std::sync::Arc;

use tokio::sync::{AcquireError, TryAcquireError};

use super::point;

#[derive(Debug)]
pub(crate) struct Semaphore(Arc<tokio::sync::Semaphore>);

/// Gives the permit back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Option<tokio::sync::OwnedSemaphorePermit>);

impl Drop for Permit {
    fn drop(&mut self) {
        point();
        self.0.take();
    }
}

impl Semaphore {
    pub(crate) const MAX_PERMITS: usize = tokio::sync::Semaphore::MAX_PERMITS;

    pub(crate) fn new(permits: usize) -> Self {
        Self(Arc::new(tokio::sync::Semaphore::new(permits)))
    }

    pub(crate) fn available_permits(&self) -> usize {
        point();
        self.0.available_permits()
    }

    pub(crate) async fn acquire(&self) -> Result<Permit, AcquireError> {
        point();
        let permit = Arc::clone(&self.0).acquire_owned().await?;
        Ok(Permit(Some(permit)))
    }

    pub(crate) async fn acquire_owned(self: Arc<Self>) -> Result<Permit, AcquireError> {
        self.acquire().await
    }

    pub(crate) fn try_acquire(&self) -> Result<Permit, TryAcquireError> {
        point();
        let permit = Arc::clone(&self.0).try_acquire_owned()?;
        Ok(Permit(Some(permit)))
    }
}

pub(crate) mod oneshot {
    pub(crate) use tokio::sync::oneshot::Receiver;

    use super::point;

    #[derive(Debug)]
    pub(crate) struct Sender<T>(Option<tokio::sync::oneshot::Sender<T>>);

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        (Sender(Some(sender)), receiver)
    }

    impl<T> Sender<T> {
        pub(crate) fn send(mut self, value: T) -> Result<(), T> {
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

pub(crate) mod mpsc {
    use tokio::sync::mpsc::error::{SendError, TrySendError};

    use super::point;

    #[derive(Debug)]
    pub(crate) struct Sender<T>(tokio::sync::mpsc::Sender<T>);

    #[derive(Debug)]
    pub(crate) struct Receiver<T>(tokio::sync::mpsc::Receiver<T>);

    pub(crate) fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = tokio::sync::mpsc::channel(capacity);
        (Sender(sender), Receiver(receiver))
    }

    impl<T> Sender<T> {
        pub(crate) async fn send(&self, value: T) -> Result<(), SendError<T>> {
            point();
            self.0.send(value).await
        }

        pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
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
        pub(crate) async fn recv(&mut self) -> Option<T> {
            point();
            self.0.recv().await
        }

        pub(crate) fn blocking_recv(&mut self) -> Option<T> {
            shuttle::future::block_on(self.recv())
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            point();
        }
    }
}
