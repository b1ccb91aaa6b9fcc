//! Tokio's watch channel, with shuttle's lock around the one inside.
//!
//! Tokio's would block the thread, and all tasks with it, where one task looks at a value and another changes it.

use std::ops::Deref;
use std::sync::{Arc, PoisonError};

use shuttle::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

use super::point;

#[derive(Debug)]
pub struct Sender<T> {
    inner: watch::Sender<T>,
    lock: Arc<RwLock<()>>,
}

#[derive(Debug)]
pub struct Receiver<T> {
    inner: watch::Receiver<T>,
    lock: Arc<RwLock<()>>,
}

/// The value, which nobody changes meanwhile. The fields are dropped in this order.
#[derive(Debug)]
pub struct Ref<'a, T> {
    value: watch::Ref<'a, T>,
    _guard: RwLockReadGuard<'a, ()>,
}

/// Like Tokio's, a channel outlives a panic of who looks at it.
fn look(lock: &RwLock<()>) -> RwLockReadGuard<'_, ()> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Default> Default for Sender<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Sender<T> {
    fn change(&self) -> RwLockWriteGuard<'_, ()> {
        self.lock.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn new(value: T) -> Self {
        Self {
            inner: watch::Sender::new(value),
            lock: Arc::default(),
        }
    }

    pub fn subscribe(&self) -> Receiver<T> {
        point();
        Receiver {
            inner: self.inner.subscribe(),
            lock: Arc::clone(&self.lock),
        }
    }

    pub fn borrow(&self) -> Ref<'_, T> {
        let guard = look(&self.lock);
        Ref {
            value: self.inner.borrow(),
            _guard: guard,
        }
    }

    pub fn send_replace(&self, value: T) -> T {
        let _guard = self.change();
        self.inner.send_replace(value)
    }

    pub fn send_modify(&self, modify: impl FnOnce(&mut T)) {
        let _guard = self.change();
        self.inner.send_modify(modify);
    }

    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let _guard = self.change();
        self.inner.send_if_modified(modify)
    }
}

impl<T> Receiver<T> {
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let guard = look(&self.lock);
        Ref {
            value: self.inner.borrow_and_update(),
            _guard: guard,
        }
    }

    pub fn mark_unchanged(&mut self) {
        point();
        self.inner.mark_unchanged();
    }

    pub async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        point();
        self.inner.changed().await
    }

    pub async fn wait_for(
        &mut self,
        mut wanted: impl FnMut(&T) -> bool,
    ) -> Result<(), watch::error::RecvError> {
        while !wanted(&self.borrow_and_update()) {
            self.changed().await?;
        }
        Ok(())
    }
}
