//! The command queue: a state machine over a store transaction.
//!
//! It promises what contract 3, 4 and 6 say of a command's life: `enqueue` → (`claim` → `settle`)* → `answers`. What changes
//! a command runs on the store's writer thread, inside one transaction, so claims never race; it reads no clock and knows
//! no socket.

pub(crate) mod answers;
pub(crate) mod asks;
pub(crate) mod awaited;
pub(crate) mod change;
pub(crate) mod checks;
pub(crate) mod claim;
pub(crate) mod clock_steps;
pub(crate) mod enqueue;
pub(crate) mod handover;
pub(crate) mod held;
pub(crate) mod introduce;
pub(crate) mod keys;
pub(crate) mod list;
pub(crate) mod pacing;
pub(crate) mod pause;
pub(crate) mod read;
pub(crate) mod record;
pub(crate) mod rows;
pub(crate) mod settle;
pub(crate) mod table;
pub(crate) mod takeup;
pub(crate) mod turns;

pub(crate) use answers::{answered, asked, asked_by_anybody, conclude, echoable, refusable, refused};
pub(crate) use change::{cancel, expire, forget, retry};
pub(crate) use claim::{Lists, claim, queued_of};
pub(crate) use enqueue::{New, When, enqueue};
pub(crate) use pause::set_paused;
pub(crate) use record::{Claimed, PIECES, Record, parse};
pub(crate) use table::taught;
pub(crate) use turns::{ask, ask_waits, end_ask};

#[cfg(test)]
mod tests;
