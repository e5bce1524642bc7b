//! What each verb does: `verb/NAME.rs` is `wehelp NAME`.

pub(super) mod account;
pub(super) mod api;
pub(super) mod ask;
pub(super) mod backup;
pub(super) mod completions;
pub(super) mod contact;
pub(super) mod cursor;
pub(super) mod daemon;
pub(super) mod events;
pub(super) mod forward;
pub(super) mod friend;
pub(super) mod queue;
pub(super) mod raw;
pub(super) mod room;
pub(super) mod send;
pub(super) mod setup;
pub(super) mod simulate;
pub(super) mod status;
pub(super) mod token;
