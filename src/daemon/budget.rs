//! A budget of bytes that some of a kind may take together: whoever wants more is refused, and nobody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The budget; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    used: Arc<AtomicUsize>,
    max: usize,
}

/// What somebody has taken of a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Self {
        Self { used: Arc::default(), max }
    }

    /// Nothing yet.
    pub(crate) fn open(&self) -> Taken {
        Taken { budget: self.clone(), bytes: 0 }
    }
}

impl Taken {
    /// How many bytes that are.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes more; false, and nothing taken, when there is not so much left.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let Budget { used, max } = &self.budget;
        let fits = |now: usize| now.checked_add(bytes).filter(|all| all <= max);
        let took = used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok();
        self.bytes += if took { bytes } else { 0 };
        took
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_together_has_a_limit_and_comes_back() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.open(), budget.open());
        assert!(one.grow(6) && !other.grow(5) && other.grow(4) && !one.grow(1));
        drop(one);
        assert!(other.grow(6) && !other.grow(usize::MAX));
    }
}
