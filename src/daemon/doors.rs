//! The doors: HTTP comes in, a part is asked, JSON goes out.
//!
//! `client` is where WeHelp clients call and poll, `control` where the CLI and any program of the same user ask. `serve`
//! accepts for both; `delivery` sees below HTTP whether an answer arrived.

mod admission;
mod backup;
pub(crate) mod client;
pub(crate) mod control;
pub(crate) mod delivery;
mod forwards;
pub(crate) mod limits;
mod owner;
mod places;
mod poller;
pub(crate) mod serve;
pub(crate) mod tls;
pub(crate) mod token;
