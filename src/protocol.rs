//! The WeHelp wire, pure: no I/O, no clock, no tokio, no sled.
//!
//! What the client reports: bytes → [`event::read_body`] (with [`repair`]) → [`event::outline`], [`event::decode`], which
//! leave what is packed inside to [`message`], [`packet`] and [`contact`]; the types of all that are [`decoded`]'s. What
//! the client is told: [`command::Command`] (with ids of [`id`]) → [`command::Wire`]. [`answer`] says which of the first
//! answers which of the second.
pub mod answer;
pub mod command;
pub mod contact;
pub mod decoded;
pub mod encoding;
pub mod event;
pub mod id;
mod json;
mod kind;
pub mod message;
pub mod name;
pub mod packet;
pub mod refusal;
pub mod repair;
pub mod schema;
