//! The integration suite: the real `wehelpd` and `wehelp`, and a WeHelp client played by hand over raw sockets.
//!
//! One file per promise of the contract; a test's name is the promise as a sentence. What is promised is read from
//! the contract alone: nothing here names a type of the product. `fixture` starts, kills and reaps daemons and runs
//! the command line; `client` is the hand-played client. Tests wait for conditions with deadlines, use no fixed
//! port, and clean up after themselves, so they run in parallel.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic, and a long one says how far it is")]

mod client;
mod fixture;
#[path = "../untested/missing.rs"]
mod missing;
mod trustful;

mod about;
mod accounts;
mod answers;
mod ask;
mod browser;
mod bulk;
mod clock;
mod completion;
mod control;
mod disks;
mod door;
mod durability;
mod events;
mod examples;
mod exec;
mod exits;
mod faults;
mod feed;
mod follow;
mod forward;
mod handover;
mod injected;
mod load;
mod log;
mod lost;
mod memory;
mod names;
mod output;
mod play;
mod powercut;
mod proxy;
mod queue;
mod readme;
mod retention;
mod settings;
mod soak;
mod takeover;
mod tls;
mod watch;
mod wire;
