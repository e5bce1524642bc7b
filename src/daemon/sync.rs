//! What threads share: a lock that nothing poisons.

use std::sync::{Mutex, MutexGuard};

/// No lock of the daemon is held over an `.await` or a panic that could leave it half-changed, so a poisoned one is sound.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
