//! Shutdown: a value that every task waits on.

use tokio::sync::watch;

/// Told once, heard by everybody, also by those who ask later.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Shutdown {
    /// Nobody has been told yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells everybody.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was told.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is told.
    pub async fn wait(&self) {
        let mut told = self.0.subscribe();
        // The sender lives in `self`, so this cannot fail before it is told.
        drop(told.wait_for(|told| *told).await);
    }
}
