//! wehelp: the other end of the two URLs of a WeHelp client.
//!
//! A WeHelp client drives PC WeChat. It POSTs every WeChat event to one URL and polls another for commands. `wehelpd`
//! answers both and keeps every event in a durable log and every command in a durable queue; `wehelp` talks to it over
//! a Unix socket. What users can rely on is written in the manuals; this is the map of the code.
//!
//! # Layers
//!
//! A room is a module with what is below it in its folder. Each uses those named behind its arrow and no other, all of
//! them below it, and the files of a room use each other in no circle: `tests/tidy` draws the graph from the code and
//! compares it with this map.
//!
//! ```text
//! bin/wehelp   → cli, home
//! bin/wehelpd  → config, daemon, home, store
//! cli          → config, control, protocol, home, near, clock, seq
//! daemon       → config, directory, store, control, protocol, home, near, key, codec, sync, clock, seq
//! config       → near, clock
//! directory    → control, store, protocol, key, clock, seq
//! store        → codec, key, sync, clock, seq
//! control      → home, clock, seq
//! protocol     → near, clock
//! home         → nothing
//! key          → clock
//! codec        → nothing
//! sync         → nothing
//! near         → nothing
//! clock        → nothing
//! seq          → nothing
//! ```
//!
//! * [`protocol`] is the WeHelp wire, pure: commands and events, their repairs, the XML and the packets inside. No
//!   I/O, no clock, no runtime, no sled.
//! * [`store`] knows positions, times and bytes, and not what a chat is: a journal of our own that is synced before
//!   anything is answered, and behind it sled, the queue's and the index's map. Only it names sled.
//! * [`directory`] is what the events teach: accounts, contacts, rooms, open friend requests.
//! * [`control`] is what CLI and daemon say to each other: HTTP/1.1 and NDJSON over the Unix socket.
//! * [`daemon`] has the doors, and the parts behind them: log, queue, accounts, cursors, forwards, learner. Only it
//!   names warp and hyper.
//! * [`cli`] has the verbs: `cli/verb/NAME.rs` does what `wehelp NAME` says. Only `cli/output` prints, and
//!   `cli/progress` draws on a terminal.
//! * [`home`], [`config`], [`seq`], [`clock`], [`near`] are the ground: places, settings, positions, time, typing errors.
//!   So are [`key`], the table of the map's key spaces, [`codec`], the reader and writer of every stored format, and
//!   [`sync`], locks.
//!
//! # The way of the data
//!
//! ```text
//! callback ─POST─▶ doors/client ─ bytes ─▶ protocol outlines ─▶ log: receive ─▶ store thread: batch → sync → show
//!                                                                                    │        └▶ tail := seq
//!    200 [] ◀────────────────── only after the sync ◀────────────────────────────────┘              │
//! wehelp events -f ◀─ NDJSON ◀─ doors/control ◀─ log/follow: { read a page after the position; wait for tail } ◀─┤
//! directory, answers ◀─ learner: the same loop, inside the daemon ◀───────────────────────────────────┘
//!
//! wehelp send ─▶ cli/verb ─▶ names ─▶ enqueue ─▶ doors/control ─▶ queue: enqueue ─▶ store thread ─▶ sync ─▶ receipt
//! client ─poll─▶ doors/client ─▶ queue: claim ─▶ store thread: ready → in flight, sync ─▶ response
//!                   delivered? → fetched : ready again, once and for all ◀─ queue/handover ◀─ doors/delivery ◀┘
//! ```
//!
//! A notification carries a position, never a body; a follower that is slow, late or reconnecting runs the same loop
//! over the log. The original bytes are stored and decoded again on reading, so an event kind learned next year is
//! already in last year's log.
//!
//! # Invariants
//!
//! Each with tests that hold it; `tests/tidy` sees to it that they are there.
//!
//! 1. A callback, a receipt and a poll are answered only after their effect is synced
//!    (`a_trace_shows_the_data_sync_before_every_answer`, `a_kill_at_any_time_leaves_everything_that_was_answered`).
//! 2. The store has one writer, and it is a thread, not a task; a data folder has one daemon
//!    (`concurrent_writers_are_all_answered_in_the_order_of_their_seqs`,
//!    `a_store_in_use_is_refused_and_left_alone_whatever_lock_is_gone`).
//! 3. A [`seq::Seq`] never goes back: retention keeps the newest record. A cursor moves backwards only by `cursor set`
//!    (`old_events_go_and_their_numbers_are_never_reused`, `only_the_reader_that_holds_a_cursor_moves_it`).
//! 4. What is claimed is settled, on whatever thread and in whatever phase its owner is dropped
//!    (`a_claim_that_is_dropped_at_any_await_gives_its_commands_back`,
//!    `a_hand_over_that_ends_on_a_thread_without_a_runtime_is_recorded`).
//! 5. `protocol` does no I/O and reads no clock. `store` does not know what a chat is
//!    (`the_map_has_every_arrow_of_the_code_and_no_other`, `a_crate_is_named_only_where_it_belongs`).
//! 6. The daemon prints nothing to stdout; the CLI opens no database
//!    (`the_daemon_prints_nothing_to_stdout_and_logs_no_chat`, `the_map_has_every_arrow_of_the_code_and_no_other`).
//! 7. Text from chats is never logged; ids and lengths are. Tokens never
//!    (`verbose_logs_each_request_without_text_or_token`, `logs_for_machines_are_json_and_hold_no_text_of_chats`).
//! 8. One daemon per home, and what it writes is its user's alone. Nothing of another home is ever talked to by mistake
//!    (`a_second_daemon_says_who_holds_the_data_and_exits_1`, `a_request_for_the_daemon_of_another_folder_is_refused`,
//!    `what_the_daemon_makes_is_closed_to_others_and_what_it_finds_stays_as_it_was`).
//! 9. Every queue, line, body, page and wait has a named limit with a reason
//!    (`full_load_with_followers_of_which_half_do_not_read_loses_nothing_and_grows_nothing`,
//!    `a_body_beyond_what_all_may_have_under_way_is_refused_until_there_is_room_again`).
//! 10. Nothing exits but `main`. A failed sync refuses further writes, and says so, until a write is known to work again
//!     (`a_crate_is_named_only_where_it_belongs`,
//!     `a_full_disk_refuses_writes_loses_nothing_and_is_recovered_from_by_itself`,
//!     `a_call_that_fails_costs_nothing_that_was_answered`).
//!
//! # Deliberately absent
//!
//! No acknowledgement of a command by the client: the protocol has none, so the daemon says `fetched`, and `answered`
//! only when an event tells so. No plug-ins: `events --exec` and `forward` are the ways out. No Windows or macOS port
//! of the daemon: delivery is judged by Linux's view of a socket.

/// The package's version, and the commit it was built from where that is known: `0.1.0 (abc1234)`.
pub const VERSION: &str = env!("WEHELP_VERSION");

pub mod cli;
pub mod clock;
pub mod codec;
pub mod config;
pub mod control;
pub mod daemon;
pub mod directory;
pub mod home;
pub mod key;
#[cfg(test)]
#[path = "../tests/untested/missing.rs"]
mod missing;
pub mod near;
pub mod protocol;
pub mod seq;
pub mod store;
pub mod sync;
