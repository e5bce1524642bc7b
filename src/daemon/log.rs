//! The log of events, as the daemon's other parts see it: `entry` stands between protocol and store, `follow` reads for
//! those who catch up and those who are live, `line` is what they read, `spill` holds large lines on their way.

pub(crate) mod entry;
pub(crate) mod follow;
pub mod line;
mod spill;
