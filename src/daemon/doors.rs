//! The doors: HTTP comes in, a part is asked, JSON goes out.
//!
//! `client` is where WeHelp clients call and poll, `control` where the CLI and any program of the same user ask. `serve`
//! accepts for both; `delivery` sees below HTTP whether an answer arrived.

mod admission;
mod backup;
mod body;
pub(crate) mod client;
pub(crate) mod control;
pub(crate) mod delivery;
mod events;
mod forwards;
pub(crate) mod limits;
mod owner;
mod people;
mod places;
mod poller;
mod refusal;
mod reply;
pub(crate) mod serve;
pub(crate) mod tls;
pub(crate) mod token;
