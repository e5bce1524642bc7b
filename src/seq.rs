//! Positions in the event log.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A position in the event log: the first event is 1, a number is never reused and never goes back.
///
/// Zero is the position before the first event: what an empty log's tail is, and where a new cursor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The position before the first event.
    pub const ZERO: Self = Self(0);

    /// The position after this one; the last there can be stays.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
